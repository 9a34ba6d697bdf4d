//! Adding a process to a container, by a command.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use medley_cgroup::Cgroup;
use medley_sys::children;
use medley_sys::pidfd::PidFd;
use medley_types::Cancel;

use super::create::inherited;
use crate::protocol::MadeProcess;
use crate::shim::error::Error;
use crate::shim::exec::{START_TIMEOUT, end};
use crate::shim::live_container::LiveContainer;
use crate::shim::prepared_exec::{ExecEnds, PreparedExec};
use crate::shim::status::await_started_within;

/// A process to add.
#[derive(Debug)]
pub struct NewProcess {
    /// The OCI runtime spec's `process`, as JSON.
    pub process: Vec<u8>,
    pub terminal: bool,
    /// Where it goes, if not into the container's own cgroup.
    pub cgroup: Option<Cgroup>,
    /// What its program has as descriptors 3 and up.
    pub passed: Vec<OwnedFd>,
}

/// A process that runs its program.
#[derive(Debug)]
pub struct ExecProcess {
    pub process: PidFd,
    /// The master of its terminal, if it was to have one.
    pub terminal: Option<OwnedFd>,
}

impl LiveContainer {
    /// Adds a process, and waits until its program runs. It has the calling process's stdio, or a
    /// terminal. The calling process must be a subreaper: the process becomes its child. `made` hears of
    /// it before its program is waited for.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with its own reason; nothing of it is left then.
    pub fn exec(&self, new: NewProcess) -> Result<ExecProcess, Error> {
        let prepared = PreparedExec::new(self, &new.process, new.terminal)?;
        let ends = inherited(new.terminal, prepared.uid)?;
        let (status, writer) = io::pipe().map_err(Error::Spawn)?;
        let given = ExecEnds {
            stdio: &ends,
            status: writer.as_fd(),
            passed: new.passed.iter().map(AsFd::as_fd).collect(),
            cgroup: new.cgroup,
            timeout: START_TIMEOUT,
        };
        let made = prepared.make(self, &given, &Cancel::default());
        let MadeProcess { pid, terminal } = made.or_else(|error| {
            // Init's end, if it came meanwhile, is the reason that says most.
            self.must_live()?;
            Err(error)
        })?;
        let process = PidFd::open(pid).map_err(|source| {
            children::let_go(pid);
            Error::InitGone { pid, source }
        })?;
        // The process holds the only writing end from here on.
        drop((writer, ends));
        let status = File::from(OwnedFd::from(status));
        match await_started_within(status, pid, START_TIMEOUT) {
            Ok(()) => {
                log::debug!("setns_init: about to exec, said process {pid}, and did so");
                Ok(ExecProcess { process, terminal })
            }
            Err(error) => {
                end(self, &process);
                Err(error)
            }
        }
    }
}
