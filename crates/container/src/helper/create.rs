//! In the helper: libcontainer makes the container, and the helper's clone becomes its init.

use std::fs::File;
use std::os::fd::OwnedFd;

use libcontainer::workload::Executor;
use medley_sys::clone::SingleThreaded;
use medley_sys::trace;
use rustix::process::Signal;

use super::builder::{self, Builder};
use super::inside::{self, EnteredContainer};
use super::{
    bound_dev, cgroup_mount, copy_up, keyring, log_file, loopback, mount_flags, propagation,
    schedule, sources,
};
use crate::confinement::{self, Confinement};
use crate::helper::Engines;
use crate::helper::console::{self, ConsoleSocket};
use crate::helper::load_program::{self, LoadOutcome};
use crate::init::Init;
use crate::init::lifeline::Lifeline;
use crate::init::linux::Settling;
use crate::init::start_hooks::StartHooks;
use crate::protocol::{
    Create, FIRST_NAMESPACE, Failure, MadeProcess, MakeReply, PreparedContainer,
};
use medley_cgroup::guest_memory_limit::{LimitChannel, MemoryFiles};

/// Why the container could not be made, where libcontainer does not say it itself.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Code(#[from] load_program::Error),
    #[error("cannot make the directory {} for libcontainer's state", path.display())]
    State {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Init(Box<builder::Error>),
    #[error("cannot have a container that was not started hear its signals")]
    Signals(#[source] std::io::Error),
    #[error("cannot keep the inheritable capabilities")]
    Capabilities(#[source] std::io::Error),
    #[error("cannot set the supplementary groups")]
    Groups(#[source] std::io::Error),
    #[error(transparent)]
    Console(#[from] console::Error),
    #[error("cannot tie the container's init to the shim")]
    Lifeline(#[source] std::io::Error),
    #[error("cannot hold the namespaces of the pod")]
    Namespaces(#[source] std::io::Error),
    #[error("cannot pass descriptors on to the container's program")]
    Passed(#[source] std::io::Error),
    #[error(transparent)]
    Sources(#[from] sources::Error),
    #[error(transparent)]
    Confinement(#[from] confinement::Error),
    #[error(transparent)]
    Keyring(#[from] keyring::Error),
    #[error(transparent)]
    BoundDev(#[from] bound_dev::Error),
    #[error(transparent)]
    CgroupMount(#[from] cgroup_mount::Error),
    #[error(transparent)]
    CopyUp(#[from] copy_up::Error),
    #[error(transparent)]
    EnteredContainer(#[from] inside::Error),
    #[error("cannot set the propagation of the container's mounts")]
    Threads(#[source] std::io::Error),
    #[error(transparent)]
    Loopback(#[from] loopback::Error),
    #[error(transparent)]
    MountFlags(#[from] mount_flags::Error),
    #[error("cannot enter the mount namespace of init, process {init}")]
    EnterMounts { init: i32, source: std::io::Error },
    #[error(transparent)]
    Propagation(#[from] propagation::Error),
}

/// What ends a container that was created and not started, besides SIGKILL.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Makes the container.
pub(crate) fn run(call: Create<OwnedFd>, engines: Engines) -> Result<MakeReply<OwnedFd>, Failure> {
    log_file::start(call.container.debug)?;
    create(call, engines).map_err(|error| Failure::of(&error))
}

fn create(call: Create<OwnedFd>, engines: Engines) -> Result<MakeReply<OwnedFd>, Error> {
    // The kernel spares pid 1 of a namespace every signal that has no handler, but the container that
    // waits to be started is to be ended by these as any process is. An exec takes handlers away, and
    // a guest's process has others by then.
    for signal in ENDING {
        medley_sys::signals::exit_on_signal(signal.as_raw()).map_err(Error::Signals)?;
    }
    schedule::run_anywhere();
    // Before the root changes: libcontainer looks the user's home up, and a guest hosts.
    medley_sys::names::look_up_without_plugins();
    let Create {
        container,
        program,
        fds,
    } = call;
    let life = fds.shim_alive.as_ref().map(Lifeline::tie).transpose();
    let life = life.map_err(Error::Lifeline)?;
    drop(fds.shim_alive);
    // Held until init, a clone of this process, has entered them.
    let _namespaces = number(fds.namespaces)?;
    let step = trace::span("load the program");
    let init = match load_program::load(program, File::from(fds.status), engines)? {
        LoadOutcome::Ready(init) => init,
        LoadOutcome::CacheMiss(miss) => return Ok(MakeReply::CacheMiss(miss)),
    };
    drop(step);
    let step = trace::span("prepare");
    let confinement = prepare(&container)?;
    let console = match &container.terminal {
        Some(terminal) => Some((ConsoleSocket::listen(&container.state)?, terminal)),
        None => None,
    };
    let channel = init.channel();
    let start_hooks = StartHooks::default();
    // With a terminal init needs none of them.
    let stdio = console.is_none().then_some(fds.stdio);
    let linux = match &init {
        Init::Linux(init) => Some(init.clone()),
        Init::Wasm(_) => None,
    };
    let builder = Builder {
        id: container.id.clone(),
        bundle: container.bundle.clone(),
        callers_bundle: container.callers_bundle.clone(),
        state: container.state.clone(),
        console: console.as_ref().map(|(socket, _)| socket.path().to_owned()),
        stdio,
        executor: executor(
            init,
            (confinement, start_hooks.clone()),
            &container,
            (life.as_ref(), fds.passed),
        )?,
        linux,
        start_hooks,
        no_pivot: container.no_pivot_root,
        cgroup: container.cgroup.clone(),
    };
    drop(step);
    let step = trace::span("make init");
    let made = builder.make();
    let pid = made.map_err(|error| Error::Init(Box::new(error)))?;
    drop(step);
    let _step = trace::span("settle what it has left");
    let tied = life.map_or(Ok(()), |life| life.of(pid));
    let tied = tied.map_err(Error::Lifeline);
    if let Some(channel) = channel {
        tell_limits(&channel, pid);
    }
    // Before this process enters init's mount namespace, where the socket has no path.
    let master = console.map(|(socket, terminal)| socket.receive(terminal));
    let settled = tied
        .and_then(|()| Ok(master.transpose()?))
        .and_then(|master| settle(pid, &container).map(|()| master));
    match settled {
        Ok(terminal) => Ok(MakeReply::Made(MadeProcess { pid, terminal })),
        Err(error) => {
            // The shim does not know it yet, and removes what belongs to it.
            builder::kill(pid);
            Err(error)
        }
    }
}

/// Gives this process what init inherits, makes what it mounts from, and opens what it is confined by.
fn prepare(container: &PreparedContainer) -> Result<Option<Confinement>, Error> {
    // Those that containerd was started with are not the container's.
    medley_sys::child::set_groups(container.groups.iter().copied()).map_err(Error::Groups)?;
    std::fs::create_dir_all(&container.state).map_err(|source| Error::State {
        path: container.state.clone(),
        source,
    })?;
    medley_sys::child::make_inheritable(container.inheritable).map_err(Error::Capabilities)?;
    sources::make(&container.mapped, &container.nodes)?;
    let confinement = Confinement::open(container.labels.clone())?;
    if container.keyring {
        keyring::make(&container.id, confinement.as_ref())?;
    }
    Ok(confinement)
}

/// What init does once libcontainer has put it into the container.
fn executor(
    init: Init,
    (confinement, start_hooks): (Option<Confinement>, StartHooks),
    container: &PreparedContainer,
    (life, passed): (Option<&Lifeline>, Vec<OwnedFd>),
) -> Result<Box<dyn Executor>, Error> {
    let late_cwd = container.late_cwd.clone();
    let has_terminal = container.terminal.is_some();
    match init {
        Init::Linux(init) => {
            init.prepare(Settling {
                confinement,
                late_cwd,
                has_terminal,
                start_hooks,
            });
            init.pass_on(passed).map_err(Error::Passed)?;
            Ok(Box::new(init))
        }
        Init::Wasm(init) => {
            if let Some(life) = life {
                init.live_with(life.clone());
            }
            init.confine(confinement);
            init.run_hooks(start_hooks);
            if has_terminal {
                init.take_terminal();
            }
            if let Some(cwd) = late_cwd {
                init.enter_late(cwd);
            }
            Ok(Box::new(init))
        }
    }
}

/// Does in the container what libcontainer leaves undone. From here on this process is in there.
fn settle(pid: i32, container: &PreparedContainer) -> Result<(), Error> {
    let alone = SingleThreaded::check().map_err(Error::Threads)?;
    let inside = EnteredContainer::of(&alone, pid)?;
    if container.own_network {
        loopback::bring_up(&inside)?;
    }
    bound_dev::put(&inside, container.dev.as_ref())?;
    cgroup_mount::make(&inside, &container.cgroups)?;
    copy_up::run(&inside, &container.filled)?;
    if container.mount_flags.is_empty() && container.propagation.is_empty() {
        return Ok(());
    }
    inside
        .enter_mounts()
        .map_err(|source| Error::EnterMounts { init: pid, source })?;
    mount_flags::set(&container.mount_flags)?;
    Ok(propagation::set(&container.propagation)?)
}

/// Tells a guest's process of its cgroup's limits. Without them the kernel's still hold.
fn tell_limits(channel: &LimitChannel, pid: i32) {
    let told = MemoryFiles::of_process(pid).map(|sources| {
        let procfs = File::open("/proc")?;
        sources.send(channel, &procfs, pid)
    });
    match told {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("the guest hears nothing of its memory limit: {error}"),
        Err(error) => log::warn!("{}", medley_types::sentence(&error)),
    }
}

/// Gives descriptors the numbers by which the spec names them.
fn number(fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, Error> {
    let dup = |(number, fd): (u32, OwnedFd)| {
        let requested = i32::try_from(number).map_err(std::io::Error::other)?;
        let given = rustix::io::fcntl_dupfd_cloexec(&fd, requested)?;
        if std::os::fd::AsRawFd::as_raw_fd(&given) == requested {
            Ok(given)
        } else {
            Err(std::io::Error::other(format!(
                "descriptor {requested} is in use"
            )))
        }
    };
    (FIRST_NAMESPACE..)
        .zip(fds)
        .map(dup)
        .collect::<Result<_, _>>()
        .map_err(Error::Namespaces)
}
