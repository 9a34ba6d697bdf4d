//! Components of the world `wasi:cli/command`, WASI 0.2 and 0.3, and single functions of any
//! component.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;

use medley_engine::invoke::write_line;
use medley_engine::{Entry, Guest, GuestExit, ModuleError, Program};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Val, types};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{I32Exit, p2, p3};

use crate::error::engine_error;
use crate::limiter::BudgetLimiter;
use crate::store_data::{ProcessShared, StoreData};
use crate::values::{self, Printed};
use crate::wasi_ctx;
use crate::wasi_version::{any_other_version, is, is_of_0_3};

/// What a command exports, of any version that there is.
const RUN: &str = "wasi:cli/run";

/// A component with its imports found.
pub(crate) struct LinkedCommand {
    entry: Callable,
    path: PathBuf,
}

enum Callable {
    Command(p2::bindings::CommandPre<StoreData>),
    /// One of WASI 0.3, with an engine of a concurrent profile.
    Concurrent(p3::bindings::CommandPre<StoreData>),
    Export {
        instance: InstancePre<StoreData>,
        index: ComponentExportIndex,
        name: String,
    },
}

impl LinkedCommand {
    pub(crate) fn new(
        component: &Component,
        instance: InstancePre<StoreData>,
        exports: &[String],
        entry: &Entry,
    ) -> Result<Self, ModuleError> {
        let another = |error: wasmtime::Error| {
            any_other_version(exports, entry).unwrap_or_else(|| engine_error(entry, &error))
        };
        let mut run = exports.iter().filter(|name| is(name, RUN));
        let requested = entry.export.as_deref();
        let callable = match requested {
            Some(name) if !is(RUN, name) => Callable::Export {
                index: export(component, exports, entry, name)?,
                name: name.to_owned(),
                instance,
            },
            _ if run.clone().any(|name| is_of_0_3(name)) => {
                let command = p3::bindings::CommandPre::new(instance);
                Callable::Concurrent(command.map_err(another)?)
            }
            _ if run.next().is_some() => {
                let command = p2::bindings::CommandPre::new(instance);
                Callable::Command(command.map_err(another)?)
            }
            _ => {
                return Err(ModuleError::NoExport {
                    path: entry.path.clone(),
                    requested: RUN.to_owned(),
                    exports: exports.to_vec(),
                });
            }
        };
        Ok(Self {
            entry: callable,
            path: entry.path.clone(),
        })
    }
}

fn export(
    component: &Component,
    exports: &[String],
    entry: &Entry,
    name: &str,
) -> Result<ComponentExportIndex, ModuleError> {
    match component.get_export(None, name) {
        Some((types::ComponentItem::ComponentFunc(function), index)) => {
            for (parameter, ty) in function.params() {
                values::check_component(&ty).map_err(|reason| ModuleError::Signature {
                    path: entry.path.clone(),
                    export: name.to_owned(),
                    reason: format!("its parameter {parameter} is {reason}"),
                })?;
            }
            Ok(index)
        }
        _ => Err(ModuleError::NoExport {
            path: entry.path.clone(),
            requested: name.to_owned(),
            exports: exports.to_vec(),
        }),
    }
}

impl Program for LinkedCommand {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit {
        match ProcessShared::new(guest) {
            Ok(shared) => self.run_with(guest, shared, started),
            Err(error) => GuestExit::NotStarted(error.to_string()),
        }
    }
}

