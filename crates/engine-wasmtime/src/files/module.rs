//! The files of a module: WASI preview 1, whose calls are Wasmtime's but for paths that lead
//! elsewhere, and for the process's streams where they are opened as files.

use wasmtime_wasi::p1::types::{
    Advice, CiovecArray, Clockid, Dircookie, Errno, Error, Event, Exitcode, Fd, Fdflags, Fdstat,
    Filedelta, Filesize, Filestat, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, Riflags,
    Rights, Roflags, Sdflags, Siflags, Signal, Size, Subscription, Timestamp, Whence,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

use super::dirs::Elsewhere;
use super::paths::{Path, both, errno, put, text, unless_refused};
use super::preview1::Preview1;
use super::resolve::{Change, Last};

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
    ($(async fn $name:ident, $change:ident;)*) => {$(
        async fn $name(
            &mut self,
            memory: &mut GuestMemory<'_>,
            dirfd: Fd,
            path: GuestPtr<str>,
        ) -> Result<(), Error> {
            let dirfd = self.read(dirfd);
            let requested = Path::of(memory, dirfd, path)?;
            let last = Last::Named(Change::$change);
            if !last.is_odd(&requested.path)
                && let Some(result) = unless_refused(self.inner.$name(memory, dirfd, path).await)
            {
                return result;
            }
            let path = self.again(requested, last).await?;
            let pointer = path.pointer();
            let mut bytes = path.path.into_bytes();
            let memory = &mut GuestMemory::Unshared(&mut bytes);
            self.inner.$name(memory, path.dir, pointer).await
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
        fn fd_fdstat_set_rights(fd: Fd, base: Rights, inheriting: Rights) -> (), on read(fd);
        fn fd_prestat_get(fd: Fd) -> Prestat, on read(fd);
        fn fd_prestat_dir_name(fd: Fd, path: GuestPtr<u8>, len: Size) -> (), on read(fd);
        fn fd_tell(fd: Fd) -> Filesize, on read(fd);
        fn proc_raise(signal: Signal) -> ();
        fn sched_yield() -> ();
        fn random_get(buf: GuestPtr<u8>, len: Size) -> ();
        fn sock_recv(fd: Fd, data: IovecArray, flags: Riflags) -> (Size, Roflags), on read(fd);
        fn sock_send(fd: Fd, data: CiovecArray, flags: Siflags) -> Size, on write(fd);
        fn sock_shutdown(fd: Fd, how: Sdflags) -> (), on read(fd);
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
        async fn path_create_directory, MakeDir;
        async fn path_remove_directory, RemoveDir;
        async fn path_unlink_file, RemoveFile;
    }

    fn set_hostcall_fuel(&mut self, fuel: usize) {
        self.fuel = fuel;
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
        if self.numbers.is_by_name(fd.into()) {
            // A stream is appended to anyway, and one that does not block is not there.
            return Ok(());
        }
        let fd = self.read(fd);
        self.inner.fd_fdstat_set_flags(memory, fd, flags)
    }

    async fn fd_close(&mut self, _: &mut GuestMemory<'_>, fd: Fd) -> Result<(), Error> {
        let closed = self.numbers.close(fd.into())?;
        self.close(closed).await
    }

    async fn fd_renumber(
        &mut self,
        _: &mut GuestMemory<'_>,
        from: Fd,
        to: Fd,
    ) -> Result<(), Error> {
        let closed = self.numbers.renumber(from.into(), to.into())?;
        self.close(closed).await
    }

    fn sock_accept(
        &mut self,
        memory: &mut GuestMemory<'_>,
        fd: Fd,
        flags: Fdflags,
    ) -> Result<Fd, Error> {
        let fd = self.read(fd);
        let accepted = self.inner.sock_accept(memory, fd, flags)?;
        Ok(self.numbers.give(accepted.into())?.into())
    }

    async fn path_filestat_get(
        &mut self,
        memory: &mut GuestMemory<'_>,
        dirfd: Fd,
        flags: Lookupflags,
        path: GuestPtr<str>,
    ) -> Result<Filestat, Error> {
        let dirfd = self.read(dirfd);
        let last = Last::of(flags.contains(Lookupflags::SYMLINK_FOLLOW));
        let requested = Path::of(memory, dirfd, path)?;
        if !last.is_odd(&requested.path) {
            let result = self
                .inner
                .path_filestat_get(memory, dirfd, flags, path)
                .await;
            if let Some(result) = unless_refused(result) {
                return result;
            }
        }
        let path = match self.elsewhere(&requested, last).await {
            Ok(Elsewhere::Stream(stream)) => {
                let fd = self.open(stream)?;
                let stat = self.fd_filestat_get(memory, fd).await;
                self.fd_close(memory, fd).await?;
                return stat;
            }
            Ok(Elsewhere::Beneath(dir, path)) => Path {
                dir: dir.into(),
                path,
            },
            Err(Errno::Perm) => requested,
            Err(errno) => return Err(errno.into()),
        };
        let pointer = path.pointer();
        let mut bytes = path.path.into_bytes();
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner
            .path_filestat_get(memory, path.dir, flags, pointer)
            .await
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
        let dirfd = self.read(dirfd);
        let result = self
            .inner
            .path_filestat_set_times(memory, dirfd, flags, path, atim, mtim, which)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let last = Last::of(flags.contains(Lookupflags::SYMLINK_FOLLOW));
        let path = self.again(Path::of(memory, dirfd, path)?, last).await?;
        let pointer = path.pointer();
        let mut bytes = path.path.into_bytes();
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner
            .path_filestat_set_times(memory, path.dir, flags, pointer, atim, mtim, which)
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
        let (src_fd, target_fd) = (self.read(src_fd), self.read(target_fd));
        let old = Path::of(memory, src_fd, src_path)?;
        let new = Path::of(memory, target_fd, target_path)?;
        let last = Last::Named(Change::MakeLink);
        if !last.is_odd(&new.path) {
            let result = self
                .inner
                .path_link(memory, src_fd, src_flags, src_path, target_fd, target_path)
                .await;
            if let Some(result) = unless_refused(result) {
                return result;
            }
        }
        let old = self.again(old, Last::Kept).await?;
        let new = self.again(new, last).await?;
        let (from, to) = (old.dir, new.dir);
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
        let dirfd = self.read(dirfd);
        let requested = Path::of(memory, dirfd, path)?;
        let exclusive = oflags.contains(Oflags::CREAT | Oflags::EXCL);
        let stream = self.stream(&requested, follow).await;
        if stream.is_none() {
            let result = self
                .inner
                .path_open(
                    memory, dirfd, dirflags, path, oflags, base, inheriting, fdflags,
                )
                .await;
            if let Some(result) = unless_refused(result) {
                return self.opened(&requested, result?);
            }
        }
        let elsewhere = match stream {
            Some(stream) => Elsewhere::Stream(stream),
            None => {
                // A link in the place of what is to be new is in its way.
                let last = if oflags.contains(Oflags::CREAT) {
                    let follow = follow && !exclusive;
                    Last::Created { follow }
                } else {
                    Last::of(follow)
                };
                self.elsewhere(&requested, last).await?
            }
        };
        match elsewhere {
            Elsewhere::Stream(_) if exclusive => Err(Errno::Exist.into()),
            Elsewhere::Stream(_) if oflags.contains(Oflags::DIRECTORY) => Err(Errno::Notdir.into()),
            Elsewhere::Stream(stream) => Ok(self.open(stream)?),
            Elsewhere::Beneath(dir, path) => {
                let path = Path {
                    dir: dir.into(),
                    path,
                };
                let pointer = path.pointer();
                let mut bytes = path.path.clone().into_bytes();
                let memory = &mut GuestMemory::Unshared(&mut bytes);
                let fd = self
                    .inner
                    .path_open(
                        memory, path.dir, dirflags, pointer, oflags, base, inheriting, fdflags,
                    )
                    .await?;
                self.opened(&path, fd)
            }
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
        let dirfd = self.read(dirfd);
        let result = self
            .inner
            .path_readlink(memory, dirfd, path, buf, len)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let path = Path::of(memory, dirfd, path)?;
        self.check(dirfd.into()).await?;
        let target = self.dirs.target(dirfd.into(), &path.path);
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
        let (src_fd, dest_fd) = (self.read(src_fd), self.read(dest_fd));
        let result = self
            .inner
            .path_rename(memory, src_fd, src_path, dest_fd, dest_path)
            .await;
        if let Some(result) = unless_refused(result) {
            return result;
        }
        let last = Last::Named(Change::Move);
        let old = self
            .again(Path::of(memory, src_fd, src_path)?, last)
            .await?;
        let new = self
            .again(Path::of(memory, dest_fd, dest_path)?, last)
            .await?;
        let (from, to) = (old.dir, new.dir);
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
        let dirfd = self.read(dirfd);
        let at = Path::of(memory, dirfd, dest_path)?;
        let last = Last::Named(Change::MakeLink);
        if !last.is_odd(&at.path) {
            let result = self
                .inner
                .path_symlink(memory, src_path, dirfd, dest_path)
                .await;
            if let Some(result) = unless_refused(result) {
                return result;
            }
        }
        let target = text(memory, src_path)?;
        if target.starts_with('/') {
            self.check(dirfd.into()).await?;
            let made = self.dirs.link(&target, dirfd.into(), &at.path);
            return made.map_err(|error| errno(&error).into());
        }
        let at = self.again(at, last).await?;
        let dir = at.dir;
        let target = Path { dir, path: target };
        let (mut bytes, target, at) = both(target, at)?;
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        self.inner.path_symlink(memory, target, dir, at).await
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subs: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size, Error> {
        let subscriptions = self.subscriptions(memory, subs, count)?;
        let told = self.poll(subscriptions).await?;
        put(memory, events, told)
    }
}
