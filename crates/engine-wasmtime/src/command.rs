//! Components of the world `wasi:cli/command`: WASI 0.2.

use std::path::PathBuf;

use medley_engine::{Ended, Entry, Guest, Program, Unfit};
use wasmtime::component::{
    Component, ComponentExportIndex, InstancePre, Linker, ResourceTable, Val, types,
};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

use crate::limiter::Limiter;
use crate::{NAME, unfit, world};

/// What a command exports, of any 0.2 version.
const RUN: &str = "wasi:cli/run";

/// What the engine keeps for one component.
pub(crate) struct Host {
    context: WasiCtx,
    table: ResourceTable,
    limiter: Limiter,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

/// A component with its imports found.
pub(crate) struct LinkedCommand {
    entry: Callable,
    path: PathBuf,
}

enum Callable {
    Command(CommandPre<Host>),
    Export(InstancePre<Host>, ComponentExportIndex),
}

impl LinkedCommand {
    pub(crate) fn new(
        engine: &Engine,
        component: &Component,
        entry: &Entry,
    ) -> Result<Self, Unfit> {
        let linker = linker(engine).map_err(|error| unfit(entry, &error))?;
        if let Some(import) = unknown_import(engine, &linker, component) {
            return Err(Unfit::UnknownImport {
                path: entry.path.clone(),
                import,
                engine: NAME,
            });
        }
        let instance = linker
            .instantiate_pre(component)
            .map_err(|error| unfit(entry, &error))?;
        let callable = match &entry.export {
            None => Callable::Command(command(engine, component, instance, entry)?),
            Some(name) => {
                let index = export(engine, component, entry, name)?;
                Callable::Export(instance, index)
            }
        };
        Ok(Self {
            entry: callable,
            path: entry.path.clone(),
        })
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

/// The first import that nothing provides. Wasmtime's own message names the import too, in a
/// sentence about its linker.
fn unknown_import(engine: &Engine, linker: &Linker<Host>, component: &Component) -> Option<String> {
    linker.instantiate_pre(component).err()?;
    let ty = component.component_type();
    ty.imports(engine)
        .map(|(name, _)| name.to_owned())
        .find(|name| !PROVIDED.iter().any(|provided| name.starts_with(provided)))
}

/// The packages of WASI 0.2 that the linker has; what else a component imports is unknown.
const PROVIDED: &[&str] = &[
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
    "wasi:sockets/",
];

fn command(
    engine: &Engine,
    component: &Component,
    instance: InstancePre<Host>,
    entry: &Entry,
) -> Result<CommandPre<Host>, Unfit> {
    let exports = exports(engine, component);
    if !exports.iter().any(|name| name.starts_with(RUN)) {
        return Err(Unfit::NoExport {
            path: entry.path.clone(),
            wanted: RUN.to_owned(),
            exports,
        });
    }
    CommandPre::new(instance).map_err(|error| unfit(entry, &error))
}

fn export(
    engine: &Engine,
    component: &Component,
    entry: &Entry,
    name: &str,
) -> Result<ComponentExportIndex, Unfit> {
    match component.get_export(None, name) {
        Some((types::ComponentItem::ComponentFunc(function), index)) => {
            if function.params().len() == 0 {
                Ok(index)
            } else {
                Err(Unfit::Parameters {
                    path: entry.path.clone(),
                    export: name.to_owned(),
                })
            }
        }
        _ => Err(Unfit::NoExport {
            path: entry.path.clone(),
            wanted: name.to_owned(),
            exports: exports(engine, component),
        }),
    }
}

fn exports(engine: &Engine, component: &Component) -> Vec<String> {
    component
        .component_type()
        .exports(engine)
        .map(|(name, _)| name.to_owned())
        .collect()
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
        let host = Host {
            context,
            table: ResourceTable::new(),
            limiter: Limiter::new(&guest.memory),
        };
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
                Callable::Export(instance, index) => {
                    let mut store = store(instance.component().engine(), host);
                    let instance = instance.instantiate_async(&mut store).await;
                    let instance = match instance {
                        Ok(instance) => instance,
                        Err(error) => return instantiation_failed(&store, error, started),
                    };
                    started();
                    Ok(call(&mut store, &instance, index).await)
                }
            }
        });
        match result {
            Ok(result) => world::ended(&self.path, result),
            Err(NotStarted(ended)) => ended,
        }
    }
}

/// A store whose guest is held to its limits.
fn store(engine: &Engine, host: Host) -> Store<Host> {
    let mut store = Store::new(engine, host);
    store.limiter(|host| &mut host.limiter);
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
        Err(NotStarted(world::not_started(
            &error,
            &store.data().limiter,
        )))
    }
}

async fn call(
    store: &mut Store<Host>,
    instance: &wasmtime::component::Instance,
    index: &ComponentExportIndex,
) -> wasmtime::Result<()> {
    let Some(function) = instance.get_func(&mut *store, index) else {
        return Ok(());
    };
    let mut results = vec![Val::Bool(false); function.ty(&*store).results().len()];
    function.call_async(&mut *store, &[], &mut results).await?;
    match results.first() {
        Some(Val::Result(Err(_))) => Err(I32Exit(1).into()),
        _ => Ok(()),
    }
}
