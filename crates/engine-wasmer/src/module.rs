//! A module, loaded, and its run.

use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medley_engine::invoke::{self, INITIALIZE, START};
use medley_engine::{Entry, Guest, GuestExit, ModuleError, Program, TrustedCode};
use tokio::runtime::Runtime;
use wasmer::{
    AsStoreMut, Engine, Imports, Instance, InstantiationError, Module, RuntimeError, Store, Value,
};
use wasmer_wasix::bin_factory::run_exec;
use wasmer_wasix::runtime::task_manager::TaskWasm;
use wasmer_wasix::wasmer_wasix_types::wasi::ExitCode;
use wasmer_wasix::{
    VirtualTaskManager as _, WasiEnvBuilder, WasiError, WasiRuntimeError, WasiThreadError,
};

use crate::error::{chain, engine_error};
use crate::memory::{self, Refusal};
use crate::wasi_ctx::{self, Services};
use crate::{config, exports, imports, values};

/// What WASIX ends a process with of which a thread trapped: the first thread, and any other.
const TRAPPED: [i32; 2] = [45, 129];

/// A module that can be run.
pub(crate) struct LoadedModule {
    engine: Engine,
    module: Module,
    path: PathBuf,
    export: String,
    parameters: Vec<invoke::ValueType>,
}

impl LoadedModule {
    /// Maps what `compile` made, and makes code of it.
    pub(crate) fn load(code: &TrustedCode, entry: &Entry) -> Result<Self, ModuleError> {
        let engine = config::engine();
        // It is mapped by path only. The helper still has the host's /proc.
        let path = format!("/proc/self/fd/{}", code.file().as_raw_fd());
        // SAFETY: by its type, `compile` of this program made the code, and nothing changes it while
        // it is mapped.
        let module = unsafe { Module::deserialize_from_file_unchecked(&engine, path) };
        let module = module.map_err(|error| engine_error(entry, chain(&error)))?;
        Ok(Self {
            parameters: exports::check(&module, entry)?,
            engine,
            module,
            path: entry.path.clone(),
            export: exports::requested(entry).to_owned(),
        })
    }

    /// Runs a guest that WASIX has no part in.
    fn alone(
        &self,
        engine: Engine,
        refused: &Refusal,
        arguments: &[invoke::Value],
        started: &mut dyn FnMut(),
    ) -> GuestExit {
        let mut store = Store::new(engine);
        let instance = match Instance::new(&mut store, &self.module, &Imports::new()) {
            Ok(instance) => instance,
            Err(error) => return self.not_instantiated(&error, refused, started),
        };
        started();
        if self.export != START
            && self.export != INITIALIZE
            && let Ok(initialize) = instance.exports.get_function(INITIALIZE)
            && let Err(error) = initialize.call(&mut store, &[])
        {
            return ended(&self.path, &error);
        }
        self.call(&mut store, &instance, arguments)
    }

    /// Runs a command of WASIX to its end, as Wasmer does: in a thread of its own, with what it
    /// needs to fork and to switch contexts.
    fn command(
        &self,
        builder: WasiEnvBuilder,
        services: &Services,
        runtime: &Runtime,
        refused: &Refusal,
        started: &mut dyn FnMut(),
    ) -> GuestExit {
        let env = match builder.build() {
            Ok(env) => env,
            Err(error) => return GuestExit::NotStarted(chain(&error)),
        };
        let tasks = env.tasks().clone();
        let mut process = env.thread.join_handle();
        // Its constructor is `run_exec`'s to call.
        let task = TaskWasm::new(Box::new(run_exec), env, self.module.clone(), true, false);
        // Comes back when it is instantiated, and about to run.
        if let Err(error) = tasks.task_wasm(task) {
            return self.not_linked(&error, refused, started);
        }
        started();
        let finished = runtime.block_on(process.wait_finished());
        let code = finished.map_or_else(|error| error.as_exit_code().ok_or(error), Ok);
        // Of a trap, the backtrace is on stderr already.
        match (code, services.trap()) {
            (Ok(code), Some(trap)) if TRAPPED.contains(&code.raw()) => {
                trapped(&self.path, &trap.message())
            }
            (Ok(code), _) => exited(code),
            (Err(error), _) => match error.as_ref() {
                WasiRuntimeError::Runtime(error) => ended(&self.path, error),
                error => trapped(&self.path, &chain(error)),
            },
        }
    }

