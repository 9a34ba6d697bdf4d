//! A container that is being made, and what of it is to be removed if that fails.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use medley_cgroup::Cgroup;
use medley_types::RootfsMount;

use super::recorded_process::RecordedProcess;
use super::rootfs::Mounted;
use super::{Error, recover, state_file};

/// Removes what there is of a container when it is dropped, unless it was kept.
pub(super) struct Unfinished {
    dir: PathBuf,
    rootfs: Option<Mounted>,
    cgroup: Option<Cgroup>,
    is_kept: bool,
}

impl Unfinished {
    /// Writes down what is going to be made. From here on, and not before, what is there is the
    /// container's: see `recover::remove_after_crash`.
    pub(super) fn begin(
        dir: &Path,
        made_by: (&str, RecordedProcess),
        cgroup: &Cgroup,
        rootfs: Mounted,
    ) -> Result<Self, Error> {
        let unfinished = Self {
            dir: dir.to_owned(),
            rootfs: None,
            cgroup: None,
            is_kept: false,
        };
        state_file::begin(dir, made_by, cgroup.clone(), rootfs)?;
        Ok(unfinished)
    }

    /// Mounts the rootfs.
    pub(super) fn mount(
        &mut self,
        at: PathBuf,
        mounts: &[RootfsMount],
        bundle: &Path,
        users: Option<BorrowedFd<'_>>,
    ) -> Result<Mounted, Error> {
        let mounted = Mounted::new(at, mounts, bundle, users)?;
        self.rootfs = Some(mounted.clone());
        Ok(mounted)
    }

    /// From here on there may be a cgroup: libcontainer cleans up behind itself, unless it dies in the
    /// middle.
    pub(super) fn has_cgroup(&mut self, cgroup: &Cgroup) {
        self.cgroup = Some(cgroup.clone());
    }

    /// The container is made: nothing is removed.
    pub(super) fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let warn = |error: &dyn std::error::Error| log::warn!("{}", medley_types::sentence(error));
        if let Some(Err(error)) = self.cgroup.as_ref().map(Cgroup::remove) {
            warn(&error);
        }
        if let Some(Err(error)) = self.rootfs.as_ref().map(Mounted::unmount) {
            warn(&error);
        }
        if let Err(error) = recover::remove(&self.dir) {
            warn(&error);
        }
    }
}
