//! Why a container could not be made, started or removed.

use std::io;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use medley_types::EngineKind;

use rustix::io::Errno;

use super::{device_rules, libcontainer_text, mounts, rootfs};
use crate::hooks::HookFailed;
use crate::spec;
use crate::spec::environment;

/// Why a container could not be made, started or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Spec(#[from] spec::Error),
    #[error(transparent)]
    Rootfs(#[from] rootfs::Error),
    /// Where its mounts go.
    #[error(transparent)]
    Mounts(#[from] mounts::Error),
    #[error(transparent)]
    Dispatch(#[from] Unrunnable),
    #[error(transparent)]
    Stdio(#[from] medley_io::Error),
    #[error(transparent)]
    Cgroup(#[from] medley_cgroup::Error),
    #[error("cannot limit the container")]
    Limits(#[from] medley_cgroup::UpdateError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// Its device rules.
    #[error(transparent)]
    Devices(#[from] device_rules::Error),
    /// A helper could not be run.
    #[error("cannot run a helper process")]
    Spawn(#[source] io::Error),
    /// The program that has an engine could not be run.
    #[error(
        "cannot run {}, which has the engine {engine}; is it made for this machine, with the \
         libraries that it needs?",
        path.display()
    )]
    EngineBinary {
        path: PathBuf,
        engine: EngineKind,
        source: io::Error,
    },
    /// The request is larger than a helper takes.
    #[error("cannot talk to the helper process")]
    Talk(#[source] io::Error),
    /// A helper's reply is none, or lacks a descriptor.
    #[error("cannot understand the helper process's reply")]
    Reply(#[source] io::Error),
    /// A helper ended without an answer.
    #[error("the helper process ended without an answer: {reason}")]
    NoAnswer {
        /// What it left in its log.
        reason: String,
    },
    /// A helper met a page that could not be read.
    #[error("the helper process ended without an answer: a page of the native code is unreadable")]
    Page,
    /// A helper said no.
    #[error("{reason}")]
    Refused { reason: String },
    /// libcontainer could not make it.
    #[error(transparent)]
    Libcontainer(libcontainer_text::Fault),
    /// A module can't be compiled, as often as it is tried.
    #[error("{reason}")]
    UnfitModule { reason: String },
    /// systemd is to make its cgroup, and can't.
    #[error("the cgroup {path:?} of the container is for systemd to make, but {reason}")]
    Systemd {
        /// As the spec has it.
        path: PathBuf,
        /// Why it can't, and what would help.
        reason: &'static str,
    },
    /// The working directory is no good.
    #[error("cannot enter the working directory {} inside the container", cwd.display())]
    Cwd {
        /// As the spec has it.
        cwd: PathBuf,
        source: io::Error,
    },
    #[error(transparent)]
    Environment(#[from] environment::Error),
    /// A module could not be compiled.
    #[error("cannot compile {}: {reason}", path.display())]
    Compile {
        path: PathBuf,
        /// What happened, and what would help.
        reason: String,
    },
    /// A module's code is not waited for any more.
    #[error(
        "{} was not compiled: its container was given up while it waited, with {compilers} compilers \
         at a time; more run if the runtime option Compilers says so",
        module.display()
    )]
    GivenUp {
        module: PathBuf,
        /// How many may run.
        compilers: NonZeroU32,
    },
    /// The cache could not be used, where that is no matter of time alone.
    #[error(transparent)]
    Cache(#[from] medley_image::cache::Error),
    /// There is nothing to keep of a module.
    #[error(
        "no native code is kept of {}: it is text, or the cache is off; use a binary module",
        path.display()
    )]
    NotKept { path: PathBuf },
    /// Init died before it could be watched.
    #[error("init, process {pid}, was gone right after it was made")]
    InitGone { pid: i32, source: io::Error },
    /// The directory for the container's state could not be made.
    #[error("cannot make the directory {}", path.display())]
    Dir { path: PathBuf, source: io::Error },
    /// A user namespace to enter is not there.
    #[error("cannot open the user namespace {}", path.display())]
    UserNamespace {
        /// Where it should be.
        path: PathBuf,
        source: io::Error,
    },
    /// A mount can't be mapped.
    #[error(
        "the mount {} asks for mapped ids: it needs a source, and ids of its own or a user \
         namespace of the container",
        path.display()
    )]
    IdMappedMount {
        /// Where it is, in the container.
        path: PathBuf,
    },
    /// Init could not be reached.
    #[error("cannot tell init, process {pid}, to start")]
    Notify { pid: i32, source: io::Error },
    /// The container has ended.
    #[error("the container's init, process {pid}, has ended: there is nothing to run a process in")]
    ProcessEnded { pid: i32, source: io::Error },
    /// A process does not come to run its program.
    #[error(
        "process {pid} does not run its program after {timeout:?}, and was killed: something in the \
         container has stopped it, or the node is overloaded"
    )]
    StartTimeout {
        pid: i32,
        /// How long it had.
        timeout: Duration,
    },
    /// A helper does not answer.
    #[error(
        "the helper process gave no answer within {timeout:?}, and was killed: something in the \
         container has stopped it, or the node is overloaded"
    )]
    HelperTimeout {
        /// How long it had.
        timeout: Duration,
    },
    /// Init could not run its program.
    #[error("{reason}")]
    NotStarted { reason: String },
    /// A process to add is malformed.
    #[error("the process to run is not a valid OCI process")]
    Process {
        /// Where and what.
        source: spec::words::Error,
    },
    /// A process to add to a container of guests can't be run there.
    #[error(
        "in this wasm container can be run: a wasm file, wasm-file#function, or a linux program of \
         its root filesystem"
    )]
    BesideGuest {
        /// What it is instead.
        source: Unrunnable,
    },
    /// A whole application is to be run in a container of guests.
    #[error(
        "{} is a Spin application, which runs as a container's own program: run here a wasm file, or a linux \
         program of its root filesystem",
        manifest.display()
    )]
    ApplicationBesideGuest {
        /// Its manifest.
        manifest: PathBuf,
    },
    /// The process and the request differ.
    #[error(
        "the process says terminal = {process}, but the request says terminal = {request}: they \
         must agree"
    )]
    Terminal {
        /// What the process says.
        process: bool,
        /// What the request says.
        request: bool,
    },
    /// Who asked for it has given up.
    #[error("it was killed, or deleted, before it was made")]
    Cancelled,
    /// A process was started twice.
    #[error("the process was started before")]
    Ends,
    /// A hook failed.
    #[error(transparent)]
    Hook(HookFailed),
    /// libcontainer's record of the container can't be read.
    #[error("cannot read libcontainer's state of the container")]
    State(#[source] Box<libcontainer::error::LibcontainerError>),
}

