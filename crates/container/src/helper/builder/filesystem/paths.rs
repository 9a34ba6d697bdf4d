//! In the container: what its program is not to see, or to change. What a path leads to is looked up once.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use medley_sys::in_root;
use medley_sys::mount::{Attributes, MountClone};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::Error;

/// Makes what is at `path` read-only, if there is something. Its other attributes stay.
pub(super) fn make_read_only(root: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let make = || -> io::Result<()> {
        let Some(at) = found(root, path)? else {
            return Ok(());
        };
        let clone = MountClone::of_all(at.as_fd())?;
        clone.make_read_only()?;
        clone.attach_on(at.as_fd())
    };
    make().map_err(|source| {
        log::error!("failed to set readonly path path={path:?}: {source}");
        Error::ReadOnly {
            path: path.to_owned(),
            source,
        }
    })
}

/// What hides others.
pub(super) struct Masks<'c> {
    root: BorrowedFd<'c>,
    null: BorrowedFd<'c>,
    /// An empty directory, the same for all.
    empty: Option<MountClone>,
}

impl<'c> Masks<'c> {
    /// In the container of which `root` is the root and `null` is `/dev/null`.
    pub(super) fn of(root: BorrowedFd<'c>, null: BorrowedFd<'c>) -> Self {
        let empty = None;
        Self { root, null, empty }
    }

    /// Hides what is at `path`, if there is something: a directory behind an empty one, and all else behind
    /// `/dev/null`.
    pub(super) fn put(&mut self, path: &Path) -> Result<(), Error> {
        self.mask(path).map_err(|source| {
            log::error!("failed to mount path as masked path={path:?}: {source}");
            Error::Mask {
                path: path.to_owned(),
                source,
            }
        })
    }

    fn mask(&mut self, path: &Path) -> io::Result<()> {
        let Some(at) = found(self.root, path)? else {
            return Ok(());
        };
        let mode = rustix::fs::fstat(&at)?.st_mode;
        if FileType::from_raw_mode(mode) != FileType::Directory {
            return MountClone::of_dir(self.null)?.attach_on(at.as_fd());
        }
        // Only what is mounted somewhere can be cloned.
        if let Some(empty) = &self.empty {
            return MountClone::of_dir(empty.as_fd())?.attach_on(at.as_fd());
        }
        let kind = "tmpfs";
        let empty = MountClone::new(kind, Path::new(kind), &[], Attributes::READ_ONLY)?;
        empty.attach_on(at.as_fd())?;
        self.empty = Some(empty);
        Ok(())
    }
}

/// A handle on what a path leads to, if it leads to something.
fn found(root: BorrowedFd<'_>, path: &Path) -> io::Result<Option<OwnedFd>> {
    match in_root::open(root, path, OFlags::PATH) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
