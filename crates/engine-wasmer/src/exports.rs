//! What is to be called of a module.

use medley_engine::invoke::{self, START};
use medley_engine::{Entry, ModuleError};
use wasmer::Module;

use crate::values;

/// The function that is to be called of `entry`.
pub(crate) fn requested(entry: &Entry) -> &str {
    entry.export.as_deref().unwrap_or(START)
}

/// Checks that the module exports a function by the name that is to be called, which can be. Gives
/// what it takes.
pub(crate) fn check(module: &Module, entry: &Entry) -> Result<Vec<invoke::ValueType>, ModuleError> {
    let requested = requested(entry);
    let mut functions = module.exports().functions();
    let Some(function) = functions.find(|export| export.name() == requested) else {
        let names = module.exports().functions();
        return Err(ModuleError::NoExport {
            path: entry.path.clone(),
            requested: requested.to_owned(),
            exports: names.map(|export| export.name().to_owned()).collect(),
        });
    };
    let parameters = values::kinds(function.ty().params());
    let results = values::kinds(function.ty().results());
    match invoke::check(requested, &parameters, &results) {
        Ok(()) => Ok(parameters),
        Err(reason) => Err(ModuleError::Signature {
            path: entry.path.clone(),
            export: requested.to_owned(),
            reason,
        }),
    }
}
