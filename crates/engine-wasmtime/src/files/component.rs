//! The files of a component of WASI 0.2: Wasmtime's, but for paths that lead elsewhere, and for the
//! process's streams where they are opened as files.

use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::types::{
    Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, DirectoryEntryStream,
    ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream, MetadataHashValue, NewTimestamp,
    OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::component_files::{Again, Files, same};
use super::resolve::{Change, Last};

/// Whether a call was refused as one that leaves its dir.
fn was_refused<T>(result: &FsResult<T>) -> bool {
    let error = result.as_ref().err().and_then(FsError::downcast_ref);
    matches!(error, Some(ErrorCode::NotPermitted))
}

/// What a call does with the last part of its path.
fn last(flags: PathFlags) -> Last {
    Last::of(flags.contains(PathFlags::SYMLINK_FOLLOW))
}

fn refused<T>() -> FsResult<T> {
    Err(ErrorCode::NotPermitted.into())
}

/// Calls that are Wasmtime's as they are.
macro_rules! handed_on {
    ($(async fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {$(
        async fn $name(&mut self, fd: Resource<Descriptor>, $($arg: $ty),*) -> FsResult<$out> {
            HostDescriptor::$name(&mut self.0.filesystem(), fd, $($arg),*).await
        }
    )*};
}

/// Calls on one path, tried again where they are refused.
macro_rules! tried_again {
    ($(async fn $name:ident([$($flags:ident)?] $(, $arg:ident: $ty:ty)*) -> $out:ty, $last:expr;)*) => {$(
        async fn $name(
            &mut self,
            fd: Resource<Descriptor>,
            $($flags: PathFlags,)?
            path: String
            $(, $arg: $ty)*
        ) -> FsResult<$out> {
            let last = $last;
            if !last.is_odd(&path) {
                let result = self.0.filesystem()
                    .$name(same(&fd), $($flags,)? path.clone() $(, $arg)*)
                    .await;
                if !was_refused(&result) {
                    return result;
                }
            }
            let (dir, path) = self.beneath(&fd, &path, last).map_err(ErrorCode::from)?;
            let result = self.0.filesystem()
                .$name(same(&dir), $($flags,)? path $(, $arg)*)
                .await;
            self.release(dir);
            result
        }
    )*};
}

/// The same for calls on one path that may be a stream's, with the call that asks a descriptor.
macro_rules! tried_again_on_streams {
    ($(async fn $name:ident() -> $out:ty, or $of_stream:ident;)*) => {$(
        async fn $name(
            &mut self,
            fd: Resource<Descriptor>,
            flags: PathFlags,
            path: String,
        ) -> FsResult<$out> {
            let last = last(flags);
            if !last.is_odd(&path) {
                let result = self.0.filesystem().$name(same(&fd), flags, path.clone()).await;
                if !was_refused(&result) {
                    return result;
                }
            }
            let again = self.again(&fd, &path, last).map_err(ErrorCode::from)?;
            let (fd, result) = match again {
                Some(Again::Beneath(fd, path)) => {
                    let result = self.0.filesystem().$name(same(&fd), flags, path).await;
                    (fd, result)
                }
                Some(Again::Stream(stream)) => {
                    let fd = self.open_stream(stream).map_err(ErrorCode::from)?;
                    let result = self.0.filesystem().$of_stream(same(&fd)).await;
                    self.forget(&fd);
                    (fd, result)
                }
                None => return self.0.filesystem().$name(fd, flags, path).await,
            };
            self.release(fd);
            result
        }
    )*};
}

/// The same for calls on two paths, both of which are looked up anew.
macro_rules! both_tried_again {
    ($(async fn $name:ident([$($flags:ident)?]), $last:expr, $new_last:expr;)*) => {$(
        async fn $name(
            &mut self,
            fd: Resource<Descriptor>,
            $($flags: PathFlags,)?
            path: String,
            new_fd: Resource<Descriptor>,
            new_path: String,
        ) -> FsResult<()> {
            if !$new_last.is_odd(&new_path) {
                let (old, new) = (path.clone(), new_path.clone());
                let result = self.0.filesystem()
                    .$name(same(&fd), $($flags,)? old, same(&new_fd), new)
                    .await;
                if !was_refused(&result) {
                    return result;
                }
            }
            let (from, old) = self.beneath(&fd, &path, $last).map_err(ErrorCode::from)?;
            let result = match self.beneath(&new_fd, &new_path, $new_last) {
                Ok((to, new)) => {
                    let result = self.0.filesystem()
                        .$name(same(&from), $($flags,)? old, same(&to), new)
                        .await;
                    self.release(to);
                    result
                }
                Err(error) => Err(ErrorCode::from(error).into()),
            };
            self.release(from);
            result
        }
    )*};
}

impl HostDescriptor for Files<'_> {
    handed_on! {
        async fn advise(offset: Filesize, len: Filesize, advice: Advice) -> ();
        async fn sync_data() -> ();
        async fn get_flags() -> DescriptorFlags;
        async fn get_type() -> DescriptorType;
        async fn set_size(size: Filesize) -> ();
        async fn set_times(atim: NewTimestamp, mtim: NewTimestamp) -> ();
        async fn read(len: Filesize, offset: Filesize) -> (Vec<u8>, bool);
        async fn write(bytes: Vec<u8>, offset: Filesize) -> Filesize;
        async fn read_directory() -> Resource<DirectoryEntryStream>;
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

    async fn readlink_at(&mut self, fd: Resource<Descriptor>, path: String) -> FsResult<String> {
        let result = self
            .0
            .filesystem()
            .readlink_at(same(&fd), path.clone())
            .await;
        if was_refused(&result) {
            let target = self.target(&fd, &path);
            return Ok(target.map_err(ErrorCode::from)?);
        }
        result
    }

    async fn open_at(
        &mut self,
        fd: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let follow = path_flags.contains(PathFlags::SYMLINK_FOLLOW);
        let exclusive = open_flags.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE);
        let stream = self.named_stream(&fd, &path, follow);
        let mut result = refused();
        if stream.is_none() {
            result = self
                .0
                .filesystem()
                .open_at(same(&fd), path_flags, path.clone(), open_flags, flags)
                .await;
            if let Ok(opened) = &result {
                self.note(&fd, &path, opened);
            }
            if !was_refused(&result) {
                return result;
            }
        }
        let again = match stream {
            Some(stream) => Some(Again::Stream(stream)),
            None => {
                let last = if open_flags.contains(OpenFlags::CREATE) {
                    // A link in the place of what is to be new is in its way.
                    let follow = follow && !exclusive;
                    Last::Created { follow }
                } else {
                    Last::of(follow)
                };
                self.again(&fd, &path, last).map_err(ErrorCode::from)?
            }
        };
        match again {
            Some(Again::Stream(_)) if exclusive => Err(ErrorCode::Exist.into()),
            Some(Again::Stream(_)) if open_flags.contains(OpenFlags::DIRECTORY) => {
                Err(ErrorCode::NotDirectory.into())
            }
            Some(Again::Stream(stream)) => Ok(self.open_stream(stream).map_err(ErrorCode::from)?),
            Some(Again::Beneath(dir, path)) => {
                let mut files = self.0.filesystem();
                let result = files
                    .open_at(same(&dir), path_flags, path.clone(), open_flags, flags)
                    .await;
                if let Ok(opened) = &result {
                    self.note(&dir, &path, opened);
                }
                self.release(dir);
                result
            }
            None => result,
        }
    }

    async fn symlink_at(
        &mut self,
        fd: Resource<Descriptor>,
        target: String,
        path: String,
    ) -> FsResult<()> {
        let last = Last::Named(Change::MakeLink);
        if !last.is_odd(&path) {
            let (target, path) = (target.clone(), path.clone());
            let mut files = self.0.filesystem();
            let result = files.symlink_at(same(&fd), target, path).await;
            if !was_refused(&result) {
                return result;
            }
        }
        if target.starts_with('/') {
            let made = self.link(&target, &fd, &path);
            return Ok(made.map_err(ErrorCode::from)?);
        }
        let (dir, path) = self.beneath(&fd, &path, last).map_err(ErrorCode::from)?;
        let mut files = self.0.filesystem();
        let result = files.symlink_at(same(&dir), target, path).await;
        self.release(dir);
        result
    }

    fn read_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynInputStream>> {
        match self.stream(&fd) {
            Some(stream) => self.input(stream, &fd),
            None => self.0.filesystem().read_via_stream(fd, offset),
        }
    }

    fn write_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
        offset: Filesize,
    ) -> FsResult<Resource<DynOutputStream>> {
        match self.stream(&fd) {
            Some(stream) => self.output(stream, &fd),
            None => self.0.filesystem().write_via_stream(fd, offset),
        }
    }

    fn append_via_stream(
        &mut self,
        fd: Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        match self.stream(&fd) {
            Some(stream) => self.output(stream, &fd),
            None => self.0.filesystem().append_via_stream(fd),
        }
    }

    async fn is_same_object(
        &mut self,
        fd: Resource<Descriptor>,
        other: Resource<Descriptor>,
    ) -> wasmtime::Result<bool> {
        self.0.filesystem().is_same_object(fd, other).await
    }

    fn drop(&mut self, fd: Resource<Descriptor>) -> wasmtime::Result<()> {
        self.forget(&fd);
        HostDescriptor::drop(&mut self.0.filesystem(), fd)
    }
}

impl HostDirectoryEntryStream for Files<'_> {
    async fn read_directory_entry(
        &mut self,
        stream: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        self.0.filesystem().read_directory_entry(stream).await
    }

    fn drop(&mut self, stream: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        HostDirectoryEntryStream::drop(&mut self.0.filesystem(), stream)
    }
}

impl wasmtime_wasi::p2::bindings::filesystem::types::Host for Files<'_> {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        self.0.filesystem().convert_error_code(error)
    }

    fn filesystem_error_code(
        &mut self,
        error: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        self.0.filesystem().filesystem_error_code(error)
    }
}
