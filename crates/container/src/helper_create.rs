//! In the helper: libcontainer makes the container, and the helper's clone becomes its init.

use std::fs::File;
use std::os::fd::OwnedFd;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::thread::Gid;

use crate::helper::Engines;
use crate::helper_code::{self, Loaded, Work};
use crate::helper_log;
use crate::protocol::{CREATE_FDS, CreateOrder, FIRST_NAMESPACE, Reply};

/// Why the container could not be made, where libcontainer does not say it itself.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the helper got {got} descriptors instead of {CREATE_FDS}")]
    Descriptors { got: usize },
    #[error(transparent)]
    Code(#[from] helper_code::Error),
    #[error("cannot make the folder {} for libcontainer's state", path.display())]
    State {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Libcontainer(#[from] libcontainer::error::LibcontainerError),
    #[error("cannot set the supplementary groups")]
    Groups(#[source] std::io::Error),
    #[error("cannot hold the namespaces of the pod")]
    Namespaces(#[source] std::io::Error),
    #[error("init has no pid")]
    NoPid,
}

/// Makes the container.
pub(crate) fn run(order: CreateOrder, fds: Vec<OwnedFd>, engines: Engines) -> Reply {
    if let Err(error) = helper_log::start(order.debug) {
        return Reply::Failed {
            reason: format!("the helper cannot log: {error}"),
        };
    }
    match create(order, fds, engines) {
        Ok(reply) => reply,
        Err(error) => Reply::Failed {
            reason: medley_task::error::sentence(&error),
        },
    }
}

fn create(order: CreateOrder, fds: Vec<OwnedFd>, engines: Engines) -> Result<Reply, Error> {
    // Before the root changes: libcontainer looks the user's home up, and a guest hosts.
    medley_sys::names::look_up_without_plugins();
    let got = fds.len();
    let mut fds = fds.into_iter();
    let (Some(stdin), Some(stdout), Some(stderr), Some(status)) =
        (fds.next(), fds.next(), fds.next(), fds.next())
    else {
        return Err(Error::Descriptors { got });
    };
    let status = File::from(status);
    // Held until init, a clone of this process, has entered them.
    let _namespaces = number(fds.by_ref().take(order.namespaces))?;
    let init = match helper_code::load(order.program, fds.next(), status, engines)? {
        Loaded::Ready(work) => work,
        Loaded::Not(reply) => return Ok(reply),
    };
    // Init inherits them; those of whoever started containerd are not the container's.
    let groups: Vec<Gid> = order.groups.iter().copied().map(Gid::from_raw).collect();
    rustix::thread::set_thread_groups(&groups).map_err(|errno| Error::Groups(errno.into()))?;
    std::fs::create_dir_all(&order.state).map_err(|source| Error::State {
        path: order.state.clone(),
        source,
    })?;
    let builder = ContainerBuilder::new(order.id, SyscallType::default())
        .with_root_path(order.state)?
        .with_stdin(stdin)
        .with_stdout(stdout)
        .with_stderr(stderr);
    let builder = match init {
        Work::Linux(init) => builder.with_executor(init),
        Work::Wasm(init) => builder.with_executor(init),
    };
    let container = builder
        .validate_id()?
        .as_init(order.bundle)
        .with_systemd(order.systemd)
        .with_no_pivot(order.no_pivot_root)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or(Error::NoPid)?;
    Ok(Reply::Created { pid: pid.as_raw() })
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
