//! In the helper: libcontainer makes the container, and the helper's clone becomes its init.

use std::fs::File;
use std::os::fd::OwnedFd;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::thread::Gid;

use crate::helper::Engines;
use crate::helper_log;
use crate::init_linux::LinuxInit;
use crate::init_wasm::WasmInit;
use crate::protocol::{CREATE_FDS, CreateOrder, Program, Reply};

/// Why the container could not be made, where libcontainer does not say it itself.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the helper got {got} descriptors instead of {CREATE_FDS}")]
    Descriptors { got: usize },
    #[error("the helper got no native code for a wasm container")]
    NoCode,
    #[error("the engine {engine} is not built in")]
    NoEngine { engine: medley_dispatch::EngineKind },
    #[error(transparent)]
    Unfit(#[from] medley_engine::Unfit),
    #[error("cannot make the folder {} for libcontainer's state", path.display())]
    State {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Libcontainer(#[from] libcontainer::error::LibcontainerError),
    #[error("cannot set the supplementary groups")]
    Groups(#[source] std::io::Error),
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
        Ok(pid) => Reply::Created { pid },
        Err(error) => Reply::Failed {
            reason: medley_task::error::sentence(&error),
        },
    }
}

fn create(order: CreateOrder, fds: Vec<OwnedFd>, engines: Engines) -> Result<i32, Error> {
    let got = fds.len();
    let mut fds = fds.into_iter();
    let (Some(stdin), Some(stdout), Some(stderr), Some(status)) =
        (fds.next(), fds.next(), fds.next(), fds.next())
    else {
        return Err(Error::Descriptors { got });
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
    let status = File::from(status);
    let builder = match order.program {
        Program::Linux { path } => builder.with_executor(LinuxInit::new(path, status)),
        Program::Wasm {
            engine,
            entry,
            form,
            preopens,
            argv_start,
        } => {
            let code = File::from(fds.next().ok_or(Error::NoCode)?);
            let engine = engines(engine).ok_or(Error::NoEngine { engine })?;
            // Before the clone: init wakes up with everything mapped and linked.
            let program = engine.load(code, form, &entry)?;
            builder.with_executor(WasmInit::new(program, entry, preopens, argv_start, status))
        }
    };
    let container = builder
        .validate_id()?
        .as_init(order.bundle)
        .with_systemd(order.systemd)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or(Error::NoPid)?;
    Ok(pid.as_raw())
}
