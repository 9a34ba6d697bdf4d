//! The files of a component of WASI 0.3, as `component.rs` has those of one of 0.2.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;
use wasmtime::component::{
    Access, Accessor, FutureConsumer, FutureReader, Lift, Resource, Source, StreamReader,
};
use wasmtime::{AsContextMut as _, StoreContextMut};
use wasmtime_wasi::cli::{WasiCli, WasiCliCtxView, WasiCliView as _};
use wasmtime_wasi::filesystem::{
    Descriptor, WasiFilesystem, WasiFilesystemCtxView, WasiFilesystemView as _,
};
use wasmtime_wasi::p3::bindings::cli::types::ErrorCode as StreamError;
use wasmtime_wasi::p3::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p3::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode,
    Filesize, HostDescriptor, HostDescriptorWithStore, MetadataHashValue, NewTimestamp, OpenFlags,
    PathFlags,
};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::component_files::{Again, Files, WasiFiles, same};
use super::resolve::{Change, Last};
use super::streams::Stream;
use crate::store_data::StoreData;

type Store = Accessor<StoreData, WasiFiles>;

/// What a stream of bytes comes to in the end.
type End = Result<(), ErrorCode>;

fn files_of(host: &mut StoreData) -> WasiFilesystemCtxView<'_> {
    host.filesystem()
}

fn cli_of(host: &mut StoreData) -> WasiCliCtxView<'_> {
    host.cli()
}

/// Wasmtime's own files of the same component.
fn own(store: &Store) -> Accessor<StoreData, WasiFilesystem> {
    store.with_getter::<WasiFilesystem>(files_of)
}

