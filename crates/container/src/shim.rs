//! In the shim: making, starting and removing containers.
//!
//! Every function here may block for milliseconds: the caller runs them on threads that may wait.
//! Those that make a process with a terminal hand its bytes to the tokio runtime around them.

mod code_source;
mod compile;
mod control;
mod create;
mod engine_binaries;
mod error;
mod exec;
mod helper_client;
mod hooks;
mod image_layers;
mod mounts;
mod place;
mod recorded_process;
mod recover;
mod resctrl;
pub mod rootfs;
pub mod sandbox;
mod terminal;
mod turn;
mod user_namespace;

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use medley_dispatch::{EngineKind, Options, Plan};
use medley_image::store::Address;
use medley_io::{Keeper, Stdio};
use medley_sys::children;
use medley_sys::pidfd::{Ended, PidFd};
use medley_types::metrics::Metrics;
use medley_types::sandbox::PodRequest;
use medley_types::{Cancel, RootfsMount};

use crate::protocol::{Reply, Request, STARTED};
use crate::shim::rootfs::Mounted;
use crate::shim::sandbox::Pod;
use medley_cgroup::{Cgroup, OomWatch};

use engine_binaries::Binaries;
use hooks::Moment;
use recorded_process::Known;

pub use code_source::Warmed;
pub use engine_binaries::Beside;
pub use error::Error;
pub use exec::{Addition, Exec};
pub use image_layers::ImageModules;
pub use recover::clean_up;
pub use turn::{MOST_COMPILERS, default_compilers};

/// libcontainer's folder below the bundle: its state, the changed spec, our own record. It goes
/// away with the bundle, whoever removes that.
const STATE: &str = "medley";

/// A container to make.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// What to mount as its rootfs.
    pub rootfs: Vec<RootfsMount>,
    /// Its stdio.
    pub stdio: Stdio,
    /// What the runtime options say of it.
    pub settings: Settings,
    /// What gives it up while it is made.
    pub cancel: Cancel,
}

/// What the runtime options say of a container.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Where native code is kept; nowhere, if `None`.
    pub cache: Option<PathBuf>,
    /// The engine of a module that asks for none, instead of the host's.
    pub default_engine: Option<EngineKind>,
    /// Whether the root is moved instead of pivoted.
    pub no_pivot_root: bool,
    /// Whether systemd makes the cgroup that a scope's name stands for; told from the node, if
    /// `None`.
    pub systemd_cgroup: Option<bool>,
    /// Bytes of stack of a guest of which its spec has no limit.
    pub stack: Option<u64>,
    /// Whether its processes keep the session keyring that the shim has.
    pub no_new_keyring: bool,
    /// How many compilers may run at a time; told from the node, if `None`.
    pub compilers: Option<NonZeroU32>,
}

impl Settings {
    fn compilers(&self) -> NonZeroU32 {
        self.compilers.unwrap_or_else(default_compilers)
    }
}

/// Makes containers, and knows which processes are its own to reap.
#[derive(Debug)]
pub struct Host {
    binaries: Binaries,
    options: Options,
    /// Whom to ask about images.
    containerd: Option<Address>,
    debug: bool,
    /// The shim, as records and helpers know it.
    own: Known,
    /// Open as long as the shim lives, which an init that waits to be started looks at.
    life: (PipeReader, PipeWriter),
    /// Guards the pod that containers belong to, if no container of it stands for it.
    pod: Mutex<Option<Arc<Pod>>>,
}

impl Host {
    /// A host that runs helpers of this very binary, or of those `beside` it that have other
    /// engines.
    ///
    /// # Errors
    /// Those of opening our own executable, and of making a pipe.
    pub fn new(options: Options, beside: Vec<Beside>, debug: bool) -> io::Result<Self> {
        Ok(Self {
            binaries: Binaries::new(beside)?,
            options,
            containerd: None,
            debug,
            own: Known::own(),
            life: io::pipe()?,
            pod: Mutex::default(),
        })
    }

    /// Makes a container whose init waits to be started.
    ///
    /// # Errors
    /// [`Error`]; nothing of the container is left then.
    pub fn create(&self, order: Order) -> Result<Created, Error> {
        medley_cgroup::prepare_for_move();
        create::create(self, order)
    }

    /// Makes the pod that every container from now on belongs to.
    ///
    /// # Errors
    /// [`Error`]; nothing of the pod is left then.
    pub fn create_pod(&self, request: PodRequest) -> Result<Arc<Pod>, Error> {
        let pod = Arc::new(Pod::new(self, request)?);
        *self.pod.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&pod));
        Ok(pod)
    }

    fn pod(&self) -> Option<Arc<Pod>> {
        self.pod
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn debug(&self) -> bool {
        self.debug
    }

    /// Runs one helper to its end and gives its answer.
    pub(crate) fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Result<(Reply, Vec<OwnedFd>), Error> {
        helper_client::ask(self, request, fds)
    }

    /// What dispatch may choose from for a container with these settings.
    fn options_for(&self, settings: &Settings) -> Options {
        let mut options = self.options.clone();
        if let Some(engine) = settings.default_engine {
            options.default_engine = engine;
        }
        options
    }
}

