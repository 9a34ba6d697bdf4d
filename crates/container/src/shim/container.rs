//! A container of this shim: Start, Kill, Delete, and what else the Task API asks of it.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use medley_cgroup::OomWatch;
use medley_dispatch::Plan;
use medley_io::StdioHandles;
use medley_sys::children;
use medley_sys::pidfd::ExitStatus;
use medley_sys::trace;

use super::error::Error;
use super::hooks::Moment;
use super::live_container::LiveContainer;
use super::reaper::reap_orphans;
use super::status::await_started;

/// A container that was made, with what its shim alone has of it.
#[derive(Debug)]
pub struct Container {
    pub(super) live: LiveContainer,
    pub(super) plan: Plan,
    /// Absent if it can't be watched.
    pub(super) oom: Option<OomWatch>,
    /// Read once, at start: empty when the program runs, or why it does not.
    pub(super) status: Mutex<Option<File>>,
    /// The shim's handles on the container's stdio.
    pub(super) stdio: StdioHandles,
}

impl Deref for Container {
    type Target = LiveContainer;

    fn deref(&self) -> &LiveContainer {
        &self.live
    }
}

impl Container {
    /// What runs it.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The shim's handles on its stdio.
    #[must_use]
    pub fn stdio(&self) -> &StdioHandles {
        &self.stdio
    }

    /// Lets init go on, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with init's own reason; [`Error::Notify`] if it is dead.
    pub fn start(&self) -> Result<(), Error> {
        let _whole = trace::span("Start");
        self.notify().map_err(|source| Error::Notify {
            pid: self.init.pid(),
            source,
        })?;
        let status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(status) = status {
            await_started(status, self.init.pid())?;
        }
        if self.features.poststart_hooks {
            self.run_hooks(Moment::Poststart)?;
        }
        Ok(())
    }

    /// Whether [`Self::try_reap`] never waits.
    #[must_use]
    pub fn reaping_is_quick(&self) -> bool {
        self.features.own_pid_namespace
    }

    /// Reaps init if it has ended, and takes with it what its end ends.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn try_reap(&self) -> io::Result<Option<ExitStatus>> {
        let Some(ended) = children::reap(&self.init)? else {
            return Ok(None);
        };
        trace::mark("init has ended");
        // In a shared pid namespace the kernel does not kill what init leaves behind.
        if !self.features.own_pid_namespace
            && let Err(error) = self.cgroup.empty()
        {
            log::warn!("{}: {}", self.id, medley_types::sentence(&error));
        }
        // What is left in the pipes of its output stays there until delete, even if it is not read
        // just now: our reading ends keep it, and keep no reader from seeing the end.
        self.stdio.close_stdin();
        Ok(Some(ended))
    }

    /// Gives init up, whose end can't be watched: the next sweep that finds it dead reaps it.
    pub fn abandon(&self) {
        children::let_go(self.init.pid());
        reap_orphans();
    }

    /// What tells of processes killed for want of memory, if that can be known.
    #[must_use]
    pub fn oom_watch(&self) -> Option<&OomWatch> {
        self.oom.as_ref()
    }
}
