//! The container's file system as its init will see it: the rootfs with the spec's mounts over it.
//!
//! A path is walked one name at a time, each opened beneath the directory before it without
//! following anything; symlinks are read and walked here, and `..` goes back to the descriptor
//! that was there before. So neither a symlink, nor `..`, nor another container that renames
//! directories of a shared volume meanwhile can lead out.

mod lookup;
mod mounts;
mod walk;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

pub(crate) use self::lookup::LookupError;
use self::lookup::kind_of;
use self::mounts::{Mounted, Mounts, What};
use self::walk::{End, Walk, open_beneath};
use crate::file_kind::FileKind;
use crate::rootfs::{READ, Rootfs};

/// The kernel's `PATH_MAX` in bytes, its NUL included.
const MAX_PATH: usize = 4096;

/// The rootfs and what is mounted over it.
#[derive(Debug)]
pub(crate) struct View<'r> {
    mounts: Mounts<'r>,
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: File,
    /// Permission bits.
    pub(crate) mode: u32,
}

impl<'r> View<'r> {
    /// The rootfs with `mounts` over it, made in their order.
    pub(crate) fn new(rootfs: &'r Rootfs, mounts: &[Mount]) -> Self {
        let mut view = Self {
            mounts: Mounts {
                rootfs,
                list: Vec::with_capacity(mounts.len()),
            },
        };
        for mount in mounts {
            if let Some(what) = What::of(mount) {
                let at = view.place(mount.destination());
                view.mounts.list.push(Mounted { at, what });
            }
        }
        view
    }

    /// Opens the regular file to which `path`, taken from the container's `/`, leads.
    pub(crate) fn file(&self, path: &Path) -> Result<Found, LookupError> {
        if path.as_os_str().len() >= MAX_PATH {
            return Err(Errno::NAMETOOLONG.into());
        }
        match Walk::new(&self.mounts, path).run()? {
            End::Directory => Err(LookupError::NotAFile(FileKind::Directory)),
            End::Named(parent, name) => {
                let file = open_beneath(parent, &name, READ | OFlags::NOFOLLOW)?;
                regular(file)
            }
            End::Host(path) => {
                // A device or a FIFO is looked at before it is opened: opening can be felt.
                let seen = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                kind_of(seen.as_fd())?;
                regular(openat(CWD, path, READ, Mode::empty())?)
            }
        }
    }

    /// Where a mount at `destination` lands: symlinks on the way resolved, as the runtime does it,
    /// and what is missing taken as it will be created.
    fn place(&self, destination: &Path) -> PathBuf {
        Walk::new(&self.mounts, destination).place()
    }
}

/// The file behind `fd`, which may have been exchanged since it was looked at.
fn regular(fd: OwnedFd) -> Result<Found, LookupError> {
    kind_of(fd.as_fd())?;
    let mode = fstat(&fd)?.st_mode & 0o7777;
    Ok(Found {
        file: File::from(fd),
        mode,
    })
}
