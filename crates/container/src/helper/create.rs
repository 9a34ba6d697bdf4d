//! In the helper: libcontainer makes the container, and the helper's clone becomes its init.

use std::fs::File;
use std::os::fd::OwnedFd;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use medley_sys::clone::Alone;
use rustix::process::{Pid, Signal};
use rustix::thread::Gid;

use super::inside::{self, Inside};
use super::{bound_dev, cgroup_mount, copy_up, keyring, log_file, loopback, propagation, sources};
use crate::confinement::{self, Confinement};
use crate::helper::console::{self, ConsoleSocket};
use crate::helper::load_program::{self, Loaded};
use crate::helper::{Answer, Engines};
use crate::init::Work;
use crate::init::lifeline::Life;
use crate::protocol::{CREATE_FDS, CreateOrder, FIRST_NAMESPACE, Reply};

use medley_cgroup::guest_memory_limit::{LimitChannel, MemoryFiles};
use medley_cgroup::without_controller;

/// Why the container could not be made, where libcontainer does not say it itself.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the helper got {got} descriptors instead of {CREATE_FDS}")]
    Descriptors { got: usize },
    #[error(transparent)]
    Code(#[from] load_program::Error),
    #[error("cannot make the folder {} for libcontainer's state", path.display())]
    State {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Libcontainer(#[from] libcontainer::error::LibcontainerError),
    #[error("cannot have a container that was not started hear its signals")]
    Signals(#[source] std::io::Error),
    #[error("cannot keep the inheritable capabilities")]
    Capabilities(#[source] std::io::Error),
    #[error("cannot set the supplementary groups")]
    Groups(#[source] std::io::Error),
    #[error(transparent)]
    Console(#[from] console::Error),
    #[error("cannot tie the container's init to the shim")]
    Life(#[source] std::io::Error),
    #[error("cannot hold the namespaces of the pod")]
    Namespaces(#[source] std::io::Error),
    #[error("init has no pid")]
    NoPid,
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
    Inside(#[from] inside::Error),
    #[error("cannot set the propagation of the container's mounts")]
    Alone(#[source] std::io::Error),
    #[error(transparent)]
    Loopback(#[from] loopback::Error),
    #[error(transparent)]
    Propagation(#[from] propagation::Error),
}

/// What ends a container that was created and not started, besides SIGKILL.
const ENDING: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// Makes the container.
pub(crate) fn run(order: CreateOrder, fds: Vec<OwnedFd>, engines: Engines) -> Answer {
    if let Err(error) = log_file::start(order.debug) {
        let reason = format!("the helper cannot log: {error}");
        return (Reply::Failed { reason }, None);
    }
    match create(order, fds, engines) {
        Ok(answer) => answer,
        Err(error) => {
            let reason = medley_types::sentence(&error);
            (Reply::Failed { reason }, None)
        }
    }
}

fn create(order: CreateOrder, fds: Vec<OwnedFd>, engines: Engines) -> Result<Answer, Error> {
    // The kernel spares pid 1 of a namespace every signal that has no handler, but the container that
    // waits to be started is to be ended by these as any process is. An exec takes handlers away, and
    // a guest's process has others by then.
    for signal in ENDING {
        medley_sys::signals::exit_on_signal(signal.as_raw()).map_err(Error::Signals)?;
    }
    // Before the root changes: libcontainer looks the user's home up, and a guest hosts.
    medley_sys::names::look_up_without_plugins();
    let got = fds.len();
    let mut fds = fds.into_iter();
    let (Some(stdin), Some(stdout), Some(stderr), Some(status), Some(life)) =
        (fds.next(), fds.next(), fds.next(), fds.next(), fds.next())
    else {
        return Err(Error::Descriptors { got });
    };
    let status = File::from(status);
    let life = Life::tie(&life).map_err(Error::Life)?;
    // Held until init, a clone of this process, has entered them.
    let _namespaces = number(fds.by_ref().take(order.namespaces))?;
    let init = match load_program::load(order.program, fds.next(), status, engines)? {
        Loaded::Ready(work) => work,
        Loaded::Not(reply) => return Ok((reply, None)),
    };
    // Init inherits them; those of whoever started containerd are not the container's.
    let groups: Vec<Gid> = order.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups).map_err(|errno| Error::Groups(errno.into()))?;
    std::fs::create_dir_all(&order.state).map_err(|source| Error::State {
        path: order.state.clone(),
        source,
    })?;
    let console = match &order.terminal {
        Some(terminal) => Some((ConsoleSocket::listen(&order.state)?, terminal)),
        None => None,
    };
    medley_sys::child::make_inheritable(order.inheritable).map_err(Error::Capabilities)?;
    sources::make(&order.mapped, &order.nodes)?;
    without_controller::join(order.cgroups_path.as_deref(), &order.id);
    let confinement = Confinement::open(order.labels)?;
    if order.keyring {
        keyring::make(&order.id, confinement.as_ref())?;
    }
    let builder = ContainerBuilder::new(order.id, SyscallType::default())
        .with_root_path(order.state)?
        .with_console_socket(console.as_ref().map(|(socket, _)| socket.path()))
        .with_stdin(stdin)
        .with_stdout(stdout)
        .with_stderr(stderr);
    let channel = init.channel();
    let builder = match init {
        Work::Linux(init) => {
            init.prepare(confinement, order.late_cwd);
            builder.with_executor(init)
        }
        Work::Wasm(init) => {
            init.live_with(life.clone());
            init.confine(confinement);
            if let Some(cwd) = order.late_cwd {
                init.enter_late(cwd);
            }
            builder.with_executor(init)
        }
    };
    let container = builder
        .validate_id()?
        .as_init(order.bundle)
        .with_systemd(order.systemd)
        .with_no_pivot(order.no_pivot_root)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or(Error::NoPid)?.as_raw();
    let tied = life.of(pid).map_err(Error::Life);
    if let Some(channel) = channel {
        tell_limits(&channel, pid);
    }
    // Before this process enters init's mount namespace, where the socket has no path.
    let master = console.map(|(socket, terminal)| socket.receive(terminal));
    let settled = tied.and_then(|()| Ok(master.transpose()?));
    let settled = settled.and_then(|master| {
        let alone = Alone::check().map_err(Error::Alone)?;
        if order.own_network {
            loopback::bring_up(&alone, pid)?;
        }
        let inside = Inside::of(&alone, pid)?;
        bound_dev::put(&inside, order.dev.as_ref())?;
        cgroup_mount::make(&inside, pid, &order.cgroups)?;
        copy_up::run(&inside, pid, &order.filled)?;
        propagation::set(&alone, pid, &order.propagation)?;
        Ok(master)
    });
    match settled {
        Ok(master) => Ok((Reply::Created { pid }, master)),
        Err(error) => {
            // It is nobody's yet, and the shim removes what belongs to it.
            if let Some(pid) = Pid::from_raw(pid)
                && let Err(left) = rustix::process::kill_process(pid, Signal::KILL)
            {
                log::warn!("init, process {pid:?}, is left behind: {left}");
            }
            Err(error)
        }
    }
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
fn number(fds: impl Iterator<Item = OwnedFd>) -> Result<Vec<OwnedFd>, Error> {
    let dup = |(number, fd): (u32, OwnedFd)| {
        let wanted = i32::try_from(number).map_err(std::io::Error::other)?;
        let given = rustix::io::fcntl_dupfd_cloexec(&fd, wanted)?;
        if std::os::fd::AsRawFd::as_raw_fd(&given) == wanted {
            Ok(given)
        } else {
            Err(std::io::Error::other(format!(
                "descriptor {wanted} is in use"
            )))
        }
    };
    (FIRST_NAMESPACE..)
        .zip(fds)
        .map(dup)
        .collect::<Result<_, _>>()
        .map_err(Error::Namespaces)
}
