//! What the Task API needs from whoever makes containers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;

use crate::error::Cause;
use crate::metrics::Metrics;

/// A task to create, as containerd asks for it.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The task's id, unique in the shim.
    pub id: String,
    /// The bundle's folder, which holds `config.json`.
    pub bundle: PathBuf,
    /// What to mount as the rootfs, in this order; empty if it is already there.
    pub rootfs: Vec<RootfsMount>,
    /// Paths or URIs of the stdio; empty means none.
    pub stdin: String,
    /// See `stdin`.
    pub stdout: String,
    /// See `stdin`.
    pub stderr: String,
    /// Whether the process wants a terminal.
    pub terminal: bool,
    /// The runtime options: a type name and that type's protobuf bytes.
    pub options: Option<(String, Vec<u8>)>,
}

/// One mount of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootfsMount {
    /// `overlay`, `bind`, …
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where, relative to the rootfs; almost always empty.
    pub target: String,
    /// As of fstab.
    pub options: Vec<String>,
}

/// How and when a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255; 128 and the signal's number if a signal ended it.
    pub status: u32,
    /// When the shim learnt of it.
    pub at: SystemTime,
}

/// Makes containers.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Makes a container whose init waits to be started.
    ///
    /// # Errors
    /// Whatever is wrong with the request; nothing of the container is left then.
    async fn create(&self, request: CreateRequest) -> Result<Arc<dyn Container>, Cause>;
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

/// A container that [`Runtime::create`] made.
#[async_trait]
pub trait Container: Send + Sync + 'static {
    /// Init's pid, in the shim's pid namespace.
    fn pid(&self) -> u32;

    /// Lets init run its program. Called once.
    ///
    /// # Errors
    /// If the program can't be run; init ends then.
    async fn start(&self) -> Result<(), Cause>;

    /// Sends a signal to init, or to every process if `all`.
    ///
    /// # Errors
    /// [`KillError`].
    async fn kill(&self, signal: u32, all: bool) -> Result<(), KillError>;

    /// Waits for init's end and reaps it. Called once.
    async fn exited(&self) -> Exit;

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

    /// Lets the process see the end of its input.
    fn close_stdin(&self);

    /// Removes what is left after init's end: processes, cgroup, mounts, state. May be called
    /// again if it failed.
    ///
    /// # Errors
    /// If something could not be removed.
    async fn delete(&self) -> Result<(), Cause>;
}
