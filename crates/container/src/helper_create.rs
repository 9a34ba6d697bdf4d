//! In the helper: libcontainer makes the container, and the helper's clone becomes its init.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use medley_engine::{Engine, Entry, Form, Unfit};
use medley_image::{Cache, Key};
use rustix::thread::Gid;

use crate::helper::Engines;
use crate::helper_log;
use crate::init_linux::LinuxInit;
use crate::init_wasm::WasmInit;
use crate::protocol::{CREATE_FDS, Code, CreateOrder, Program, Reply};

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
    #[error("the engine does not work on this machine: {reason}")]
    Fingerprint { reason: String },
    #[error(transparent)]
    Cache(#[from] medley_image::cache::Error),
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
    let init = match order.program {
        Program::Linux { path } => Init::Linux(LinuxInit::new(path, status)),
        Program::Wasm {
            engine,
            entry,
            code,
            preopens,
            argv_start,
        } => {
            let file = File::from(fds.next().ok_or(Error::NoCode)?);
            let engine = engines(engine).ok_or(Error::NoEngine { engine })?;
            // Before the clone: init wakes up with everything mapped and linked.
            let program = match code {
                Code::Given { form } => engine.load(file, form, &entry)?,
                Code::Cached { cache, form } => match cached(engine, &cache, &file, form, &entry) {
                    Ok(Cached::Found(program)) => program,
                    Ok(Cached::Missing { fingerprint }) => {
                        return Ok(Reply::NotCached { fingerprint });
                    }
                    Err(Error::Unfit(unfit)) => return Err(unfit.into()),
                    Err(error) => {
                        return Ok(Reply::NoCache {
                            reason: medley_task::error::sentence(&error),
                        });
                    }
                },
            };
            Init::Wasm(WasmInit::new(program, entry, preopens, argv_start, status))
        }
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
        Init::Linux(init) => builder.with_executor(init),
        Init::Wasm(init) => builder.with_executor(init),
    };
    let container = builder
        .validate_id()?
        .as_init(order.bundle)
        .with_systemd(order.systemd)
        .with_detach(true)
        .build()?;
    let pid = container.pid().ok_or(Error::NoPid)?;
    Ok(Reply::Created { pid: pid.as_raw() })
}

/// What init is going to do.
enum Init {
    Linux(LinuxInit),
    Wasm(WasmInit),
}

/// What the cache has for a module.
enum Cached {
    Found(Box<dyn medley_engine::Program>),
    Missing { fingerprint: String },
}

/// Looks for a module's native code. An entry that the engine does not take is forgotten.
fn cached(
    engine: &dyn Engine,
    folder: &Path,
    module: &File,
    form: Form,
    entry: &Entry,
) -> Result<Cached, Error> {
    let fingerprint = engine
        .fingerprint()
        .map_err(|reason| Error::Fingerprint { reason })?;
    let key = Key::new(module, engine.name(), &fingerprint)?;
    let cache = Cache::open(folder, medley_image::cache::DEFAULT_LIMIT)?;
    let Some(code) = cache.find(&key)? else {
        return Ok(Cached::Missing { fingerprint });
    };
    match engine.load(code, form, entry) {
        Ok(program) => Ok(Cached::Found(program)),
        Err(Unfit::Engine { reason, .. }) => {
            log::warn!(
                "the cached code of {} does not fit: {reason}",
                entry.path.display()
            );
            cache.forget(&key);
            Ok(Cached::Missing { fingerprint })
        }
        Err(unfit) => Err(unfit.into()),
    }
}
