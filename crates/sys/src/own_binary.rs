//! The shim's own binary, kept out of a container's reach (CVE-2019-5736).
//!
//! A process that enters a container shows its executable as `/proc/<pid>/exe`, and a container
//! that opens this link for writing could replace the shim on the node. Helpers are therefore
//! started from a read-only clone of the binary's mount, which no path leads to: writing through
//! the link fails with `EROFS`. The same goes for a program beside it that has an engine. A sealed
//! copy in memory would do as well, but would cost as much memory as the program is large.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::mount::MountClone;

/// A read-only handle on our own executable.
#[derive(Debug)]
pub struct OwnBinary {
    fd: OwnedFd,
}

impl OwnBinary {
    /// Clones the mount of `/proc/self/exe`, read-only.
    ///
    /// # Errors
    /// Those of `open_tree` and `mount_setattr` (Linux 5.12).
    pub fn read_only() -> io::Result<Self> {
        // The path, not the magic link: a helper's own executable already lies on a clone,
        // which belongs to no mount namespace and can't be cloned again.
        Self::read_only_at(&std::fs::read_link("/proc/self/exe")?)
    }

    /// Clones the mount of another program that is to be started as ours is.
    ///
    /// # Errors
    /// As for [`Self::read_only`].
    pub fn read_only_at(path: &Path) -> io::Result<Self> {
        let clone = MountClone::of(path, false)?;
        clone.make_read_only()?;
        Ok(Self {
            fd: clone.into_fd(),
        })
    }

    /// The binary as it lies on the node, where the kernel can't clone mounts.
    ///
    /// # Errors
    /// Those of opening `/proc/self/exe`.
    pub fn unprotected() -> io::Result<Self> {
        Self::unprotected_at(Path::new("/proc/self/exe"))
    }

    /// Another program as it lies on the node.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn unprotected_at(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: File::open(path)?.into(),
        })
    }

    /// A path that runs this binary, valid in this process and its children until they exec.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd()))
    }
}
