use super::*;
use wasmtime_wasi::p0::types as p0;
use wasmtime_wasi::p0::wasi_unstable::WasiUnstable;
use wasmtime_wasi::p1::types::{
    Eventtype, Fdflags, Filetype, Oflags, Rights, SubscriptionFdReadwrite,
};
use wasmtime_wasi::p1::wasi_snapshot_preview1::WasiSnapshotPreview1 as Calls;

/// A module's files, with the real root as its dir.
fn files() -> (Preview1, tokio::runtime::Runtime) {
    let guest = Guest {
        cwd: "/".to_owned(),
        preopens: vec![Preopen::at("/".to_owned(), false)],
        ..Guest::default()
    };
    let context = crate::wasi_ctx::builder(&guest).unwrap().build_p1();
    let mut files = Preview1::new(context, &guest);
    Calls::set_hostcall_fuel(&mut files, 1 << 20);
    (files, crate::wasi_ctx::runtime().unwrap())
}

async fn open(files: &mut Preview1, path: &str) -> Fd {
    let mut bytes = path.as_bytes().to_vec();
    let (root, path) = (Fd::from(3), super::super::paths::pointer(path));
    let memory = &mut GuestMemory::Unshared(&mut bytes);
    let (look, how) = (Lookupflags::SYMLINK_FOLLOW, Oflags::empty());
    let (rights, flags) = (Rights::FD_READ, Fdflags::empty());
    let opened = Calls::path_open(files, memory, root, look, path, how, rights, rights, flags);
    opened.await.unwrap()
}

async fn kind(files: &mut Preview1, fd: Fd) -> Result<Filetype, Errno> {
    let none = &mut GuestMemory::Unshared(&mut []);
    let stat = Calls::fd_filestat_get(files, none, fd).await;
    stat.map(|stat| stat.filetype)
        .map_err(|error| error.downcast().unwrap())
}

#[test]
fn a_stream_opened_by_name_is_numbered_as_a_file_is() {
    let (mut files, runtime) = files();
    runtime.block_on(async {
        let none = &mut GuestMemory::Unshared(&mut []);
        let stream = open(&mut files, "dev/stdout").await;
        let file = open(&mut files, "proc/version").await;
        Calls::fd_renumber(&mut files, none, file, stream)
            .await
            .unwrap();
        assert_eq!(kind(&mut files, stream).await, Ok(Filetype::RegularFile));
        assert_eq!(kind(&mut files, file).await, Err(Errno::Badf));
        let again = open(&mut files, "dev/stdout").await;
        assert_eq!(
            u32::from(again),
            u32::from(file),
            "the lowest number that is free"
        );
        Calls::fd_renumber(&mut files, none, again, stream)
            .await
            .unwrap();
        // What else means the stream is left alone.
        Calls::fd_close(&mut files, none, 1.into()).await.unwrap();
        let now = open(&mut files, "proc/version").await;
        assert_eq!(u32::from(now), 1);
        assert_ne!(kind(&mut files, stream).await, Ok(Filetype::RegularFile));
        let free = Calls::fd_renumber(&mut files, none, stream, 99.into()).await;
        assert_eq!(free.unwrap_err().downcast().unwrap(), Errno::Badf);
    });
}

/// Whether it succeeds or fails.
#[test]
fn a_poll_leaves_its_subscriptions_as_they_are() {
    let (mut files, runtime) = files();
    runtime.block_on(async {
        let stream = open(&mut files, "dev/stdout").await;
        let mut bytes = vec![0; 4096];
        let aligned = u32::try_from(bytes.as_ptr().align_offset(8)).unwrap();
        let last = aligned + (4000 - Subscription::guest_size()) / 8 * 8;
        bytes.truncate(usize::try_from(last + Subscription::guest_size()).unwrap());
        let at = GuestPtr::<Subscription>::new(last);
        let of = SubscriptionFdReadwrite {
            file_descriptor: stream,
        };
        let subscription = Subscription {
            userdata: 7,
            u: SubscriptionU::FdWrite(of),
        };
        let events = GuestPtr::<Event>::new(aligned);
        GuestMemory::Unshared(&mut bytes)
            .write(at, subscription)
            .unwrap();
        let before = bytes.clone();
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        // The second one is beyond the memory's end.
        let failed = Calls::poll_oneoff(&mut files, memory, at, events, 2).await;
        assert!(failed.is_err());
        assert!(*bytes == before);
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        let count = Calls::poll_oneoff(&mut files, memory, at, events, 1).await;
        assert_eq!(count.unwrap(), 1);
        let event = memory.read(events).unwrap();
        assert_eq!((event.userdata, event.type_), (7, Eventtype::FdWrite));
        let there = usize::try_from(last).unwrap();
        assert!(bytes[there..] == before[there..]);
        // More than a call may have copied.
        let memory = &mut GuestMemory::Unshared(&mut bytes);
        let many = Calls::poll_oneoff(&mut files, memory, at, events, 1 << 20).await;
        assert_eq!(many.unwrap_err().downcast().unwrap(), Errno::Nomem);
    });
}

#[test]
fn a_module_of_preview_0_has_the_same_streams_and_links() {
    let (mut files, runtime) = files();
    runtime.block_on(async {
        let stream = open(&mut files, "dev/stdout").await;
        let none = &mut GuestMemory::Unshared(&mut []);
        let fd = p0::Fd::from(u32::from(stream));
        let sought = WasiUnstable::fd_seek(&mut files, none, fd, 0, p0::Whence::Set).await;
        assert_eq!(sought.unwrap_err().downcast().unwrap(), p0::Errno::Spipe);
        assert!(
            WasiUnstable::fd_filestat_get(&mut files, none, fd)
                .await
                .is_ok()
        );
        WasiUnstable::fd_renumber(&mut files, none, fd, p0::Fd::from(1))
            .await
            .unwrap();
        assert!(
            WasiUnstable::fd_filestat_get(&mut files, none, fd)
                .await
                .is_err()
        );
    });
}

#[test]
fn a_path_is_no_longer_than_the_kernel_takes() {
    let (mut files, runtime) = files();
    let mut bytes = vec![b'a'; 8192];
    let memory = &mut GuestMemory::Unshared(&mut bytes);
    let path = GuestPtr::<str>::new((0, 4096));
    let made = runtime.block_on(Calls::path_create_directory(
        &mut files,
        memory,
        3.into(),
        path,
    ));
    assert_eq!(made.unwrap_err().downcast().unwrap(), Errno::Nametoolong);
}
