//! The shim's own binary, kept out of a container's reach (CVE-2019-5736).
//!
//! A process that enters a container shows its executable as `/proc/<pid>/exe`, and a container
//! that opens this link for writing could replace the shim on the node. Helpers are therefore
//! started from a read-only clone of the binary's mount, which no path leads to: writing through
//! the link fails with `EROFS`. Unlike a sealed copy in memory it costs nothing by size.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

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
        let path = std::fs::read_link("/proc/self/exe")?;
        let clone = MountClone::of(&path, false)?;
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
        Ok(Self {
            fd: File::open("/proc/self/exe")?.into(),
        })
    }

    /// A path that runs this binary, valid in this process and its children until they exec.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_fd().as_raw_fd()))
    }
}
