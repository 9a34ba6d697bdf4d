//! A container's root filesystem, opened once; no path leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use medley_sys::in_root;
use rustix::fs::{FileType, OFlags, fstat};

use crate::error::Error;

/// How a file is opened to be read: it does not block (a FIFO without a writer), becomes no process's
/// terminal, and does not reach a child.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// A root filesystem, held by a descriptor that only names it (`O_PATH`).
#[derive(Debug)]
pub struct Rootfs {
    dir: OwnedFd,
}

impl Rootfs {
    /// Opens the directory at `path`, a path of the host.
    ///
    /// # Errors
    /// [`Error::Rootfs`] if it is missing or no directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        in_root::root(path)
            .map(|dir| Self { dir })
            .map_err(|errno| Error::Rootfs {
                path: path.to_owned(),
                source: errno.into(),
            })
    }

    /// Opens the regular file at `path` for reading. Symlinks and `..` are resolved with this
    /// directory as `/`; mounts of the spec are not looked at.
    ///
    /// # Errors
    /// As `open(2)`; [`io::ErrorKind::InvalidInput`] if it is anything but a regular file, which
    /// is then not opened: a device or FIFO notices nothing.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let seen = in_root::open(&self.dir, path, OFlags::PATH)?;
        must_be_regular(seen.as_fd())?;
        let file = in_root::open(&self.dir, path, READ)?;
        // Someone may have put another file there since.
        must_be_regular(file.as_fd())?;
        Ok(File::from(file))
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn must_be_regular(fd: BorrowedFd<'_>) -> io::Result<()> {
    if FileType::from_raw_mode(fstat(fd)?.st_mode).is_file() {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}
