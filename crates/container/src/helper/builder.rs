//! In the helper: makes a container's init, of libcontainer's parts.
//!
//! libcontainer's own builder, which this is after, makes the cgroup itself, reads
//! `/proc/self/mountinfo` for each controller to do so, and clones a process in between that only
//! user and time namespaces need, and systemd. Here the cgroup is there already, and init is a
//! clone of the helper where it can be; what init does is libcontainer's.

mod between;
mod filesystem;
mod listener;
mod load;
mod network;
mod stage;
mod surroundings;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use libcontainer::config::YoukiConfig;
use libcontainer::container::{self, Container, ContainerStatus, StateConversionError};
use libcontainer::error::{ErrInvalidID, LibcontainerError};
use libcontainer::notify_socket::{NOTIFY_FILE, NotifyListener};
use libcontainer::process::args::{ContainerArgs, ContainerType};
use libcontainer::process::channel::{
    self, ChannelError, InitReceiver, InitSender, MainReceiver, MainSender,
};
use libcontainer::process::init::container_init_process;
use libcontainer::process::intel_rdt;
use libcontainer::syscall::SyscallError;
use libcontainer::syscall::syscall::{SyscallType, create_syscall};
use libcontainer::tty;
use libcontainer::user_ns::UserNamespaceConfig;
use libcontainer::workload::Executor;
use medley_cgroup::Cgroup;
use medley_sys::clone::{PidNamespace, SingleThreaded};
use medley_sys::in_root::real_path;
use medley_sys::{child, trace};
use medley_types::exit_status;
use oci_spec::runtime::{ContainerState, Linux, LinuxNamespace, LinuxNamespaceType, Spec, State};

use rustix::process::{Pid, Signal};

use self::stage::{Entry, Stage};
use crate::filter;
use crate::hooks::{self, HookFailed, Moment};
use crate::init::linux::LinuxInit;
use crate::init::start_hooks::StartHooks;
use crate::protocol::FIRST_NAMESPACE;

/// What a clone ends with that could not become init; why, it has told.
const FAILED: u8 = exit_status::UNKNOWN;

/// What libcontainer takes for a process in a container whose file system is there.
const TENANT: ContainerType = ContainerType::TenantContainer { exec_notify_fd: -1 };

