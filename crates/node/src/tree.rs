//! A directory and all that is in it, removed without following a link.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::error::Error;
use crate::root::{Root, names_of, split};

/// Removes it, if it is there.
pub(crate) fn remove(root: &Root, path: &Path) -> Result<(), Error> {
    let (parent, name) = split(path);
    let dir = match root.open_dir(parent) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(Error::io("open", &root.shown(parent))(errno)),
    };
    remove_in(&dir, name).map_err(Error::io("remove", &root.shown(path)))
}

fn remove_in(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Which of the two it is for a directory, file systems do not agree on.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = openat(dir, name, flags, Mode::empty())?;
    for name in names_of(&inner)? {
        remove_in(&inner, &name)?;
    }
    unlinkat(dir, name, AtFlags::REMOVEDIR)
}
