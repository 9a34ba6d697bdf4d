//! A container that is being made, and what of it is to be removed if that fails.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use medley_cgroup::Cgroup;
use medley_types::RootfsMount;

use super::error::Error;
use super::recorded_process::RecordedProcess;
use super::rootfs::Mounted;
use super::{recover, state_file};

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

    /// Mounts the rootfs, and does `meanwhile`, once.
    pub(super) fn mount<T>(
        &mut self,
        at: PathBuf,
        mounts: &[RootfsMount],
        from: (&Path, Option<BorrowedFd<'_>>),
        meanwhile: impl Fn() -> Result<T, Error>,
    ) -> Result<(Mounted, T), Error> {
        let mut done = None;
        let mounted = Mounted::new(at, mounts, from, &mut || {
            done.get_or_insert_with(&meanwhile);
        })?;
        self.rootfs = Some(mounted.clone());
        Ok((mounted, done.unwrap_or_else(meanwhile)?))
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

#[cfg(test)]
mod tests {
    use super::{Mounted, RecordedProcess, Unfinished};
    use crate::shim::state_file;
    use medley_cgroup::Cgroup;
    use std::path::Path;

    fn begin(dir: &Path) -> Unfinished {
        let cgroup = Cgroup::planned(None, "medley-unfinished", false);
        let rootfs = Mounted::planned("/nonexistent".into(), &[]);
        Unfinished::begin(dir, ("id", RecordedProcess::own()), &cgroup, rootfs).unwrap()
    }

    #[test]
    fn what_is_not_kept_leaves_no_record() {
        let bundle = tempfile::tempdir().unwrap();
        let dir = bundle.path().join("medley");
        let unfinished = begin(&dir);
        let (planned, made) = state_file::read_all(&dir);
        assert_eq!(planned.unwrap().shim, RecordedProcess::own());
        assert!(made.is_none());
        drop(unfinished);
        assert!(!dir.exists());
        begin(&dir).keep();
        assert!(state_file::read_all(&dir).0.is_some());
    }

    #[test]
    fn a_record_that_is_not_whole_is_none() {
        let bundle = tempfile::tempdir().unwrap();
        let dir = bundle.path().join("medley");
        begin(&dir).keep();
        let cgroup = Cgroup::planned(None, "medley-unfinished", false);
        state_file::add_init(&dir, 1, &cgroup).unwrap();
        assert_eq!(state_file::read_all(&dir).1.unwrap().init.pid(), 1);
        std::fs::write(dir.join("init.json"), b"{\"init\":{\"pid\":1").unwrap();
        let (planned, made) = state_file::read_all(&dir);
        assert!(planned.is_some() && made.is_none());
    }
}