/// Why init could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Libcontainer(#[from] LibcontainerError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    State(#[from] StateConversionError),
    #[error("cannot make the process")]
    Clone(#[source] io::Error),
    #[error("cannot set oom_score_adj to {value}")]
    OomScore { value: i32, source: io::Error },
    #[error("cannot open the pid namespace {}", path.display())]
    PidNamespace { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Cgroup(#[from] medley_cgroup::Error),
    #[error("cannot set its resource limits")]
    Limits(#[source] SyscallError),
    #[error(transparent)]
    Init(#[from] libcontainer::process::init::error::InitProcessError),
    #[error(transparent)]
    Between(#[from] between::Error),
    #[error(transparent)]
    Listener(#[from] listener::Error),
    #[error(transparent)]
    Network(#[from] network::Error),
    #[error(transparent)]
    Stage(#[from] stage::Error),
    #[error(transparent)]
    Hook(#[from] HookFailed),
    #[error(transparent)]
    Filter(#[from] filter::Error),
    #[error("the spec has no {0}")]
    Incomplete(&'static str),
}

/// A container whose init is to be made.
pub(crate) struct Builder {
    pub(crate) id: String,
    /// The directory of its `config.json`.
    pub(crate) bundle: PathBuf,
    /// What hooks are told that its bundle is.
    pub(crate) callers_bundle: PathBuf,
    /// The directory that its state is to be kept in, below its id.
    pub(crate) state: PathBuf,
    /// The socket that the terminal is to be sent to.
    pub(crate) console: Option<PathBuf>,
    /// None if it has a terminal.
    pub(crate) stdio: Option<[OwnedFd; 3]>,
    pub(crate) executor: Box<dyn Executor>,
    /// What the executor is, if a Linux program.
    pub(crate) linux: Option<LinuxInit>,
    /// Those of its hooks that the executor runs.
    pub(crate) start_hooks: StartHooks,
    pub(crate) no_pivot: bool,
    /// Its cgroup, which is there, unless systemd is to make one.
    pub(crate) cgroup: Option<Cgroup>,
}

impl Builder {
    /// Makes init, which waits then, and gives its pid. On failure no state is left: the container may be
    /// tried again in another way.
    pub(crate) fn make(self) -> Result<i32, Error> {
        // It becomes a part of a path.
        if let "" | "." | ".." = self.id.as_str() {
            return Err(LibcontainerError::from(ErrInvalidID::FileName).into());
        }
        if let Some(letter) = self.id.chars().find(|letter| !is_of_ids(*letter)) {
            return Err(LibcontainerError::from(ErrInvalidID::InvalidChars(letter)).into());
        }
        let dir = self.state.join(&self.id);
        make_dir(&dir)?;
        let made = self.make_in(&dir);
        if made.is_err()
            && let Err(left) = std::fs::remove_dir_all(&dir)
        {
            log::warn!("{} is left behind: {left}", dir.display());
        }
        made
    }

    /// Makes it with its state in `dir`.
    fn make_in(self, dir: &Path) -> Result<i32, Error> {
        let mut spec = load::spec(&self.bundle, self.console.is_some())?;
        if let Some(init) = &self.linux {
            init.take_filter(&mut spec)?;
            init.take_capabilities(&mut spec);
        }
        let real = |path| real_path(path).map_err(LibcontainerError::OtherIO);
        let mut container = Container {
            state: container::State::new(
                &self.id,
                ContainerStatus::Creating,
                None,
                real(&self.callers_bundle)?,
            ),
            root: real(dir)?,
        };
        container
            .set_systemd(self.cgroup.is_none())
            .set_annotations(spec.annotations().clone());
        if spec.hooks().is_some() {
            // From there the shim takes those that it runs.
            let config = YoukiConfig::from_spec(&spec, &self.id);
            let saved = config.and_then(|config| config.save(dir));
            saved.map_err(LibcontainerError::from)?;
        }
        let console = self
            .console
            .map(|socket| tty::setup_console_socket(dir, &socket, "console-socket"))
            .transpose()
            .map_err(LibcontainerError::from)?;
        let listener =
            NotifyListener::new(&dir.join(NOTIFY_FILE)).map_err(LibcontainerError::from)?;
        set_oom_score(&spec)?;
        let root = spec.root().as_ref().ok_or(Error::Incomplete("root"))?;
        // `load` has made it absolute.
        let rootfs = root.path().clone();
        let alone = SingleThreaded::check().map_err(Error::Clone)?;
        let step = trace::span("hold what is mounted from");
        let linux = spec.linux().as_ref().ok_or(Error::Incomplete("linux"))?;
        let stage = match &self.cgroup {
            Some(_) if !self.no_pivot && !between::is_needed(linux) => {
                Stage::of(&alone, &mut spec, &rootfs)?
            }
            _ => None,
        };
        let state = State::try_from(&container.state)?;
        leave_start_hooks(&mut spec, &state, &self.start_hooks);
        // libcontainer makes no file system for what is added to a container.
        let container_type = match &stage {
            Some(stage) if stage.rootfs().is_none() => TENANT,
            _ => ContainerType::InitContainer,
        };
        let made_by_libcontainer = matches!(container_type, ContainerType::InitContainer);
        let seen = stage.as_ref().and_then(Stage::rootfs);
        let rootfs = seen.map_or(rootfs, Path::to_owned);
        drop(step);
        let mut stdio: Vec<OwnedFd> = self.stdio.into_iter().flatten().collect();
        let number = |index: usize| stdio.get(index).map(AsRawFd::as_raw_fd);
        let [stdin, stdout, stderr] = [0, 1, 2].map(number);
        let args = ContainerArgs {
            container_type,
            syscall: SyscallType::default(),
            rootfs,
            console_socket: console
                .as_ref()
                .filter(|_| made_by_libcontainer)
                .map(AsRawFd::as_raw_fd),
            notify_listener: listener,
            preserve_fds: 0,
            container: Some(container.clone()),
            user_ns_config: UserNamespaceConfig::new(&spec).map_err(LibcontainerError::from)?,
            cgroup_config: between::cgroup_config(&spec, &self.id),
            detached: true,
            executor: self.executor,
            no_pivot: self.no_pivot,
            stdin,
            stdout,
            stderr,
            as_sibling: false,
            pid_file: None,
            spec: Rc::new(spec),
        };
        let console = console.as_ref().map(AsFd::as_fd);
        let stage = stage.map(|stage| (stage, stdio.as_mut_slice(), console));
        let pid = make_init(&alone, (&args, &state), self.cgroup.as_ref(), stage)?;
        let settled = share_cache(&args.spec, &mut container, pid).and_then(|()| {
            let created = container
                .set_status(ContainerStatus::Created)
                .set_creator(rustix::process::geteuid().as_raw());
            Ok(created.set_pid(pid).save()?)
        });
        if settled.is_err() {
            kill(pid);
        }
        settled.map(|()| pid)
    }
}

fn is_of_ids(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_+-.".contains(letter)
}

/// Ends an init that nothing would start.
pub(super) fn kill(pid: i32) {
    let killed = Pid::from_raw(pid).map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    if let Some(Err(left)) = killed {
        log::warn!("init, process {pid}, is left behind: {left}");
    }
}

/// A descriptor that a guest's process closes before it runs the guest, as its namespaces'.
fn among_namespaces(fd: impl AsFd) -> io::Result<File> {
    let first = i32::try_from(FIRST_NAMESPACE).map_err(io::Error::other)?;
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, first)?.into())
}

fn make_dir(dir: &Path) -> Result<(), LibcontainerError> {
    if dir.exists() {
        return Err(LibcontainerError::Exist);
    }
    std::fs::create_dir_all(dir).map_err(LibcontainerError::OtherIO)
}

/// While this process may: init, its clone, inherits it.
fn set_oom_score(spec: &Spec) -> Result<(), Error> {
    let process = spec.process().as_ref();
    let Some(value) = process.and_then(|process| process.oom_score_adj()) else {
        return Ok(());
    };
    std::fs::write("/proc/self/oom_score_adj", value.to_string())
        .map_err(|source| Error::OomScore { value, source })
}

/// Takes the hooks out of a spec that the executor runs.
fn leave_start_hooks(spec: &mut Spec, state: &State, to: &StartHooks) {
    let hooks = spec.hooks_mut().as_mut();
    let hooks = hooks.and_then(|hooks| hooks.start_container_mut().take());
    if let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) {
        to.set(hooks, state.clone());
    }
}

/// Makes init, does for it what it asks for, and waits until it is ready to be started.
fn make_init(
    alone: &SingleThreaded,
    (args, state): (&ContainerArgs, &State),
    cgroup: Option<&Cgroup>,
    stage: Option<(Stage, &mut [OwnedFd], Option<BorrowedFd<'_>>)>,
) -> Result<i32, Error> {
    let spec = args.spec.linux().as_ref();
    let linux = spec.ok_or(Error::Incomplete("linux"))?;
    let (mut to_us, mut from_init) = channel::main_channel()?;
    let (mut to_init, mut from_us) = channel::init_channel()?;
    let asks_for_hooks = match (&args.container_type, &stage) {
        (ContainerType::InitContainer, _) => args.spec.hooks().is_some(),
        (_, Some((stage, ..))) => stage.asks_for_hooks(),
        (_, None) => false,
    };
    log::debug!("nsexec container setup: a clone of this process enters the container");
    let step = trace::span("clone init");
    let pid = match cgroup {
        Some(cgroup) if !between::is_needed(linux) => {
            let namespace = PidsOf::spec(linux)?;
            let enter = |is_placed, helper: (&mut MainSender, &mut InitReceiver)| {
                let step = trace::span("enter the cgroup");
                cgroup.enter(is_placed)?;
                drop(step);
                let step = trace::span("leave the node's mounts");
                let open = match stage {
                    Some((stage, stdio, console)) => stage.enter(Entry {
                        alone,
                        stdio,
                        console,
                        state,
                        helper,
                    })?,
                    None => Vec::new(),
                };
                drop(step);
                limit(&args.spec)?;
                Ok(open)
            };
            let dir = cgroup.unified_dir();
            let dir = dir.as_ref().map(AsFd::as_fd);
            let init = |is_placed| {
                // It leads to the node's cgroups.
                child::close_fds(dir.as_slice());
                let enter = |helper: (&mut MainSender, &mut InitReceiver)| enter(is_placed, helper);
                become_init(args, enter, &to_init, (&mut to_us, &mut from_us))
            };
            let made = alone.clone_child_into(namespace.as_clone(), dir, init);
            made.map_err(Error::Clone)?
        }
        _ => {
            let enter = |_: (&mut MainSender, &mut InitReceiver)| Ok(Vec::new());
            let init = || become_init(args, enter, &to_init, (&mut to_us, &mut from_us));
            between::clone(alone, args, cgroup, init)?
        }
    };
    drop(step);
    to_us.close()?;
    if asks_for_hooks {
        run_hooks(&args.spec, state, pid, (&mut from_init, &mut to_init))?;
    }
    network::move_devices(linux, pid, &mut from_init, &mut to_init)?;
    if let Some(seccomp) = linux.seccomp() {
        listener::hand_over(seccomp, state, pid, &mut from_init, &mut to_init)?;
    }
    to_init.close()?;
    from_init.wait_for_init_ready()?;
    from_us.close()?;
    from_init.close()?;
    Ok(pid)
}

/// In the clone: becomes init, once it has done `enter`. It comes back only if it can't.
fn become_init(
    args: &ContainerArgs,
    enter: impl FnOnce((&mut MainSender, &mut InitReceiver)) -> Result<Vec<File>, Error>,
    to_init: &InitSender,
    (to_us, from_us): (&mut MainSender, &mut InitReceiver),
) -> u8 {
    trace::cloned("init");
    log::debug!("child process in init(): {}", std::process::id());
    let become_it = || {
        // Ours of it: its end is to be the helper's.
        to_init.close()?;
        let _open = enter((&mut *to_us, &mut *from_us))?;
        Ok::<(), Error>(container_init_process(args, to_us, from_us)?)
    };
    if let Err(error) = become_it() {
        let text = medley_types::sentence(&error);
        log::error!("failed to initialize container process: {text}");
        if let Err(lost) = to_us.exec_failed(text) {
            log::error!("and this could not be told to the helper: {lost}");
        }
    }
    FAILED
}

/// Sets the limits of the process's resources, which init has them of.
fn limit(spec: &Spec) -> Result<(), Error> {
    let process = spec.process().as_ref();
    let limits = process.and_then(|process| process.rlimits().as_ref());
    let syscall = create_syscall();
    let mut limits = limits.into_iter().flatten();
    limits.try_for_each(|limit| {
        syscall.set_rlimit(limit).map_err(|source| {
            // As libcontainer says it, for the shim to tell it in a sentence.
            log::error!("failed to set rlimit rlimit={limit:?} err={source:?}");
            Error::Limits(source)
        })
    })
}

/// The pid namespace of a spec.
enum PidsOf {
    Own,
    New,
    Other(File),
}

impl PidsOf {
    fn spec(linux: &Linux) -> Result<Self, Error> {
        match namespace(linux, LinuxNamespaceType::Pid) {
            None => Ok(Self::Own),
            Some(namespace) => match namespace.path() {
                None => Ok(Self::New),
                Some(path) => File::open(path)
                    .and_then(|file| among_namespaces(&file))
                    .map(Self::Other)
                    .map_err(|source| Error::PidNamespace {
                        path: path.clone(),
                        source,
                    }),
            },
        }
    }

    fn as_clone(&self) -> PidNamespace<'_> {
        match self {
            Self::Own => PidNamespace::Own,
            Self::New => PidNamespace::New,
            Self::Other(file) => PidNamespace::Other(file.as_fd()),
        }
    }
}

/// A spec's namespace of a type, if it has one.
fn namespace(linux: &Linux, wanted: LinuxNamespaceType) -> Option<&LinuxNamespace> {
    let mut namespaces = linux.namespaces().iter().flatten();
    namespaces.find(|namespace| namespace.typ() == wanted)
}

/// Runs the hooks that run outside, when init is in its namespaces and asks for it.
fn run_hooks(
    spec: &Spec,
    state: &State,
    pid: i32,
    (from_init, to_init): (&mut MainReceiver, &mut InitSender),
) -> Result<(), Error> {
    from_init.wait_for_hook_request()?;
    let state = hooks::told(state, ContainerState::Creating, pid);
    let moment = |name| Moment {
        name,
        state: &state,
        // As runc, whose own dir this is.
        cwd: Some(state.bundle()),
        env: &[],
        in_container: false,
    };
    if let Some(hooks) = spec.hooks() {
        #[allow(deprecated, reason = "a spec may have them, and they are run")]
        moment("prestart").run(hooks.prestart().as_ref())?;
        moment("createRuntime").run(hooks.create_runtime().as_ref())?;
    }
    Ok(to_init.hook_done()?)
}

/// Puts init into the group of the processor's cache that the spec names.
fn share_cache(spec: &Spec, container: &mut Container, pid: i32) -> Result<(), Error> {
    let linux = spec.linux().as_ref();
    let Some(wanted) = linux.and_then(|linux| linux.intel_rdt().as_ref()) else {
        return Ok(());
    };
    let id = container.id().to_owned();
    // libcontainer takes a pid by its own type.
    let pid = container.set_pid(pid).pid();
    let pid = pid.ok_or(Error::Incomplete("process"))?;
    let (dir, monitoring) =
        intel_rdt::setup_intel_rdt(Some(&id), &pid, wanted).map_err(LibcontainerError::from)?;
    container
        .set_intel_rdt_dir(dir)
        .set_intel_rdt_monitoring_dir(monitoring);
    Ok(())
}
