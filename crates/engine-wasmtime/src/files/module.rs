//! The files of a module: WASI preview 1, whose calls are Wasmtime's but for paths that lead
//! elsewhere, and for the process's streams where they are opened as files.

use wasmtime_wasi::p1::types::{
    Advice, CiovecArray, Clockid, Dircookie, Errno, Error, Event, Exitcode, Fd, Fdflags, Fdstat,
    Filedelta, Filesize, Filestat, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, Riflags,
    Rights, Roflags, Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

use super::Elsewhere;
use super::paths::{Path, both, errno, refused, unless_refused};
use super::preview1::{FIRST, Preview1};

/// Calls that are Wasmtime's as they are, on the descriptor that is meant.
macro_rules! handed_on {
    ($(async fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty $(, on $which:ident($fd:ident))?;)*) => {$(
        async fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$out, Error> {
            $(let $fd = self.$which($fd);)?
            WasiSnapshotPreview1::$name(&mut self.inner, memory, $($arg),*).await
        }
    )*};
    ($(fn $name:ident($($arg:ident: $ty:ty),*) -> $out:ty $(, on $which:ident($fd:ident))?;)*) => {$(
        fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$out, Error> {
            $(let $fd = self.$which($fd);)?
            WasiSnapshotPreview1::$name(&mut self.inner, memory, $($arg),*)
        }
    )*};
}

/// Calls on one path and nothing else, tried again where they are refused.
macro_rules! tried_again {
    ($(async fn $name:ident;)*) => {$(
        async fn $name(
            &mut self,
            memory: &mut GuestMemory<'_>,
            dirfd: Fd,
            path: GuestPtr<str>,
        ) -> Result<(), Error> {
            let result = self.inner.$name(memory, dirfd, path).await;
            if let Some(result) = unless_refused(result) {
                return result;
            }
            let Some((folder, path)) = self.again(&Path::of(memory, dirfd, path)?, false) else {
                return refused();
            };
            let pointer = path.pointer();
            let mut bytes = path.path.into_bytes();
            let memory = &mut GuestMemory::Unshared(&mut bytes);
            self.inner.$name(memory, folder, pointer).await
        }
    )*};
}

impl WasiSnapshotPreview1 for Preview1 {
    handed_on! {
        fn args_get(argv: GuestPtr<GuestPtr<u8>>, bytes: GuestPtr<u8>) -> ();
        fn args_sizes_get() -> (Size, Size);
        fn environ_get(environ: GuestPtr<GuestPtr<u8>>, bytes: GuestPtr<u8>) -> ();
        fn environ_sizes_get() -> (Size, Size);
        fn clock_res_get(id: Clockid) -> Timestamp;
        fn clock_time_get(id: Clockid, precision: Timestamp) -> Timestamp;
        fn fd_allocate(fd: Fd, offset: Filesize, len: Filesize) -> (), on write(fd);
        fn fd_prestat_get(fd: Fd) -> Prestat;
        fn fd_prestat_dir_name(fd: Fd, path: GuestPtr<u8>, len: Size) -> ();
        fn fd_tell(fd: Fd) -> Filesize, on read(fd);
        fn proc_raise(signal: Signal) -> ();
        fn sched_yield() -> ();
        fn random_get(buf: GuestPtr<u8>, len: Size) -> ();
        fn sock_accept(fd: Fd, flags: Fdflags) -> Fd;
        fn sock_recv(fd: Fd, data: IovecArray, flags: Riflags) -> (Size, Roflags);
        fn sock_send(fd: Fd, data: CiovecArray, flags: Siflags) -> Size;
        fn sock_shutdown(fd: Fd, how: Sdflags) -> ();
    }
    handed_on! {
        async fn fd_advise(fd: Fd, offset: Filesize, len: Filesize, advice: Advice) -> (), on read(fd);
        async fn fd_datasync(fd: Fd) -> (), on write(fd);
        async fn fd_fdstat_get(fd: Fd) -> Fdstat, on write(fd);
        async fn fd_filestat_get(fd: Fd) -> Filestat, on read(fd);
        async fn fd_filestat_set_size(fd: Fd, size: Filesize) -> (), on write(fd);
        async fn fd_filestat_set_times(fd: Fd, atim: Timestamp, mtim: Timestamp, flags: Fstflags) -> (), on write(fd);
        async fn fd_read(fd: Fd, iovs: IovecArray) -> Size, on read(fd);
        async fn fd_pread(fd: Fd, iovs: IovecArray, offset: Filesize) -> Size, on read(fd);
        async fn fd_write(fd: Fd, iovs: CiovecArray) -> Size, on write(fd);
        async fn fd_pwrite(fd: Fd, iovs: CiovecArray, offset: Filesize) -> Size, on write(fd);
        async fn fd_seek(fd: Fd, offset: Filedelta, whence: Whence) -> Filesize, on read(fd);
        async fn fd_sync(fd: Fd) -> (), on write(fd);
        async fn fd_readdir(fd: Fd, buf: GuestPtr<u8>, len: Size, cookie: Dircookie) -> Size, on read(fd);
    }

    tried_again! {
        async fn path_create_directory;
        async fn path_remove_directory;
        async fn path_unlink_file;
    }

    fn set_hostcall_fuel(&mut self, fuel: usize) {
        self.inner.set_hostcall_fuel(fuel);
    }

    fn proc_exit(&mut self, _: &mut GuestMemory<'_>, code: Exitcode) -> wiggle::error::Error {
        // Wasmtime's own traps from 126 on. Every code up to 255 means something to a pod.
        wasmtime_wasi::I32Exit(code.cast_signed()).into()
    }

    fn fd_fdstat_set_flags(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Fdflags,
    ) -> Result<(), Error> {
        if self.streams.contains_key(&u32::from(fd)) {
            // A stream is appended to anyway, and one that does not block is not there.
            return Ok(());
        }
        self.inner.fd_fdstat_set_flags(memory, fd, flags)
    }

    fn fd_fdstat_set_rights(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        base: Rights,
        inheriting: Rights,
    ) -> Result<(), Error> {
        let fd = self.read(fd);
        self.inner
            .fd_fdstat_set_rights(memory, fd, base, inheriting)
    }

    async fn fd_close(&mut self, memory: &mut GuestMemory<'_>, fd: Fd) -> Result<(), Error> {
        let handle = u32::from(fd);
        let stream = self.streams.remove(&handle);
        if stream.is_some() && handle >= FIRST {
            return Ok(());
        }
        self.inner.fd_close(memory, fd).await?;
        self.folders.opened.remove(&handle);
        self.folders.given.retain(|folder| folder.handle != handle);
        Ok(())
    }

    async fn fd_renumber(
        &mut self,
        memory: &mut GuestMemory<'_>,
        from: Fd,
        to: Fd,
    ) -> Result<(), Error> {
        let (old, new) = (u32::from(from), u32::from(to));
        if old == new {
            return self
                .inner
                .fd_renumber(memory, self.read(from), self.read(to))
                .await;
        }
        if let Some(stream) = self.streams.remove(&old) {
            // What has the number now stays beneath, until that is closed.
            self.streams.insert(new, stream);
            if old < FIRST {
                self.inner.fd_close(memory, from).await?;
            }
            return Ok(());
        }
        self.inner.fd_renumber(memory, from, to).await?;
        self.streams.remove(&new);
        self.folders.given.retain(|folder| folder.handle != new);
        for folder in &mut self.folders.given {
            if folder.handle == old {
                folder.handle = new;
            }
        }
        match self.folders.opened.remove(&old) {
            Some(path) => self.folders.opened.insert(new, path),
            None => self.folders.opened.remove(&new),
        };
        Ok(())
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        dirfd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Result<Filestat, Error> {
        let result = self
            .inner
            .path_filestat_get(memory, dirfd, flags, path)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        let path = Path::of(memory, dirfd, path)?;
        match self.folders.elsewhere(dirfd.into(), &path.path, follow) {
            Some(Elsewhere::Stream(stream)) => {
                let fd = self.open(stream)?;
                let stat = self.fd_filestat_get(memory, fd).await;
                self.streams.remove(&u32::from(fd));
                stat
            }
            Some(Elsewhere::Beneath(folder, path)) => {
                let folder = Fd::from(folder);
                let path = Path { folder, path };
                let pointer = path.pointer();
                let mut bytes = path.path.into_bytes();
                let memory = &mut GuestMemory::Unshared(&mut bytes);
                self.inner
                    .path_filestat_get(memory, folder, flags, pointer)
                    .await
            }
            None => refused(),
        }
    }

    async fn path_filestat_set_times(
        &mut self,
        memory: &mut GuestMemory<'_>,
        dirfd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
        atim: Timestamp,
        mtim: Timestamp,
        which: Fstflags,
    ) -> Result<(), Error> {
        let result = self
            .inner
            .path_filestat_set_times(memory, dirfd, flags, path, atim, mtim, which)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let follow = flags.contains(Lookupflags::SYMLINK_FOLLOW);
        let Some((folder, path)) = self.again(&Path::of(memory, dirfd, path)?, follow) else {
            return refused();
        };
        let pointer = path.pointer();
        let mut bytes = path.path.into_bytes();
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner
            .path_filestat_set_times(memory, folder, flags, pointer, atim, mtim, which)
            .await
    }

    async fn path_link(
        &mut self,
        memory: &mut GuestMemory<'_>,
        src_fd: Fd,
        src_flags: Lookupflags,
        src_path: GuestPtr<str>,
        target_fd: Fd,
        target_path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let result = self
            .inner
            .path_link(memory, src_fd, src_flags, src_path, target_fd, target_path)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let from = self.again(&Path::of(memory, src_fd, src_path)?, false);
        let to = self.again(&Path::of(memory, target_fd, target_path)?, false);
        let (Some((from, old)), Some((to, new))) = (from, to) else {
            return refused();
        };
        let (mut bytes, old, new) = both(old, new)?;
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner
            .path_link(memory, from, src_flags, old, to, new)
            .await
    }

    async fn path_open(
        &mut self,
        memory: &mut GuestMemory<'_>,
        dirfd: Fd,
        dirflags: Lookupflags,
        path: GuestPtr<str>,
        oflags: Oflags,
        base: Rights,
        inheriting: Rights,
        fdflags: Fdflags,
    ) -> Result<Fd, Error> {
        let follow = dirflags.contains(Lookupflags::SYMLINK_FOLLOW);
        let wanted = Path::of(memory, dirfd, path)?;
        let exclusive = oflags.contains(Oflags::CREAT | Oflags::EXCL);
        let stream = self.folders.stream(dirfd.into(), &wanted.path, follow);
        if stream.is_none() {
            let result = self
                .inner
                .path_open(
                    memory, dirfd, dirflags, path, oflags, base, inheriting, fdflags,
                )
                .await;
            if let Some(result) = unless_refused(result) {
                if let Ok(fd) = &result {
                    self.folders
                        .open(dirfd.into(), &wanted.path, u32::from(*fd));
                }
                return result;
            }
        }
        let elsewhere = match stream {
            Some(stream) => Some(Elsewhere::Stream(stream)),
            // A link in the place of what is to be new is in its way.
            None => self
                .folders
                .elsewhere(dirfd.into(), &wanted.path, follow && !exclusive),
        };
        match elsewhere {
            Some(Elsewhere::Stream(_)) if exclusive => Err(Errno::Exist.into()),
            Some(Elsewhere::Stream(_)) if oflags.contains(Oflags::DIRECTORY) => {
                Err(Errno::Notdir.into())
            }
            Some(Elsewhere::Stream(stream)) => Ok(self.open(stream)?),
            Some(Elsewhere::Beneath(folder, path)) => {
                let path = Path {
                    folder: folder.into(),
                    path,
                };
                let pointer = path.pointer();
                let mut bytes = path.path.clone().into_bytes();
                let memory = &mut GuestMemory::Unshared(&mut bytes);
                let fd = self
                    .inner
                    .path_open(
                        memory,
                        path.folder,
                        dirflags,
                        pointer,
                        oflags,
                        base,
                        inheriting,
                        fdflags,
                    )
                    .await?;
                self.folders.open(folder, &path.path, fd.into());
                Ok(fd)
            }
            None => refused(),
        }
    }

    async fn path_readlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        dirfd: Fd,
        path: GuestPtr<str>,
        buf: GuestPtr<u8>,
        len: Size,
    ) -> Result<Size, Error> {
        let result = self
            .inner
            .path_readlink(memory, dirfd, path, buf, len)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let path = Path::of(memory, dirfd, path)?;
        let target = self.folders.target(dirfd.into(), &path.path);
        let target = target.map_err(|error| errno(&error))?.into_bytes();
        let given = u32::try_from(target.len()).unwrap_or(len).min(len);
        let target = &target[..usize::try_from(given).unwrap_or_default()];
        memory.copy_from_slice(target, buf.as_array(given))?;
        Ok(given)
    }

    async fn path_rename(
        &mut self,
        memory: &mut GuestMemory<'_>,
        src_fd: Fd,
        src_path: GuestPtr<str>,
        dest_fd: Fd,
        dest_path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let result = self
            .inner
            .path_rename(memory, src_fd, src_path, dest_fd, dest_path)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let from = self.again(&Path::of(memory, src_fd, src_path)?, false);
        let to = self.again(&Path::of(memory, dest_fd, dest_path)?, false);
        let (Some((from, old)), Some((to, new))) = (from, to) else {
            return refused();
        };
        let (mut bytes, old, new) = both(old, new)?;
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner.path_rename(memory, from, old, to, new).await
    }

    async fn path_symlink(
        &mut self,
        memory: &mut GuestMemory<'_>,
        src_path: GuestPtr<str>,
        dirfd: Fd,
        dest_path: GuestPtr<str>,
    ) -> Result<(), Error> {
        let result = self
            .inner
            .path_symlink(memory, src_path, dirfd, dest_path)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let target = memory.as_cow_str(src_path)?.into_owned();
        let at = Path::of(memory, dirfd, dest_path)?;
        if target.starts_with('/') {
            let made = self.folders.link(&target, dirfd.into(), &at.path);
            return made.map_err(|error| errno(&error).into());
        }
        let Some((folder, at)) = self.again(&at, false) else {
            return refused();
        };
        let target = Path {
            folder,
            path: target,
        };
        let (mut bytes, target, at) = both(target, at)?;
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner.path_symlink(memory, target, folder, at).await
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subs: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size, Error> {
        let changed = self.stand_in(memory, subs, count)?;
        let result = self.inner.poll_oneoff(memory, subs, events, count).await;
        for (fd, given) in changed {
            memory.write(fd, given)?;
        }
        result
    }
}
