//! In the container: what its program is not to see, or to change.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use medley_sys::mount::MountClone;
use rustix::fs::{AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::Error;

/// Makes what is at `path` read-only, if there is something.
pub(super) fn make_read_only(path: &Path) -> Result<(), Error> {
    let flags = MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC
        | MountFlags::BIND
        | MountFlags::RDONLY;
    let made = match rustix::mount::mount_bind_recursive(path, path) {
        Err(Errno::NOENT) => return Ok(()),
        mounted => mounted.and_then(|()| rustix::mount::mount_remount(path, flags, c"")),
    };
    made.map_err(|errno| {
        log::error!("failed to set readonly path path={path:?}: {errno}");
        Error::ReadOnly {
            path: path.to_owned(),
            source: errno.into(),
        }
    })
}

/// Hides what is at `path`, if there is something: a directory behind an empty one, and all else behind
/// `null`.
pub(super) fn mask(path: &Path, null: BorrowedFd<'_>) -> Result<(), Error> {
    let seen = match rustix::fs::statat(CWD, path, AtFlags::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        seen => seen,
    };
    let mask = || -> io::Result<()> {
        match FileType::from_raw_mode(seen?.st_mode) {
            FileType::Directory => {
                rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, c"")?;
            }
            _ => MountClone::of_dir(null)?.attach(path)?,
        }
        Ok(())
    };
    mask().map_err(|source| {
        log::error!("failed to mount path as masked path={path:?}: {source}");
        Error::Mask {
            path: path.to_owned(),
            source,
        }
    })
}
