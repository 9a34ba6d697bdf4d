//! What a container finds in `/dev`.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use libcontainer::rootfs::utils::default_devices;
use medley_sys::in_root::{self, Missing};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::{DupFlags, Errno};

use super::Error;

const DEV: &str = "/dev";

const NULL: &str = "/dev/null";

/// The links there, and where they lead.
const LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The memory of the kernel, where its procfs has it.
const CORE: (&str, &str) = ("kcore", "/proc/kcore");

/// What a device may be used for by all, unless the spec says otherwise.
const MODE: u32 = 0o666;

/// The devices that a container has: those of its spec, and the usual ones.
pub(super) fn devices(asked: Option<Vec<LinuxDevice>>) -> Vec<LinuxDevice> {
    let mut devices = asked.unwrap_or_default();
    let known: HashSet<_> = devices.iter().map(|device| device.path().clone()).collect();
    let usual = default_devices().into_iter();
    devices.extend(usual.filter(|device| !known.contains(device.path())));
    devices
}

/// Makes links and devices.
pub(super) fn make(root: BorrowedFd<'_>, devices: &[LinuxDevice]) -> Result<(), Error> {
    let failed = |path: &Path, source: io::Error| Error::Dev {
        path: path.to_owned(),
        source,
    };
    let dev = Path::new(DEV);
    let dir = in_root::make(root, dev, Missing::Dir).map_err(|error| failed(dev, error))?;
    let has_core = in_root::open(root, Path::new(CORE.1), OFlags::PATH).is_ok();
    let links = LINKS.into_iter().chain(has_core.then_some(CORE));
    for (name, target) in links {
        match rustix::fs::symlinkat(target, &dir, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(&dev.join(name), errno.into())),
        }
    }
    // A device has the mode that it is to have.
    let umask = rustix::process::umask(Mode::empty());
    for device in devices {
        let path = device.path();
        make_device(root, dir.as_fd(), device).map_err(|error| {
            log::error!("failed to mknod device path={path:?}: {error}");
            failed(path, error)
        })?;
    }
    rustix::process::umask(umask);
    link_terminals(dir.as_fd()).map_err(|errno| failed(&dev.join("ptmx"), errno.into()))
}

fn make_device(root: BorrowedFd<'_>, dev: BorrowedFd<'_>, device: &LinuxDevice) -> io::Result<()> {
    let path = device.path();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    if !path.starts_with(DEV) {
        return Err(Errno::INVAL.into());
    }
    let made;
    let dir = match parent == Path::new(DEV) {
        true => dev,
        false => {
            made = in_root::make(root, parent, Missing::Dir)?;
            made.as_fd()
        }
    };
    let kind = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(Errno::INVAL.into()),
    };
    let mode = Mode::from_raw_mode(device.file_mode().unwrap_or(MODE));
    rustix::fs::mknodat(dir, name, kind, mode, number(device)?)?;
    if device.uid().is_some() || device.gid().is_some() {
        let (uid, gid) = (
            device.uid().map(Uid::from_raw),
            device.gid().map(Gid::from_raw),
        );
        rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

fn number(device: &LinuxDevice) -> io::Result<Dev> {
    let part = |number: i64| u32::try_from(number).map_err(|_| Errno::INVAL);
    Ok(rustix::fs::makedev(
        part(device.major())?,
        part(device.minor())?,
    ))
}

/// Terminals are made of the container's own devpts.
fn link_terminals(dev: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let link = || rustix::fs::symlinkat("pts/ptmx", dev, "ptmx");
    match link() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty())?;
            link()
        }
        made => made,
    }
}

/// In the container: its `/dev/null`, a handle (`O_PATH`), which takes the place of the node's among
/// `stdio`.
pub(super) fn null(stdio: &mut [OwnedFd]) -> Result<OwnedFd, Error> {
    let open = |flags| {
        let opened = rustix::fs::openat(CWD, NULL, flags | OFlags::CLOEXEC, Mode::empty());
        let opened = opened.map_err(|errno| {
            log::error!("failed to open /dev/null inside the container: {errno}");
            Error::Null(errno.into())
        })?;
        if is_null(opened.as_fd()) {
            return Ok(opened);
        }
        log::error!("invalid /dev/null device inside the container");
        Err(Error::Null(io::ErrorKind::InvalidData.into()))
    };
    // No device is opened before it is known to be this one.
    let null = open(OFlags::PATH)?;
    for stream in stdio.iter_mut().filter(|stream| is_null(stream.as_fd())) {
        let own = open(OFlags::RDWR | OFlags::NOCTTY)?;
        rustix::io::dup3(&own, stream, DupFlags::CLOEXEC)
            .map_err(|errno| Error::Null(errno.into()))?;
    }
    Ok(null)
}

/// Whether it is the device 1:3.
fn is_null(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd).is_ok_and(|seen| {
        FileType::from_raw_mode(seen.st_mode) == FileType::CharacterDevice
            && seen.st_rdev == rustix::fs::makedev(1, 3)
    })
}
