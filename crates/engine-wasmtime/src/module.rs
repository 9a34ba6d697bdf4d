//! Core modules: WASI preview 1, and 0.

use std::path::PathBuf;

use medley_engine::invoke::{self, INITIALIZE, START};
use medley_engine::{Entry, Guest, GuestExit, ModuleError, Program};
use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p0::wasi_unstable;
use wasmtime_wasi::p1::wasi_snapshot_preview1;

use crate::error::{NAME, engine_error};
use crate::files::Preview1;
use crate::limiter::{BudgetLimiter, StoreLimiter as _};
use crate::{values, wasi_ctx};

/// What came before it: the same but for some numbers and structures.
const PREVIEW_0: &str = "wasi_unstable";

/// What the engine keeps for one module.
struct ModuleData {
    files: Preview1,
    limiter: BudgetLimiter,
}

/// A module with its imports found.
pub(crate) struct LinkedModule {
    instance: InstancePre<ModuleData>,
    path: PathBuf,
    export: String,
}

impl LinkedModule {
    pub(crate) fn new(
        engine: &Engine,
        module: &Module,
        entry: &Entry,
    ) -> Result<Self, ModuleError> {
        let linker = linker(engine, module).map_err(|error| engine_error(entry, &error))?;
        let export = entry.export.clone().unwrap_or_else(|| START.to_owned());
        check_export(module, entry, &export)?;
        let instance = linker.instantiate_pre(module).map_err(|error| {
            match error.downcast_ref::<wasmtime::UnknownImportError>() {
                Some(unknown) => ModuleError::UnknownImport {
                    path: entry.path.clone(),
                    import: format!("{}::{}", unknown.module(), unknown.name()),
                    engine: NAME,
                },
                None => engine_error(entry, &error),
            }
        })?;
        Ok(Self {
            instance,
            path: entry.path.clone(),
            export,
        })
    }
}

/// A linker with all that `module` may import.
fn linker(engine: &Engine, module: &Module) -> wasmtime::Result<Linker<ModuleData>> {
    let mut linker = Linker::new(engine);
    wasi_snapshot_preview1::add_to_linker(&mut linker, |host: &mut ModuleData| &mut host.files)?;
    if module.imports().any(|import| import.module() == PREVIEW_0) {
        wasi_unstable::add_to_linker(&mut linker, |host: &mut ModuleData| &mut host.files)?;
    }
    Ok(linker)
}

fn check_export(module: &Module, entry: &Entry, export: &str) -> Result<(), ModuleError> {
    match module.get_export(export) {
        Some(ExternType::Func(function)) => {
            let parameters: Vec<_> = function.params().map(|ty| values::kind(&ty)).collect();
            let results: Vec<_> = function.results().map(|ty| values::kind(&ty)).collect();
            invoke::check(export, &parameters, &results).map_err(|reason| ModuleError::Signature {
                path: entry.path.clone(),
                export: export.to_owned(),
                reason,
            })
        }
        _ => Err(ModuleError::NoExport {
            path: entry.path.clone(),
            requested: export.to_owned(),
            exports: module
                .exports()
                .filter(|export| matches!(export.ty(), ExternType::Func(_)))
                .map(|export| export.name().to_owned())
                .collect(),
        }),
    }
}

impl Program for LinkedModule {
    fn run(&self, guest: &Guest, started: &mut dyn FnMut()) -> GuestExit {
        let context = match wasi_ctx::builder(guest) {
            Ok(mut builder) => builder.build_p1(),
            Err(error) => return GuestExit::NotStarted(error.to_string()),
        };
        let runtime = match wasi_ctx::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return GuestExit::NotStarted(error.to_string()),
        };
        let host = ModuleData {
            files: Preview1::new(context, guest),
            limiter: BudgetLimiter::new(&guest.memory),
        };
        let mut store = Store::new(self.instance.module().engine(), host);
        store.limiter(|host| &mut host.limiter);
        runtime.block_on(async {
            // A start section runs in here, which is why a trap counts as one.
            let instance = match self.instance.instantiate_async(&mut store).await {
                Ok(instance) => instance,
                Err(error) if error.is::<wasmtime::Trap>() || error.is::<I32Exit>() => {
                    started();
                    return wasi_ctx::ended(&self.path, Err(error));
                }
                Err(error) => return wasi_ctx::not_started(&error, store.data().limiter.refused()),
            };
            let Some(function) = instance.get_func(&mut store, &self.export) else {
                return GuestExit::NotStarted(format!("{} is no function", self.export));
            };
            let ty = function.ty(&store);
            let parameters: Vec<_> = ty.params().map(|ty| values::kind(&ty)).collect();
            let arguments = match values::core_arguments(&parameters, &guest.args) {
                Ok(arguments) => arguments,
                Err(reason) => return GuestExit::NotStarted(format!("{} {reason}", self.export)),
            };
            started();
            let initialize = instance.get_func(&mut store, INITIALIZE);
            if self.export != START
                && self.export != INITIALIZE
                && let Some(initialize) = initialize
                && let Err(error) = initialize.call_async(&mut store, &[], &mut []).await
            {
                return wasi_ctx::ended(&self.path, Err(error));
            }
            let mut results = vec![wasmtime::Val::I32(0); function.ty(&store).results().len()];
            let result = function
                .call_async(&mut store, &arguments, &mut results)
                .await;
            if result.is_ok() {
                for number in results.iter().filter_map(values::number) {
                    invoke::write_line(&std::io::stdout(), &number);
                }
            }
            wasi_ctx::ended(&self.path, result)
        })
    }
}