/// Does something with its files.
fn with<T>(store: &Store, act: impl FnOnce(&mut Files<'_>) -> T) -> T {
    store.with(|mut access| act(&mut access.get()))
}

/// Whether a call was refused as one that leaves its dir.
fn was_refused<T>(result: &FilesystemResult<T>) -> bool {
    let error = result.as_ref().err();
    let code = error.and_then(FilesystemError::downcast_ref);
    matches!(code, Some(ErrorCode::NotPermitted))
}

/// Opens a stream as a file.
fn open_stream(store: &Store, stream: Stream) -> FilesystemResult<Resource<Descriptor>> {
    Ok(with(store, |files| files.open_stream(stream)).map_err(ErrorCode::from)?)
}

/// Where a call that was refused is to be tried again; `None` if it is refused here too.
fn again(
    store: &Store,
    fd: &Resource<Descriptor>,
    path: &str,
    last: Last,
) -> FilesystemResult<Option<Again>> {
    Ok(with(store, |files| files.again(fd, path, last)).map_err(ErrorCode::from)?)
}

/// As [`again`], for calls that need a file: the same call, if it is refused here too.
fn beneath(
    store: &Store,
    fd: &Resource<Descriptor>,
    path: &str,
    last: Last,
) -> FilesystemResult<(Resource<Descriptor>, String)> {
    Ok(with(store, |files| files.beneath(fd, path, last)).map_err(ErrorCode::from)?)
}

/// What a call does with the last part of its path.
fn last(flags: PathFlags) -> Last {
    Last::of(flags.contains(PathFlags::SYMLINK_FOLLOW))
}

/// Lets go of a handle of ours.
fn release(store: &Store, fd: Resource<Descriptor>) {
    with(store, |files| {
        files.forget(&fd);
        files.release(fd);
    });
}

/// Calls that are Wasmtime's as they are.
macro_rules! handed_on {
    ($(async fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {$(
        async fn $name(store: &Store, fd: Resource<Descriptor> $(, $arg: $ty)*) -> FilesystemResult<$out> {
            WasiFilesystem::$name(&own(store), fd $(, $arg)*).await
        }
    )*};
}

/// Calls on one path, tried again where they are refused.
macro_rules! tried_again {
    ($(async fn $name:ident([$($flags:ident)?] $(, $arg:ident: $ty:ty)*) -> $out:ty, $last:expr;)*) => {$(
        async fn $name(
            store: &Store,
            fd: Resource<Descriptor>,
            $($flags: PathFlags,)?
            path: String
            $(, $arg: $ty)*
        ) -> FilesystemResult<$out> {
            let wasi = own(store);
            let last = $last;
            if !last.is_odd(&path) {
                let path = path.clone();
                let result =
                    WasiFilesystem::$name(&wasi, same(&fd), $($flags,)? path $(, $arg)*).await;
                if !was_refused(&result) {
                    return result;
                }
            }
            let (dir, path) = beneath(store, &fd, &path, last)?;
            let result =
                WasiFilesystem::$name(&wasi, same(&dir), $($flags,)? path $(, $arg)*).await;
            release(store, dir);
            result
        }
    )*};
}

/// The same for calls on one path that may be a stream's, with the call that asks a descriptor.
macro_rules! tried_again_on_streams {
    ($(async fn $name:ident() -> $out:ty, or $of_stream:ident;)*) => {$(
        async fn $name(
            store: &Store,
            fd: Resource<Descriptor>,
            flags: PathFlags,
            path: String,
        ) -> FilesystemResult<$out> {
            let wasi = own(store);
            let last = last(flags);
            if !last.is_odd(&path) {
                let result = WasiFilesystem::$name(&wasi, same(&fd), flags, path.clone()).await;
                if !was_refused(&result) {
                    return result;
                }
            }
            let (fd, result) = match again(store, &fd, &path, last)? {
                Some(Again::Beneath(fd, path)) => {
                    let result = WasiFilesystem::$name(&wasi, same(&fd), flags, path).await;
                    (fd, result)
                }
                Some(Again::Stream(stream)) => {
                    let fd = open_stream(store, stream)?;
                    let result = WasiFilesystem::$of_stream(&wasi, same(&fd)).await;
                    (fd, result)
                }
                None => return WasiFilesystem::$name(&wasi, fd, flags, path).await,
            };
            release(store, fd);
            result
        }
    )*};
}

/// The same for calls on two paths, both of which are looked up anew.
macro_rules! both_tried_again {
    ($(async fn $name:ident([$($flags:ident)?]), $last:expr, $new_last:expr;)*) => {$(
        async fn $name(
            store: &Store,
            fd: Resource<Descriptor>,
            $($flags: PathFlags,)?
            path: String,
            new_fd: Resource<Descriptor>,
            new_path: String,
        ) -> FilesystemResult<()> {
            let wasi = own(store);
            if !$new_last.is_odd(&new_path) {
                let (old, new) = (path.clone(), new_path.clone());
                let result =
                    WasiFilesystem::$name(&wasi, same(&fd), $($flags,)? old, same(&new_fd), new)
                        .await;
                if !was_refused(&result) {
                    return result;
                }
            }
            let (from, old) = beneath(store, &fd, &path, $last)?;
            let result = match beneath(store, &new_fd, &new_path, $new_last) {
                Ok((to, new)) => {
                    let result =
                        WasiFilesystem::$name(&wasi, same(&from), $($flags,)? old, same(&to), new)
                            .await;
                    release(store, to);
                    result
                }
                Err(error) => Err(error),
            };
            release(store, from);
            result
        }
    )*};
}

impl HostDescriptorWithStore<StoreData> for WasiFiles {
    handed_on! {
        async fn advise(offset: Filesize, len: Filesize, advice: Advice) -> ();
        async fn sync_data() -> ();
        async fn get_flags() -> DescriptorFlags;
        async fn get_type() -> DescriptorType;
        async fn set_size(size: Filesize) -> ();
        async fn set_times(atim: NewTimestamp, mtim: NewTimestamp) -> ();
        async fn sync() -> ();
        async fn stat() -> DescriptorStat;
        async fn metadata_hash() -> MetadataHashValue;
    }

    tried_again! {
        async fn create_directory_at([]) -> (), Last::Named(Change::MakeDir);
        async fn set_times_at([flags], atim: NewTimestamp, mtim: NewTimestamp) -> (), last(flags);
        async fn remove_directory_at([]) -> (), Last::Named(Change::RemoveDir);
        async fn unlink_file_at([]) -> (), Last::Named(Change::RemoveFile);
    }

    tried_again_on_streams! {
        async fn stat_at() -> DescriptorStat, or stat;
        async fn metadata_hash_at() -> MetadataHashValue, or metadata_hash;
    }

    both_tried_again! {
        async fn link_at([flags]), Last::Kept, Last::Named(Change::MakeLink);
        async fn rename_at([]), Last::Named(Change::Move), Last::Named(Change::Move);
    }

    async fn readlink_at(
        store: &Store,
        fd: Resource<Descriptor>,
        path: String,
    ) -> FilesystemResult<String> {
        let result = WasiFilesystem::readlink_at(&own(store), same(&fd), path.clone()).await;
        if was_refused(&result) {
            let target = with(store, |files| files.target(&fd, &path));
            return Ok(target.map_err(ErrorCode::from)?);
        }
        result
    }

    async fn open_at(
        store: &Store,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FilesystemResult<Resource<Descriptor>> {
        let wasi = own(store);
        let follow = path_flags.contains(PathFlags::SYMLINK_FOLLOW);
        let exclusive = open_flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let stream = with(store, |files| files.named_stream(&fd, &path, follow));
        let mut result = Err(ErrorCode::NotPermitted.into());
        if stream.is_none() {
            let (dir, requested) = (same(&fd), path.clone());
            result =
                WasiFilesystem::open_at(&wasi, dir, path_flags, requested, open_flags, flags).await;
            if let Ok(opened) = &result {
                with(store, |files| files.note(&fd, &path, opened));
            }
            if !was_refused(&result) {
                return result;
            }
        }
        let place = match stream {
            Some(stream) => Some(Again::Stream(stream)),
            None => {
                let last = if open_flags.contains(OpenFlags::CREATE) {
                    // A link in the place of what is to be new is in its way.
                    let follow = follow && !exclusive;
                    Last::Created { follow }
                } else {
                    Last::of(follow)
                };
                again(store, &fd, &path, last)?
            }
        };
        match place {
            Some(Again::Stream(_)) if exclusive => Err(ErrorCode::Exist.into()),
            Some(Again::Stream(_)) if open_flags.contains(OpenFlags::DIRECTORY) => {
                Err(ErrorCode::NotDirectory.into())
            }
            Some(Again::Stream(stream)) => open_stream(store, stream),
            Some(Again::Beneath(dir, path)) => {
                let (own, requested) = (same(&dir), path.clone());
                let result =
                    WasiFilesystem::open_at(&wasi, own, path_flags, requested, open_flags, flags)
                        .await;
                if let Ok(opened) = &result {
                    with(store, |files| files.note(&dir, &path, opened));
                }
                release(store, dir);
                result
            }
            None => result,
        }
    }

    async fn symlink_at(
        store: &Store,
        fd: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FilesystemResult<()> {
        let wasi = own(store);
        let last = Last::Named(Change::MakeLink);
        if !last.is_odd(&path) {
            let (target, path) = (target.clone(), path.clone());
            let result = WasiFilesystem::symlink_at(&wasi, same(&fd), target, path).await;
            if !was_refused(&result) {
                return result;
            }
        }
        if target.starts_with('/') {
            let made = with(store, |files| files.link(&target, &fd, &path));
            return Ok(made.map_err(ErrorCode::from)?);
        }
        let (dir, path) = beneath(store, &fd, &path, last)?;
        let result = WasiFilesystem::symlink_at(&wasi, same(&dir), target, path).await;
        release(store, dir);
        result
    }

    async fn is_same_object(
        store: &Store,
        fd: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        WasiFilesystem::is_same_object(&own(store), fd, other).await
    }

    fn read_directory(
        mut store: Access<'_, StoreData, Self>,
        fd: Resource<Descriptor>,
    ) -> wasmtime::Result<(StreamReader<DirectoryEntry>, FutureReader<End>)> {
        let wasi = Access::<_, WasiFilesystem>::new(store.as_context_mut(), files_of);
        WasiFilesystem::read_directory(wasi, fd)
    }

    fn read_via_stream(
        mut store: Access<'_, StoreData, Self>,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<End>)> {
        let stream = store.get().stream(&fd);
        match stream {
            Some(Stream::Stdin | Stream::Terminal) => {
                let cli = Access::<_, WasiCli>::new(store.as_context_mut(), cli_of);
                let (bytes, end) = <WasiCli as stdin::HostWithStore<_>>::read_via_stream(cli)?;
                let end = ended(store.as_context_mut(), end)?;
                Ok((bytes, end))
            }
            Some(Stream::Stdout | Stream::Stderr) => {
                let none = StreamReader::new(&mut store, std::iter::empty())?;
                let end = async { wasmtime::error::Ok(Err(ErrorCode::NotPermitted)) };
                Ok((none, FutureReader::new(&mut store, end)?))
            }
            None => {
                let wasi = Access::<_, WasiFilesystem>::new(store.as_context_mut(), files_of);
                WasiFilesystem::read_via_stream(wasi, fd, offset)
            }
        }
    }

    fn write_via_stream(
        mut store: Access<'_, StoreData, Self>,
        fd: Resource<Descriptor>,
        bytes: StreamReader<u8>,
        offset: Filesize,
    ) -> wasmtime::Result<FutureReader<End>> {
        let stream = store.get().stream(&fd);
        match stream {
            Some(stream) => write(store, stream, bytes),
            None => {
                let wasi = Access::<_, WasiFilesystem>::new(store.as_context_mut(), files_of);
                WasiFilesystem::write_via_stream(wasi, fd, bytes, offset)
            }
        }
    }

    fn append_via_stream(
        mut store: Access<'_, StoreData, Self>,
        fd: Resource<Descriptor>,
        bytes: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<End>> {
        let stream = store.get().stream(&fd);
        match stream {
            Some(stream) => write(store, stream, bytes),
            None => {
                let wasi = Access::<_, WasiFilesystem>::new(store.as_context_mut(), files_of);
                WasiFilesystem::append_via_stream(wasi, fd, bytes)
            }
        }
    }
}

/// Writes to a stream that is open as a file. A terminal is what stdout is, where there is one.
fn write(
    mut store: Access<'_, StoreData, WasiFiles>,
    stream: Stream,
    mut bytes: StreamReader<u8>,
) -> wasmtime::Result<FutureReader<End>> {
    let end = match stream {
        Stream::Stdin => {
            bytes.close(&mut store)?;
            let end = async { wasmtime::error::Ok(Err(ErrorCode::NotPermitted)) };
            return FutureReader::new(&mut store, end);
        }
        Stream::Stderr => {
            let cli = Access::<_, WasiCli>::new(store.as_context_mut(), cli_of);
            <WasiCli as stderr::HostWithStore<_>>::write_via_stream(cli, bytes)?
        }
        Stream::Stdout | Stream::Terminal => {
            let cli = Access::<_, WasiCli>::new(store.as_context_mut(), cli_of);
            <WasiCli as stdout::HostWithStore<_>>::write_via_stream(cli, bytes)?
        }
    };
    ended(store.as_context_mut(), end)
}

/// How a stream ended, in the words of files.
fn ended(
    mut store: StoreContextMut<'_, StoreData>,
    end: FutureReader<Result<(), StreamError>>,
) -> wasmtime::Result<FutureReader<End>> {
    let (told, heard) = oneshot::channel();
    end.pipe(&mut store, DoneSender(Some(told)))?;
    let end = async {
        wasmtime::error::Ok(match heard.await {
            Ok(Err(StreamError::Pipe)) => Err(ErrorCode::Pipe),
            Ok(Err(_)) => Err(ErrorCode::Io),
            // It was closed without a word.
            Ok(Ok(())) | Err(_) => Ok(()),
        })
    };
    FutureReader::new(&mut store, end)
}

/// Hands on what a future holds.
struct DoneSender<T>(Option<oneshot::Sender<T>>);

impl<D: 'static, T: Lift + Send + 'static> FutureConsumer<D> for DoneSender<T> {
    type Item = T;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<D>,
        mut source: Source<'_, T>,
        _: bool,
    ) -> Poll<wasmtime::Result<()>> {
        let mut value = None;
        source.read(store, &mut value)?;
        if let (Some(value), Some(told)) = (value, self.0.take()) {
            // A receiver that was dropped is not waiting for it.
            told.send(value).ok();
        }
        Poll::Ready(Ok(()))
    }
}

impl HostDescriptor for Files<'_> {
    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.forget(&fd);
        HostDescriptor::drop(&mut self.0.filesystem(), fd)
    }
}

impl types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<ErrorCode> {
        types::Host::convert_error_code(&mut self.0.filesystem(), error)
    }
}
