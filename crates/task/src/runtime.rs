//! What the Task API needs from the code that makes containers.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use medley_types::metrics::Metrics;
use medley_types::sandbox::SandboxRequest;
use medley_types::{Cancel, RootfsMount, StdioPaths};

use crate::error::Cause;
use crate::exit::Exit;
use crate::sandbox::Sandbox;

/// A task to create, as containerd asks for it.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The task's id, unique in the shim.
    pub id: String,
    /// The bundle's directory, which holds `config.json`.
    pub bundle: PathBuf,
    /// What to mount as the rootfs, in this order; empty if it is already there.
    pub rootfs: Vec<RootfsMount>,
    /// The stdio of its init.
    pub stdio: StdioPaths,
    /// The runtime options: a type name and that type's protobuf bytes.
    pub options: Option<(String, Vec<u8>)>,
    /// Gives the Create up, for a task that is to be deleted.
    pub cancel: Cancel,
}

/// Makes containers.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Makes a container whose init waits to be started.
    ///
    /// # Errors
    /// What is wrong with the request, or why it failed; nothing of the container is left then.
    async fn create(&self, request: CreateRequest) -> Result<Arc<dyn Container>, Cause>;

    /// Makes the sandbox that every container from then on belongs to.
    ///
    /// # Errors
    /// What it can't be made for; nothing of it is left then.
    async fn create_sandbox(&self, request: SandboxRequest) -> Result<Arc<dyn Sandbox>, Cause>;
}

/// Why a signal was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum KillError {
    /// The process has ended.
    #[error("process already finished")]
    Finished,
    /// Something else.
    #[error("signal {signal} could not be sent")]
    Other {
        /// The signal's number.
        signal: u32,
        /// Why.
        source: Cause,
    },
}

/// Why a call on a container or a process failed, by who is to blame.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The request makes no sense.
    #[error(transparent)]
    Invalid(Cause),
    /// What it is asked of is not in the state, or not of the kind, for it.
    #[error(transparent)]
    Precondition(Cause),
    /// It was tried, and could not be done.
    #[error(transparent)]
    Failed(Cause),
}

/// A process to add to a container, as containerd asks for it.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The task's id.
    pub id: String,
    /// The process's own, unique in the task.
    pub exec_id: String,
    /// Its stdio.
    pub stdio: StdioPaths,
    /// The OCI runtime spec's `process`, as JSON.
    pub process: Vec<u8>,
}

/// A terminal's, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// A process that the Task API has calls for: a container's init, or an exec.
#[async_trait]
pub trait Process: Send + Sync + 'static {
    /// Its pid, in the shim's pid namespace; 0 of an exec that was not started.
    fn pid(&self) -> u32;

    /// Lets it run its program. Called once.
    ///
    /// # Errors
    /// [`CallError::Precondition`] of an exec whose container has ended, [`CallError::Failed`] if the
    /// program can't be run; init ends then, and an exec has no process.
    async fn start(&self) -> Result<(), CallError>;

    /// Sends it a signal.
    ///
    /// # Errors
    /// [`KillError`].
    async fn kill(&self, signal: u32) -> Result<(), KillError>;

    /// Waits for its end and reaps it. Called once; of an exec, after a start that succeeded.
    async fn exited(&self) -> Exit;

    /// Tells its terminal its size.
    ///
    /// # Errors
    /// [`CallError::Precondition`] if it has none.
    async fn resize(&self, size: Size) -> Result<(), CallError>;

    /// Lets it see the end of its input.
    fn close_stdin(&self);

    /// Removes what is left after its end: of an exec, its stdio; of init, the container's
    /// processes, cgroup, mounts and state. May be called again if it failed.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn delete(&self) -> Result<(), Cause>;
}

/// A container that [`Runtime::create`] made: its init, and what only the whole can be asked.
#[async_trait]
pub trait Container: Process {
    /// Sends a signal to every process.
    ///
    /// # Errors
    /// [`KillError`].
    async fn kill_all(&self, signal: u32) -> Result<(), KillError>;

    /// Checks and opens what a further process needs. It is made when it is started.
    ///
    /// # Errors
    /// [`CallError`]; nothing of it is left then.
    async fn exec(&self, request: ExecRequest) -> Result<Arc<dyn Process>, CallError>;

    /// Stops every process where it stands.
    ///
    /// # Errors
    /// If the cgroup can't be frozen; it is thawed then.
    async fn pause(&self) -> Result<(), Cause>;

    /// Lets every process go on.
    ///
    /// # Errors
    /// If the cgroup can't be thawed.
    async fn resume(&self) -> Result<(), Cause>;

    /// Sets limits. `resources` is the OCI runtime spec's `linux.resources`, as JSON; what it
    /// does not name stays as it is.
    ///
    /// # Errors
    /// [`CallError`]; no limit is changed then.
    async fn update(&self, resources: Vec<u8>) -> Result<(), CallError>;

    /// Every process in the container.
    ///
    /// # Errors
    /// If the cgroup can't be read.
    async fn pids(&self) -> Result<Vec<u32>, Cause>;

    /// Its use of resources.
    ///
    /// # Errors
    /// If the cgroup can't be read.
    async fn metrics(&self) -> Result<Metrics, Cause>;

    /// Waits until the kernel may have killed a process for want of memory; for ever, if that
    /// can't be watched.
    async fn memory_event(&self);

    /// Whether the kernel has killed a process for want of memory since this was last asked.
    async fn oom_killed(&self) -> bool;
}
