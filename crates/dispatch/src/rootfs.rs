//! A container's root filesystem, opened once; no path leads out of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};

use crate::error::Error;

/// How a file is opened to be read: it does not block (a FIFO without a writer), becomes no process's
/// terminal, and does not reach a child.
pub(crate) const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// How often a lookup is repeated that the kernel gave up because something was renamed meanwhile.
const RACES: u32 = 16;

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
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
            .map(|dir| Self { dir })
            .map_err(|errno| Error::Rootfs {
                path: path.to_owned(),
                source: errno.into(),
            })
    }

    /// Opens the regular file at `path` for reading. Symlinks and `..` are resolved with this
    /// directory as `/` (`openat2`, `RESOLVE_IN_ROOT`); mounts of the spec are not looked at.
    ///
    /// # Errors
    /// As `open(2)`; [`io::ErrorKind::InvalidInput`] if it is anything but a regular file, which
    /// is then not opened: a device or FIFO notices nothing.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let seen = self.in_root(path, OFlags::PATH | OFlags::CLOEXEC)?;
        must_be_regular(seen.as_fd())?;
        let file = self.in_root(path, READ)?;
        // Someone may have put another file there since.
        must_be_regular(file.as_fd())?;
        Ok(File::from(file))
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    fn in_root(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let mut races = 0;
        loop {
            match openat2(&self.dir, path, flags, Mode::empty(), resolve) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) if races < RACES => {
                    races += 1;
                }
                other => return Ok(other?),
            }
        }
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
