//! The files of a module of WASI preview 0: those of one of preview 1, but for the structures and
//! numbers that were others then.

use wasmtime_wasi::p0::types::{
    Advice, CiovecArray, Clockid, Dircookie, Errno, Error, Event, Exitcode, Fd, Fdflags, Fdstat,
    Filedelta, Filesize, Filestat, Fstflags, IovecArray, Lookupflags, Oflags, Prestat, Riflags,
    Rights, Roflags, Sdflags, Siflags, Signal, Size, Subscription, SubscriptionU, Timestamp,
    Whence,
};
use wasmtime_wasi::p0::wasi_unstable::WasiUnstable;
use wasmtime_wasi::p1::types as p1;
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1;
use wiggle::{GuestMemory, GuestPtr};

use super::paths::put;
use super::preview1::Preview1;

/// Calls that are those of preview 1, with what has another type there `into` it, or `cast` to it.
macro_rules! of_preview_1 {
    ($(async fn $name:ident($($arg:ident: $ty:ty $(, $to:ident)?);*) -> $out:ty;)*) => {$(
        async fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$out, Error> {
            Ok(WasiSnapshotPreview1::$name(self, memory, $($arg $(.$to())?),*).await?.into())
        }
    )*};
    ($(fn $name:ident($($arg:ident: $ty:ty $(, $to:ident)?);*) -> $out:ty;)*) => {$(
        fn $name(&mut self, memory: &mut GuestMemory<'_>, $($arg: $ty),*) -> Result<$out, Error> {
            Ok(WasiSnapshotPreview1::$name(self, memory, $($arg $(.$to())?),*)?.into())
        }
    )*};
}

impl WasiUnstable for Preview1 {
    of_preview_1! {
        fn args_get(argv: GuestPtr<GuestPtr<u8>>; bytes: GuestPtr<u8>) -> ();
        fn args_sizes_get() -> (Size, Size);
        fn environ_get(environ: GuestPtr<GuestPtr<u8>>; bytes: GuestPtr<u8>) -> ();
        fn environ_sizes_get() -> (Size, Size);
        fn clock_res_get(id: Clockid, into) -> Timestamp;
        fn clock_time_get(id: Clockid, into; precision: Timestamp) -> Timestamp;
        fn fd_allocate(fd: Fd, into; offset: Filesize; len: Filesize) -> ();
        fn fd_fdstat_set_flags(fd: Fd, into; flags: Fdflags, into) -> ();
        fn fd_fdstat_set_rights(fd: Fd, into; base: Rights, into; inheriting: Rights, into) -> ();
        fn fd_prestat_get(fd: Fd, into) -> Prestat;
        fn fd_prestat_dir_name(fd: Fd, into; path: GuestPtr<u8>; len: Size) -> ();
        fn fd_tell(fd: Fd, into) -> Filesize;
        fn proc_raise(signal: Signal, into) -> ();
        fn sched_yield() -> ();
        fn random_get(buf: GuestPtr<u8>; len: Size) -> ();
    }

    of_preview_1! {
        async fn fd_advise(fd: Fd, into; offset: Filesize; len: Filesize; advice: Advice, into) -> ();
        async fn fd_close(fd: Fd, into) -> ();
        async fn fd_datasync(fd: Fd, into) -> ();
        async fn fd_fdstat_get(fd: Fd, into) -> Fdstat;
        async fn fd_filestat_get(fd: Fd, into) -> Filestat;
        async fn fd_filestat_set_size(fd: Fd, into; size: Filesize) -> ();
        async fn fd_filestat_set_times(fd: Fd, into; atim: Timestamp; mtim: Timestamp; which: Fstflags, into) -> ();
        async fn fd_read(fd: Fd, into; iovs: IovecArray, cast) -> Size;
        async fn fd_pread(fd: Fd, into; iovs: IovecArray, cast; offset: Filesize) -> Size;
        async fn fd_write(fd: Fd, into; iovs: CiovecArray, cast) -> Size;
        async fn fd_pwrite(fd: Fd, into; iovs: CiovecArray, cast; offset: Filesize) -> Size;
        async fn fd_renumber(from: Fd, into; to: Fd, into) -> ();
        async fn fd_seek(fd: Fd, into; offset: Filedelta; whence: Whence, into) -> Filesize;
        async fn fd_sync(fd: Fd, into) -> ();
        async fn fd_readdir(fd: Fd, into; buf: GuestPtr<u8>; len: Size; cookie: Dircookie) -> Size;
        async fn path_create_directory(fd: Fd, into; path: GuestPtr<str>) -> ();
        async fn path_filestat_get(fd: Fd, into; flags: Lookupflags, into; path: GuestPtr<str>) -> Filestat;
        async fn path_filestat_set_times(fd: Fd, into; flags: Lookupflags, into; path: GuestPtr<str>; atim: Timestamp; mtim: Timestamp; which: Fstflags, into) -> ();
        async fn path_link(from: Fd, into; flags: Lookupflags, into; old: GuestPtr<str>; to: Fd, into; new: GuestPtr<str>) -> ();
        async fn path_open(fd: Fd, into; flags: Lookupflags, into; path: GuestPtr<str>; how: Oflags, into; base: Rights, into; inheriting: Rights, into; fdflags: Fdflags, into) -> Fd;
        async fn path_readlink(fd: Fd, into; path: GuestPtr<str>; buf: GuestPtr<u8>; len: Size) -> Size;
        async fn path_remove_directory(fd: Fd, into; path: GuestPtr<str>) -> ();
        async fn path_rename(from: Fd, into; old: GuestPtr<str>; to: Fd, into; new: GuestPtr<str>) -> ();
        async fn path_symlink(old: GuestPtr<str>; fd: Fd, into; new: GuestPtr<str>) -> ();
        async fn path_unlink_file(fd: Fd, into; path: GuestPtr<str>) -> ();
    }

    fn set_hostcall_fuel(&mut self, fuel: usize) {
        WasiSnapshotPreview1::set_hostcall_fuel(self, fuel);
    }

    fn proc_exit(&mut self, memory: &mut GuestMemory<'_>, code: Exitcode) -> wiggle::error::Error {
        WasiSnapshotPreview1::proc_exit(self, memory, code)
    }

    async fn poll_oneoff(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subs: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size, Error> {
        let subscriptions = self.subscriptions(memory, subs, count)?;
        let subscriptions = subscriptions.into_iter().map(|of| p1::Subscription {
            userdata: of.userdata,
            u: match of.u {
                SubscriptionU::Clock(clock) => p1::SubscriptionU::Clock(clock.into()),
                SubscriptionU::FdRead(fd) => p1::SubscriptionU::FdRead(fd.into()),
                SubscriptionU::FdWrite(fd) => p1::SubscriptionU::FdWrite(fd.into()),
            },
        });
        let told = self.poll(subscriptions.collect()).await?;
        Ok(put(memory, events.cast(), told)?)
    }

    fn sock_recv(
        &mut self,
        _: &mut GuestMemory<'_>,
        _: Fd,
        _: IovecArray,
        _: Riflags,
    ) -> Result<(Size, Roflags), Error> {
        Err(Errno::Notsock.into())
    }

    fn sock_send(
        &mut self,
        _: &mut GuestMemory<'_>,
        _: Fd,
        _: CiovecArray,
        _: Siflags,
    ) -> Result<Size, Error> {
        Err(Errno::Notsock.into())
    }

    fn sock_shutdown(&mut self, _: &mut GuestMemory<'_>, _: Fd, _: Sdflags) -> Result<(), Error> {
        Err(Errno::Notsock.into())
    }
}