impl LinkedCommand {
    /// Runs it with what is told of it in `shared`.
    pub(crate) fn run_with(
        &self,
        guest: &Guest,
        shared: Arc<ProcessShared>,
        started: &mut dyn FnMut(),
    ) -> GuestExit {
        let context = match wasi_ctx::builder_with(guest, shared.open_dir()) {
            Ok(mut builder) => {
                shared.network(&mut builder);
                builder.build()
            }
            Err(error) => return GuestExit::NotStarted(error.to_string()),
        };
        let runtime = match wasi_ctx::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return GuestExit::NotStarted(error.to_string()),
        };
        let limiter = BudgetLimiter::new(&guest.memory);
        let host = StoreData::new(context, shared, limiter);
        let result = runtime.block_on(async {
            match &self.entry {
                Callable::Command(command) => {
                    let mut store = store(command.engine(), host);
                    let command = command.instantiate_async(&mut store).await;
                    let command = made(command, &store, started)?;
                    started();
                    let result = command.wasi_cli_run().call_run(&mut store).await;
                    Ok(of_run(result))
                }
                Callable::Concurrent(command) => {
                    let mut store = store(command.engine(), host);
                    let command = command.instantiate_async(&mut store).await;
                    let command = made(command, &store, started)?;
                    started();
                    let result = store.run_concurrent(async |accessor| {
                        let result = command.wasi_cli_run().call_run(accessor).await?;
                        // Its exit code is said; what it still does is part of it.
                        poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                        Ok(result)
                    });
                    Ok(of_run(result.await.flatten()))
                }
                Callable::Export {
                    instance,
                    index,
                    name,
                } => {
                    let mut store = store(instance.component().engine(), host);
                    let instance = instance.instantiate_async(&mut store).await;
                    let instance = made(instance, &store, started)?;
                    let Some(function) = instance.get_func(&mut store, index) else {
                        return Ok(Ok(()));
                    };
                    let ty = function.ty(&store);
                    let parameters: Vec<_> = ty.params().collect();
                    let arguments = values::component_arguments(&parameters, &guest.args)
                        .map_err(|reason| GuestExit::NotStarted(format!("{name} {reason}")))
                        .map_err(Failed::NotStarted)?;
                    started();
                    Ok(call(&mut store, function, &arguments).await)
                }
            }
        });
        match result {
            Ok(result) => wasi_ctx::ended(&self.path, result),
            Err(Failed::Trapped(error)) => wasi_ctx::ended(&self.path, Err(error)),
            Err(Failed::NotStarted(ended)) => ended,
        }
    }
}

/// A store for the only guest of this process, held to its limits.
fn store(engine: &Engine, host: StoreData) -> Store<StoreData> {
    let mut store = Store::new(engine, host);
    store.limiter(StoreData::limiter);
    // A server's function that is called alone: its engine's epoch never advances.
    store.set_epoch_deadline(u64::MAX / 2);
    store
}

/// Why there is no instance whose function could be called.
enum Failed {
    /// One of its start functions trapped or exited.
    Trapped(wasmtime::Error),
    NotStarted(GuestExit),
}

/// An instance, if it could be made. A guest whose start functions trapped or exited has run; any
/// other has not.
fn made<T>(
    instance: wasmtime::Result<T>,
    store: &Store<StoreData>,
    started: &mut dyn FnMut(),
) -> Result<T, Failed> {
    instance.map_err(|error| {
        if error.is::<wasmtime::Trap>() || error.is::<I32Exit>() {
            started();
            Failed::Trapped(error)
        } else {
            Failed::NotStarted(store.data().not_started(&error))
        }
    })
}

/// What a command's `run` means: failure is an exit code too.
fn of_run(result: wasmtime::Result<Result<(), ()>>) -> wasmtime::Result<()> {
    result?.map_err(|()| I32Exit(1).into())
}

async fn call(
    store: &mut Store<StoreData>,
    function: wasmtime::component::Func,
    arguments: &[Val],
) -> wasmtime::Result<()> {
    let mut results = vec![Val::Bool(false); function.ty(&*store).results().len()];
    function
        .call_async(&mut *store, arguments, &mut results)
        .await?;
    for result in &results {
        match values::print_component(result) {
            Printed::Nothing => {}
            Printed::Value(text) => write_line(&std::io::stdout(), &text),
            Printed::Failure(text) => {
                if let Some(text) = text {
                    write_line(&std::io::stderr(), &text);
                }
                return Err(I32Exit(1).into());
            }
        }
    }
    Ok(())
}
