//! In a container: what libcontainer has mounted there, found again.
//!
//! It may lie below a volume that others change meanwhile. What is found is in the container all the
//! same, and of the kind that was mounted.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use medley_sys::in_root;
use rustix::fs::{AtFlags, Mode, OFlags, StatxAttributes, StatxFlags};

/// What `statfs` calls a tmpfs: `TMPFS_MAGIC` of `linux/magic.h`.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;

/// The directory at `path` of the mount namespace that this process is in.
pub(crate) fn dir(path: &Path) -> io::Result<OwnedFd> {
    open_as(path, OFlags::DIRECTORY)
}

/// What is at `path` of the mount namespace that this process is in, a directory or a file.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    open_as(path, OFlags::empty())
}

fn open_as(path: &Path, kind: OFlags) -> io::Result<OwnedFd> {
    let root = in_root::root(Path::new("/"))?;
    Ok(in_root::open(root, path, OFlags::PATH | kind)?)
}

/// The directory `name` in another: the one itself, and not what a link leads to.
pub(crate) fn dir_in(dir: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// The tmpfs that is mounted at `path`.
pub(crate) fn tmpfs(path: &Path) -> io::Result<OwnedFd> {
    let found = dir(path)?;
    must_be_tmpfs(&found)?;
    Ok(found)
}

/// Makes sure that a tmpfs is mounted at `dir`.
pub(crate) fn must_be_tmpfs(dir: &OwnedFd) -> io::Result<()> {
    let is_tmpfs = rustix::fs::fstatfs(dir)?.f_type == TMPFS;
    let seen = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    if is_tmpfs && seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        Ok(())
    } else {
        Err(io::Error::other("it is no tmpfs that is mounted there"))
    }
}
