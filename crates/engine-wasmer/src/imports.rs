//! What a module imports, and whether there is such a thing.

use std::io;
use std::sync::Arc;

use medley_engine::invoke::START;
use medley_engine::{Entry, ModuleError};
use wasmer::{Engine, ExternType, Imports, MemoryType, Module, Store};
use wasmer_wasix::{WasiEnv, WasiRuntimeError};

use crate::error::{NAME, chain, engine_error};
use crate::{exports, wasi_ctx};

/// The section of a module that brings others along, of which its imports may come. They are found
/// at its start.
const DYNAMIC: &str = "dylink.0";

/// The memory that WASIX makes for a module with threads.
const MEMORY: (&str, &str) = ("env", "memory");

/// Whether it takes no part in WASIX, which works through a guest's memory.
pub(crate) fn stands_alone(module: &Module) -> bool {
    let memories = module.exports().memories().next().is_some();
    !memories && module.imports().next().is_none()
}

/// Checks that there is everything that the module imports.
pub(crate) fn check(engine: &Engine, module: &Module, entry: &Entry) -> Result<(), ModuleError> {
    if stands_alone(module) || module.custom_sections(DYNAMIC).next().is_some() {
        return Ok(());
    }
    let mut store = Store::new(engine.clone());
    let there = provided(engine, module, &mut store).map_err(|error| {
        engine_error(entry, format!("it cannot tell what it provides: {error}"))
    })?;
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        // For a command it makes one that threads share, and no other.
        let makes = |memory: &MemoryType| memory.shared || exports::requested(entry) != START;
        if (from, name) == MEMORY && matches!(import.ty(), ExternType::Memory(ty) if makes(ty)) {
            continue;
        }
        let import_shown = format!("{from}::{name}");
        let Some(found) = there.get_export(from, name) else {
            return Err(ModuleError::UnknownImport {
                path: entry.path.clone(),
                import: import_shown,
                engine: NAME,
            });
        };
        if found.ty(&store) != *import.ty() {
            return Err(ModuleError::ImportSignature {
                path: entry.path.clone(),
                import: import_shown,
                engine: NAME,
            });
        }
    }
    let mut memories = module.imports().memories();
    if memories.next().is_none() && module.exports().memories().next().is_none() {
        let reason = "it uses WASI and exports no memory for it: export it as \"memory\"";
        return Err(engine_error(entry, reason));
    }
    Ok(())
}

/// All of every version of WASI and WASIX that the module names, in a world without anything.
fn provided(engine: &Engine, module: &Module, store: &mut Store) -> Result<Imports, String> {
    // Without drivers: nothing is going to happen, and a compiler may not open what these need.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error: io::Error| error.to_string())?;
    let _entered = runtime.enter();
    let services = wasi_ctx::Services::new(engine, runtime.handle(), wasi_ctx::no_network());
    let said = |error: WasiRuntimeError| chain(&error);
    let env = WasiEnv::builder("")
        .runtime(Arc::new(services))
        .finalize(store);
    let env = env.map_err(said)?;
    env.import_object_for_all_wasi_versions(store, module)
        .map_err(|error| error.to_string())
}
