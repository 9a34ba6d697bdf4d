//! Adding a process to a container that runs.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use medley_io::{ContainerStdio, Stdio, StdioHandles};
use medley_sys::children;
use medley_sys::pidfd::{ExitStatus, PidFd};
use medley_types::Cancel;

use super::error::Error;
use super::live_container::LiveContainer;
use super::prepared_exec::{ExecEnds, PreparedExec};
use super::reaper::reap_orphans;
use super::status::await_started_within;
use crate::protocol::MadeProcess;

/// How long the helper that makes a process may take, and then the process until its program runs:
/// as long as the kubelet waits for a call of the CRI. What is in the container can stop both.
pub(super) const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A process to add.
#[derive(Debug)]
pub struct ExecRequest {
    /// The OCI runtime spec's `process`, as JSON.
    pub process: Vec<u8>,
    pub stdio: Stdio,
}

/// A process that was asked for, and is made when it is started.
#[derive(Debug)]
pub struct Exec {
    prepared: PreparedExec,
    /// Guards the process's ends of its stdio, until it has them.
    ends: Mutex<Option<ContainerStdio>>,
    /// The shim's handles on its stdio.
    stdio: StdioHandles,
    /// Ends the helper that makes it.
    cancel: Cancel,
    /// Set once it is there.
    made: OnceLock<PidFd>,
    /// Whether it runs its program.
    runs: AtomicBool,
}

impl Exec {
    /// Checks and opens what a further process needs.
    ///
    /// # Errors
    /// [`Error`] with what is wrong with it; nothing stays open then.
    pub fn new(container: &LiveContainer, request: &ExecRequest) -> Result<Self, Error> {
        let prepared = PreparedExec::new(container, &request.process, request.stdio.terminal)?;
        let (ends, keeper) = request.stdio.open_session(prepared.uid)?;
        Ok(Self {
            prepared,
            ends: Mutex::new(Some(ends)),
            stdio: keeper,
            cancel: Cancel::default(),
            made: OnceLock::new(),
            runs: AtomicBool::new(false),
        })
    }

    /// Makes the process, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with its own reason; nothing of it is left then.
    pub fn start(&self, container: &LiveContainer) -> Result<(), Error> {
        let _whole = medley_sys::trace::span("Start of an exec");
        let ends = lock(&self.ends).take().ok_or(Error::Ends)?;
        container.must_live()?;
        let (status, writer) = io::pipe().map_err(Error::Spawn)?;
        let given = ExecEnds {
            stdio: &ends,
            status: writer.as_fd(),
            passed: Vec::new(),
            cgroup: None,
            timeout: START_TIMEOUT,
        };
        let made = self.prepared.make(container, &given, &self.cancel);
        let MadeProcess { pid, terminal } = made.or_else(|error| {
            // Init's end, if it came meanwhile, is the reason that says most.
            container.must_live()?;
            Err(error)
        })?;
        let running = PidFd::open(pid).map_err(|source| {
            children::let_go(pid);
            Error::InitGone { pid, source }
        })?;
        // The process holds the only writing end from here on.
        drop((writer, ends));
        // It may be killed from here on. Started once: the Task API makes sure.
        self.made.set(running).map_err(|_| Error::Ends)?;
        let running = self.made.get().ok_or(Error::Ends)?;
        let connected = terminal.map_or(Ok(()), |master| self.stdio.connect(master));
        let heard = connected.map_err(Error::from).and_then(|()| {
            let status = File::from(OwnedFd::from(status));
            await_started_within(status, running.pid(), START_TIMEOUT)
        });
        if heard.is_err() {
            end(container, running);
            return heard;
        }
        self.runs.store(true, Ordering::Release);
        Ok(())
    }

    /// The process, once it runs its program.
    #[must_use]
    pub fn process(&self) -> Option<&PidFd> {
        self.made
            .get()
            .filter(|_| self.runs.load(Ordering::Acquire))
    }

    /// The process, which may still be on its way to its program, or have failed there.
    #[must_use]
    pub fn made(&self) -> Option<&PidFd> {
        self.made.get()
    }

    /// Gives up a process that is being made. Tells whether a helper was at it, which ends then.
    pub fn cancel(&self, container: &LiveContainer) -> bool {
        let was_at_it = self.made.get().is_none() && self.cancel.cancel();
        if was_at_it {
            // Who makes it is in the container's cgroup by then.
            container.thaw_for_kill();
        }
        was_at_it
    }

    /// Reaps the process if it has ended.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn try_reap(&self) -> io::Result<Option<ExitStatus>> {
        let Some(process) = self.process() else {
            return Ok(None);
        };
        let Some(ended) = children::reap(process)? else {
            return Ok(None);
        };
        self.stdio.close_stdin();
        Ok(Some(ended))
    }

    /// Gives the process up, whose end can't be watched: the next sweep that finds it dead reaps it.
    pub fn abandon(&self) {
        if let Some(process) = self.process() {
            children::let_go(process.pid());
        }
        reap_orphans();
    }

    /// The shim's handles on its stdio.
    #[must_use]
    pub fn stdio(&self) -> &StdioHandles {
        &self.stdio
    }

    /// Lets go of what it was to have, should it never have been started.
    pub fn delete(&self) {
        drop(lock(&self.ends).take());
    }
}

/// Kills and reaps a process that is not to be.
pub(super) fn end(container: &LiveContainer, process: &PidFd) {
    /// One that was killed ends at once, unless the kernel holds it; the next sweep reaps it then.
    const END_TIMEOUT: Duration = Duration::from_secs(10);
    /// How long before one is taken for frozen.
    const THAW_AFTER: Duration = Duration::from_millis(500);
    // It has ended, or is about to: the kill is for one that hangs.
    if let Err(error) = process.signal(rustix::process::Signal::KILL.as_raw()) {
        log::debug!("process {} is not killed: {error}", process.pid());
    }
    let reaped = children::reap_within(process, THAW_AFTER).and_then(|ended| match ended {
        Some(ended) => Ok(Some(ended)),
        None => {
            container.thaw_for_kill();
            children::reap_within(process, END_TIMEOUT)
        }
    });
    if let Err(error) = reaped {
        log::warn!("process {} is not reaped: {error}", process.pid());
    }
    children::let_go(process.pid());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // An `Option` is whole after any panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