    /// Calls a function of a module of WASIX by name.
    fn function(
        &self,
        builder: WasiEnvBuilder,
        services: &Services,
        engine: Engine,
        refused: &Refusal,
        arguments: &[invoke::Value],
        started: &mut dyn FnMut(),
    ) -> GuestExit {
        let mut store = Store::new(engine);
        // Calls the constructor, too.
        let (instance, env) = match builder.instantiate(self.module.clone(), &mut store) {
            Ok(instantiated) => instantiated,
            Err(WasiRuntimeError::Thread(error)) => {
                return self.not_linked(&error, refused, started);
            }
            Err(error) => return GuestExit::NotStarted(chain(&error)),
        };
        started();
        let ended = if self.export == INITIALIZE {
            GuestExit::Exited(0)
        } else {
            self.call(&mut store, &instance, arguments)
        };
        // Closes the guest's files, which is when the last of what it wrote goes there.
        env.data(&store).blocking_on_exit(Some(ExitCode::from(0)));
        match (ended, services.trap()) {
            (GuestExit::Exited(code), Some(trap)) if TRAPPED.contains(&i32::from(code)) => {
                trapped(&self.path, &trap.message())
            }
            (ended, _) => ended,
        }
    }

    fn call(
        &self,
        store: &mut impl AsStoreMut,
        instance: &Instance,
        arguments: &[invoke::Value],
    ) -> GuestExit {
        let Ok(function) = instance.exports.get_function(&self.export) else {
            return GuestExit::NotStarted(format!("{} is no function", self.export));
        };
        let arguments: Vec<Value> = arguments.iter().map(values::value).collect();
        match function.call(store, &arguments) {
            Ok(results) => {
                for number in results.iter().filter_map(values::number) {
                    invoke::write_line(&std::io::stdout(), &number);
                }
                GuestExit::Exited(0)
            }
            Err(error) => ended(&self.path, &error),
        }
    }

    /// Why there is no instance. A guest whose start section or constructor trapped or exited has
    /// run; any other has not.
    fn not_linked(
        &self,
        error: &WasiThreadError,
        refused: &Refusal,
        started: &mut dyn FnMut(),
    ) -> GuestExit {
        match error {
            WasiThreadError::InstanceCreateFailed(error) => {
                self.not_instantiated(error, refused, started)
            }
            WasiThreadError::InitFailed(error) => match error.downcast_ref::<RuntimeError>() {
                Some(error) => {
                    started();
                    ended(&self.path, error)
                }
                None => GuestExit::NotStarted(format!("its constructor failed: {error:#}")),
            },
            _ => GuestExit::NotStarted(refused.or(|| chain(error))),
        }
    }

    fn not_instantiated(
        &self,
        error: &InstantiationError,
        refused: &Refusal,
        started: &mut dyn FnMut(),
    ) -> GuestExit {
        match error {
            InstantiationError::Start(error) => {
                started();
                ended(&self.path, error)
            }
            _ => GuestExit::NotStarted(refused.or(|| chain(error))),
        }
    }
}

impl Program for LoadedModule {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit {
        let arguments = match invoke::numbers(&self.parameters, &guest.args) {
            Ok(arguments) => arguments,
            Err(reason) => return GuestExit::NotStarted(format!("{} {reason}", self.export)),
        };
        let (engine, refused) = memory::limited(&self.engine, &guest.memory);
        if imports::stands_alone(&self.module) {
            return self.alone(engine, &refused, &arguments, started);
        }
        // One thread for what waits, beside those of the guest.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return GuestExit::NotStarted(error.to_string()),
        };
        let entered = runtime.enter();
        let builder = match wasi_ctx::builder(guest, runtime.handle()) {
            Ok(builder) => builder,
            Err(reason) => return GuestExit::NotStarted(reason),
        };
        let services = Services::new(&engine, runtime.handle(), wasi_ctx::network());
        let services = Arc::new(services);
        let builder = builder.runtime(services.clone());
        let ended = if self.export == START {
            self.command(builder, &services, &runtime, &refused, started)
        } else {
            self.function(builder, &services, engine, &refused, &arguments, started)
        };
        drop(entered);
        // A thread that waits for input would be waited for.
        runtime.shutdown_background();
        ended
    }
}

/// How a guest ended, told from what its call gave.
fn ended(path: &Path, error: &RuntimeError) -> GuestExit {
    match error.downcast_ref::<WasiError>() {
        Some(WasiError::Exit(code)) => exited(*code),
        Some(WasiError::ThreadExit) => GuestExit::Exited(0),
        Some(error) => trapped(path, &chain(error)),
        None => {
            let text = error.to_string();
            trapped(path, text.strip_prefix("RuntimeError: ").unwrap_or(&text))
        }
    }
}

fn exited(code: ExitCode) -> GuestExit {
    // POSIX exit: the low eight bits.
    GuestExit::Exited(code.raw().to_le_bytes()[0])
}

fn trapped(path: &Path, what: &str) -> GuestExit {
    GuestExit::Trapped(format!("{}: wasm trap: {what}", path.display()))
}
