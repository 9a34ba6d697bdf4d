//! Components of the world `wasi:cli/command`, and single functions of any component: WASI 0.2.

use std::path::PathBuf;

use medley_engine::call::say;
use medley_engine::{Ended, Entry, Guest, Program, Unfit};
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Val, types};
use wasmtime::{Engine, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

use crate::host::{Host, Limits, Shared};
use crate::limiter::Limiter;
use crate::values::{self, Printed};
use crate::{component, unfit, world};

/// What a command exports, of any 0.2 version.
const RUN: &str = "wasi:cli/run";

/// A component with its imports found.
pub(crate) struct LinkedCommand {
    entry: Callable,
    path: PathBuf,
}

enum Callable {
    Command(CommandPre<Host>),
    Export {
        instance: InstancePre<Host>,
        index: ComponentExportIndex,
        name: String,
    },
}

impl LinkedCommand {
    pub(crate) fn new(
        engine: &Engine,
        component: &Component,
        instance: InstancePre<Host>,
        entry: &Entry,
    ) -> Result<Self, Unfit> {
        let exports = component::exports(engine, component);
        let wanted = entry.export.as_deref();
        let callable = match wanted {
            Some(name) if !component::is(RUN, name) => Callable::Export {
                index: export(engine, component, entry, name)?,
                name: name.to_owned(),
                instance,
            },
            _ if exports.iter().any(|name| component::is(name, RUN)) => {
                let command = CommandPre::new(instance);
                Callable::Command(command.map_err(|error| {
                    let mut names = exports.iter();
                    names
                        .find_map(|name| component::other_version(name, entry))
                        .unwrap_or_else(|| unfit(entry, &error))
                })?)
            }
            _ => {
                return Err(Unfit::NoExport {
                    path: entry.path.clone(),
                    wanted: RUN.to_owned(),
                    exports,
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
    engine: &Engine,
    component: &Component,
    entry: &Entry,
    name: &str,
) -> Result<ComponentExportIndex, Unfit> {
    match component.get_export(None, name) {
        Some((types::ComponentItem::ComponentFunc(function), index)) => {
            for (parameter, ty) in function.params() {
                values::check_component(&ty).map_err(|reason| Unfit::Signature {
                    path: entry.path.clone(),
                    export: name.to_owned(),
                    reason: format!("its parameter {parameter} is {reason}"),
                })?;
            }
            Ok(index)
        }
        _ => Err(Unfit::NoExport {
            path: entry.path.clone(),
            wanted: name.to_owned(),
            exports: component::exports(engine, component),
        }),
    }
}

impl Program for LinkedCommand {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> Ended {
        let context = match world::builder(guest) {
            Ok(mut builder) => builder.build(),
            Err(error) => return Ended::NotStarted(error.to_string()),
        };
        let runtime = match world::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return Ended::NotStarted(error.to_string()),
        };
        let limits = Limits::Alone(Limiter::new(&guest.memory));
        let host = Host::new(context, Shared::new(&guest.env), limits);
        let result = runtime.block_on(async {
            match &self.entry {
                Callable::Command(command) => {
                    let mut store = store(command.engine(), host);
                    let command = command.instantiate_async(&mut store).await;
                    let command = match command {
                        Ok(command) => command,
                        Err(error) => return instantiation_failed(&store, error, started),
                    };
                    started();
                    let result = command.wasi_cli_run().call_run(&mut store).await;
                    Ok(result.and_then(|code| code.map_err(|()| I32Exit(1).into())))
                }
                Callable::Export {
                    instance,
                    index,
                    name,
                } => {
                    let mut store = store(instance.component().engine(), host);
                    let instance = instance.instantiate_async(&mut store).await;
                    let instance = match instance {
                        Ok(instance) => instance,
                        Err(error) => return instantiation_failed(&store, error, started),
                    };
                    let Some(function) = instance.get_func(&mut store, index) else {
                        return Ok(Ok(()));
                    };
                    let ty = function.ty(&store);
                    let parameters: Vec<_> = ty.params().collect();
                    let arguments = values::component_arguments(&parameters, &guest.args).map_err(
                        |reason| NotStarted(Ended::NotStarted(format!("{name} {reason}"))),
                    )?;
                    started();
                    Ok(call(&mut store, function, &arguments).await)
                }
            }
        });
        match result {
            Ok(result) => world::ended(&self.path, result),
            Err(NotStarted(ended)) => ended,
        }
    }
}

/// A store for one guest, which nobody else waits for, held to its limits.
fn store(engine: &Engine, host: Host) -> Store<Host> {
    let mut store = Store::new(engine, host);
    store.limiter(Host::limiter);
    // A server's function that is called alone: its engine's epoch never advances.
    store.set_epoch_deadline(u64::MAX / 2);
    store
}

/// An instance that could not be made.
struct NotStarted(Ended);

/// A guest whose start functions trapped or exited has run; any other has not.
fn instantiation_failed(
    store: &Store<Host>,
    error: wasmtime::Error,
    started: &mut dyn FnMut(),
) -> Result<wasmtime::Result<()>, NotStarted> {
    if error.is::<wasmtime::Trap>() || error.is::<I32Exit>() {
        started();
        Ok(Err(error))
    } else {
        Err(NotStarted(store.data().not_started(&error)))
    }
}

async fn call(
    store: &mut Store<Host>,
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
            Printed::Value(text) => say(&std::io::stdout(), &text),
            Printed::Failure(text) => {
                if let Some(text) = text {
                    say(&std::io::stderr(), &text);
                }
                return Err(I32Exit(1).into());
            }
        }
    }
    Ok(())
}