impl Error {
    /// Whether root may not enter the working directory, which is not to say that its user may not.
    pub(super) fn is_denied_cwd(&self) -> bool {
        let denied = Some(Errno::ACCESS.raw_os_error());
        matches!(self, Self::Cwd { source, .. } if source.raw_os_error() == denied)
    }
}

/// Why an entrypoint can't be run, with the words by which runc's callers tell exit codes.
#[derive(Debug)]
pub struct Unrunnable(medley_dispatch::Error);

impl From<medley_dispatch::Error> for Unrunnable {
    fn from(error: medley_dispatch::Error) -> Self {
        Self(error)
    }
}

impl From<medley_dispatch::Error> for Error {
    fn from(error: medley_dispatch::Error) -> Self {
        Self::Dispatch(error.into())
    }
}

impl std::fmt::Display for Unrunnable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(error) = self;
        match error.in_words_of_runc() {
            Some(words) => write!(f, "{error}: {words}"),
            None => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Unrunnable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0)
    }
}

/// Why a pod could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A file of it.
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    /// Its shared memory.
    #[error("cannot mount the pod's shared memory at {}", path.display())]
    Shm { path: PathBuf, source: io::Error },
    /// Its network namespace.
    #[error("cannot open the pod's network namespace {}", path.display())]
    Network { path: PathBuf, source: io::Error },
    /// Something of it stays.
    #[error("cannot remove {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    /// Nothing counts what it uses.
    #[error("the pod has no cgroup of its own that could be measured: its parent is {parent:?}")]
    NoCgroup {
        /// As containerd told.
        parent: String,
    },
    /// It has ended.
    #[error("the pod has been stopped: no container can be made in it")]
    Stopped,
}

impl From<medley_cgroup::MakeError> for Error {
    fn from(error: medley_cgroup::MakeError) -> Self {
        match error {
            medley_cgroup::MakeError::Cgroup(error) => Self::Cgroup(error),
            medley_cgroup::MakeError::Limit(error) => Self::Limits(error),
        }
    }
}
