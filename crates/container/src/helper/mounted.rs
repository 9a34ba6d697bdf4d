//! In a container: what libcontainer has mounted there, found again.
//!
//! It may lie below a volume that others change meanwhile. Whatever they do, what is found is in the
//! container, and of the kind that was mounted.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// How often a path is followed again whose parts were renamed meanwhile.
const RACES: u32 = 16;

/// What `statfs` calls a tmpfs: `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// The folder at `path` of the mount namespace that this process is in.
pub(crate) fn folder(path: &Path) -> io::Result<OwnedFd> {
    open_as(path, OFlags::DIRECTORY)
}

/// What is at `path` of the mount namespace that this process is in, a folder or a file.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    open_as(path, OFlags::empty())
}

fn open_as(path: &Path, kind: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, "/", flags | OFlags::DIRECTORY, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || rustix::fs::openat2(&root, path, flags | kind, Mode::empty(), resolve);
    // EAGAIN: something was renamed on the way.
    for _ in 1..RACES {
        match open() {
            Err(Errno::AGAIN) => {}
            done => return Ok(done?),
        }
    }
    Ok(open()?)
}

/// The folder `name` in another: the one itself, and not what a link leads to.
pub(crate) fn folder_in(folder: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// The tmpfs that is mounted at `path`.
pub(crate) fn tmpfs(path: &Path) -> io::Result<OwnedFd> {
    let found = folder(path)?;
    must_be_tmpfs(&found)?;
    Ok(found)
}

/// Makes sure that a tmpfs is mounted at `folder`.
pub(crate) fn must_be_tmpfs(folder: &OwnedFd) -> io::Result<()> {
    let is_tmpfs = rustix::fs::fstatfs(folder)?.f_type == TMPFS;
    let seen = rustix::fs::statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    if is_tmpfs && seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        Ok(())
    } else {
        Err(io::Error::other("it is no tmpfs that is mounted there"))
    }
}
