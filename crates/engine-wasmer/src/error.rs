//! Wasmer's errors in Medley's words.

use std::error::Error;

use medley_engine::{Entry, ModuleError};

/// The engine's name in annotations and messages.
pub(crate) const NAME: &str = "wasmer";

/// A component is for another engine.
pub(crate) fn component_refused(entry: &Entry) -> ModuleError {
    engine_error(entry, "it is a component; components need wasmtime")
}

/// What Wasmer says, for an error that no other variant covers.
pub(crate) fn engine_error(entry: &Entry, reason: impl Into<String>) -> ModuleError {
    ModuleError::Engine {
        path: entry.path.clone(),
        engine: NAME,
        reason: reason.into(),
    }
}

/// An error and those of its causes that say more, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