/// Reaps every ended child that nobody waits for: what a container's processes left behind.
pub fn reap_orphans() {
    if let Err(error) = children::reap_orphans() {
        log::warn!("orphans could not be reaped: {error}");
    }
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    id: String,
    plan: Plan,
    settings: Settings,
    init: PidFd,
    cgroup: Cgroup,
    /// Whether it is of a pod of Kubernetes'.
    in_pod: bool,
    /// Absent if it can't be watched.
    oom: Option<OomWatch>,
    rootfs: Mounted,
    /// Our folder in the bundle.
    folder: PathBuf,
    own_pid_namespace: bool,
    poststart_hooks: bool,
    poststop_hooks: bool,
    /// Whether it may have a group of its own in resctrl.
    has_resctrl: bool,
    /// Read once, at start: empty when the program runs, or why it does not.
    status: Mutex<Option<File>>,
    /// The shim's handles on the container's stdio.
    stdio: Keeper,
}

impl Created {
    /// What runs it.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its init.
    #[must_use]
    pub fn init(&self) -> &PidFd {
        &self.init
    }

    /// The shim's handles on its stdio.
    #[must_use]
    pub fn stdio(&self) -> &Keeper {
        &self.stdio
    }

    /// Where libcontainer keeps this container's state.
    fn state(&self) -> PathBuf {
        self.folder.join(&self.id)
    }

    /// Lets init go on, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with init's own reason; [`Error::Notify`] if it is dead.
    pub fn start(&self) -> Result<(), Error> {
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
            hear(status, self.init.pid())?;
        }
        if self.poststart_hooks {
            hooks::run(self, Moment::Poststart)?;
        }
        Ok(())
    }

    /// libcontainer's own call for this changes the working directory of the whole process to
    /// keep the socket's path short. A path through a descriptor is short too.
    fn notify(&self) -> io::Result<()> {
        let folder = File::open(self.state())?;
        let path = Path::new("/proc/self/fd")
            .join(folder.as_fd().as_raw_fd().to_string())
            .join(libcontainer::notify_socket::NOTIFY_FILE);
        let mut socket = UnixStream::connect(path)?;
        io::Write::write_all(&mut socket, b"start container")?;
        socket.shutdown(std::net::Shutdown::Write)
    }

    /// Whether [`Self::try_reap`] never waits.
    #[must_use]
    pub fn reaping_is_quick(&self) -> bool {
        self.own_pid_namespace
    }

    /// Reaps init if it has ended, and takes with it what its end ends.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn try_reap(&self) -> io::Result<Option<Ended>> {
        let Some(ended) = children::reap(&self.init)? else {
            return Ok(None);
        };
        // In a shared pid namespace the kernel does not kill what init leaves behind.
        if !self.own_pid_namespace
            && let Err(error) = self.cgroup.empty()
        {
            log::warn!("{}: {}", self.id, medley_types::sentence(&error));
        }
        // What is left in the pipes of its output stays there until delete, even if nobody reads
        // just now: our reading ends keep it, and keep no reader from seeing the end.
        self.stdio.close_stdin();
        Ok(Some(ended))
    }

    /// Gives init up, whose end can't be watched: whoever finds it dead may reap it.
    pub fn abandon(&self) {
        children::let_go(self.init.pid());
        reap_orphans();
    }

    /// Sends a signal to every process of the container.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be read.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        // Init too, should it be in no cgroup of its own. It may be dead already.
        if let Err(error) = self.init.signal(signal) {
            log::debug!("{}: signal {signal} to init not sent: {error}", self.id);
        }
        Ok(self.cgroup.signal_all(signal)?)
    }

    /// Every process of the container. Init is one of them as long as it lives.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be read.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        Ok(self.cgroup.pids()?)
    }

    /// What the container uses.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be read.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        Ok(self.cgroup.metrics()?)
    }

    /// Removes everything that is left after init's end. May be called again.
    ///
    /// # Errors
    /// [`Error`] with what could not be removed.
    pub fn delete(&self) -> Result<(), Error> {
        self.cgroup.remove()?;
        if self.poststop_hooks
            && let Err(error) = hooks::run(self, Moment::Poststop)
        {
            // As of the OCI runtime spec: a poststop hook that fails is logged, no more.
            log::warn!("{}: {}", self.id, medley_types::sentence(&error));
        }
        self.rootfs.unmount()?;
        if self.has_resctrl {
            resctrl::clean_up(&self.folder);
        }
        recover::remove(&self.folder)
    }
}

/// As [`hear`], for `timeout` at the longest.
fn hear_within(status: File, pid: i32, timeout: Duration) -> Result<(), Error> {
    let failed = |source| Error::Notify { pid, source };
    let deadline = Instant::now() + timeout;
    let mut pieces = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if !medley_sys::watch::wait_readable(status.as_fd(), Some(left)).map_err(failed)? {
            return Err(Error::StartTimeout { pid, timeout });
        }
        let mut piece = [0; 512];
        match (&status).read(&mut piece).map_err(failed)? {
            0 => return heard(&pieces),
            size => pieces.extend_from_slice(&piece[..size]),
        }
    }
}

/// Waits until the program of the process `pid` runs, as its status pipe tells.
fn hear(mut status: File, pid: i32) -> Result<(), Error> {
    let mut said = Vec::new();
    status
        .read_to_end(&mut said)
        .map_err(|source| Error::Notify { pid, source })?;
    heard(&said)
}

/// What a status pipe said until its end.
fn heard(said: &[u8]) -> Result<(), Error> {
    if said == STARTED {
        return Ok(());
    }
    let said = said.strip_prefix(STARTED).unwrap_or(said);
    let reason = match String::from_utf8_lossy(said).into_owned() {
        reason if reason.is_empty() => {
            "it ended before its program ran: it was killed, or a startContainer hook failed"
                .to_owned()
        }
        reason => reason,
    };
    Err(Error::NotStarted { reason })
}
