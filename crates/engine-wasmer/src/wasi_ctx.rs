//! A guest's arguments, environment, preopens and network, as WASIX takes them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use medley_engine::Guest;
use tokio::runtime::Handle;
use wasmer::{Engine, RuntimeError, Store};
use wasmer_wasix::runtime::TaintReason;
use wasmer_wasix::runtime::module_cache::{self, ModuleCache};
use wasmer_wasix::runtime::resolver::{MultiSource, Source};
use wasmer_wasix::runtime::task_manager::tokio::TokioTaskManager;
use wasmer_wasix::virtual_fs::MountFileSystem;
use wasmer_wasix::virtual_net::{DynVirtualNetworking, UnsupportedVirtualNetworking};
use wasmer_wasix::{
    FsError, LocalNetworking, Runtime, VirtualTaskManager, WasiEnv, WasiEnvBuilder,
};

use crate::error::chain;
use crate::files::Files;

/// What the guest reads as its working directory. WASI preview 1 has none of its own; Go and
/// others read this variable.
const PWD: &str = "PWD";

/// The dir that the paths of a guest begin at.
const ROOT: &str = "/";

/// What WASIX works with: threads, sockets, and modules that a guest starts or loads. Nothing is
/// fetched from anywhere.
#[derive(Debug)]
pub(crate) struct Services {
    tasks: Arc<dyn VirtualTaskManager>,
    networking: DynVirtualNetworking,
    source: Arc<dyn Source + Send + Sync>,
    modules: Arc<dyn ModuleCache + Send + Sync>,
    engine: Engine,
    trap: OnceLock<RuntimeError>,
}

impl Services {
    pub(crate) fn new(engine: &Engine, handle: &Handle, networking: DynVirtualNetworking) -> Self {
        Self {
            tasks: Arc::new(TokioTaskManager::new(handle.clone())),
            networking,
            source: Arc::new(MultiSource::default()),
            modules: Arc::new(module_cache::in_memory()),
            engine: engine.clone(),
            trap: OnceLock::new(),
        }
    }

    /// The first trap of a guest's threads and of those that it started. WASIX ends a process that
    /// traps with a code that a program may have, too.
    pub(crate) fn trap(&self) -> Option<&RuntimeError> {
        self.trap.get()
    }
}

impl Runtime for Services {
    fn networking(&self) -> &DynVirtualNetworking {
        &self.networking
    }

    fn task_manager(&self) -> &Arc<dyn VirtualTaskManager> {
        &self.tasks
    }

    fn module_cache(&self) -> Arc<dyn ModuleCache + Send + Sync> {
        Arc::clone(&self.modules)
    }

    fn source(&self) -> Arc<dyn Source + Send + Sync> {
        Arc::clone(&self.source)
    }

    fn engine(&self) -> Engine {
        self.engine.clone()
    }

    fn new_store(&self) -> Store {
        Store::new(self.engine.clone())
    }

    fn on_taint(&self, reason: TaintReason) {
        if let TaintReason::RuntimeError(error) = reason {
            self.trap.set(error).ok();
        }
    }
}

/// For those who only ask what there is.
pub(crate) fn no_network() -> DynVirtualNetworking {
    Arc::new(UnsupportedVirtualNetworking::default())
}

/// The pod's.
pub(crate) fn network() -> DynVirtualNetworking {
    Arc::new(LocalNetworking::new())
}

/// A builder with all that `guest` names. Preopens that are not there are left out.
///
/// Must be called within the runtime that `handle` is of.
pub(crate) fn builder(guest: &Guest, handle: &Handle) -> Result<WasiEnvBuilder, String> {
    let (program, args) = match guest.args.split_first() {
        Some((program, args)) => (program.as_str(), args),
        None => ("", &[][..]),
    };
    let mut builder = WasiEnv::builder(program)
        .args(args)
        .envs(guest.env.iter().map(|(name, value)| (name, value)))
        .sandbox_fs(files(handle)?)
        // Programs of Wasmer's, which no image has asked for.
        .disable_default_builtins(true);
    if !guest.env.iter().any(|(name, _)| name == PWD) {
        builder.add_env(PWD, &guest.cwd);
    }
    // One that cannot be read can be the working directory of a Linux program, and of no guest.
    if std::fs::read_dir(&guest.cwd).is_ok() {
        builder.set_current_dir(&guest.cwd);
    }
    for (number, preopen) in guest.preopens.iter().enumerate() {
        // WASIX takes no two of the same name.
        let mut later = guest.preopens.iter().skip(number + 1);
        if later.any(|other| other.name == preopen.name) || !Path::new(&preopen.path).is_dir() {
            continue;
        }
        // What is read-only is so by its mount, which refuses each change. Of a dir without the
        // right to write, WASIX tells some that they were made.
        let added = builder.add_preopen_build(|it| {
            it.directory(&preopen.path)
                .read(true)
                .write(true)
                .create(true);
            // Of a name it cuts off what a path begins with.
            if preopen.name != preopen.path {
                it.alias(&preopen.name);
            }
            it
        });
        added.map_err(|error| chain(&error))?;
    }
    Ok(builder)
}

/// The container's root file system, as it is.
fn files(handle: &Handle) -> Result<MountFileSystem, String> {
    let failed = |error: FsError| format!("cannot open {ROOT}: {}", chain(&error));
    let root = Files::new(handle, ROOT).map_err(failed)?;
    let files = MountFileSystem::new();
    files.mount(ROOT, Arc::new(root)).map_err(failed)?;
    Ok(files)
}
