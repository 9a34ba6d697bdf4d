//! What the Task API asks of a container as a whole while it runs.

use super::{Created, Error};
use medley_cgroup::{OomWatch, UpdateError};

impl Created {
    /// Stops every process where it stands.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be frozen; it is thawed then.
    pub fn pause(&self) -> Result<(), Error> {
        Ok(self.cgroup.freeze()?)
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be thawed.
    pub fn resume(&self) -> Result<(), Error> {
        Ok(self.cgroup.thaw()?)
    }

    /// Sets limits. `resources` is the OCI runtime spec's `linux.resources`, as JSON.
    ///
    /// # Errors
    /// [`UpdateError`]; no limit is changed then.
    pub fn update(&self, resources: &[u8]) -> Result<(), UpdateError> {
        self.cgroup.update(resources)
    }

    /// Has a process that was sent SIGKILL receive it, should the container be frozen.
    pub fn thaw_for_kill(&self) {
        self.cgroup.thaw_for_kill();
    }

    /// What tells of processes killed for want of memory, if that can be known.
    #[must_use]
    pub fn oom_watch(&self) -> Option<&OomWatch> {
        self.oom.as_ref()
    }
}
