//! WasmEdge's errors in Medley's words.

use medley_engine::{Entry, ModuleError};

/// The engine's name in annotations and messages.
pub(crate) const NAME: &str = "wasmedge";

/// A component is for another engine.
pub(crate) fn component_refused(entry: &Entry) -> ModuleError {
    engine_error(entry, "it is a component; components need wasmtime")
}

/// What WasmEdge says, for an error that no other variant covers.
pub(crate) fn engine_error(entry: &Entry, reason: &str) -> ModuleError {
    ModuleError::Engine {
        path: entry.path.clone(),
        engine: NAME,
        reason: reason.to_owned(),
    }
}
