//! A module as the shim handles it: its bytes, and what a plan knows of it.

use std::fs::File;

use medley_dispatch::{Module, WasmPlan};
use medley_engine::{Entry, Form};

use super::error::Error;
use super::image_layers::Images;

/// The module's bytes.
pub(super) fn file(images: Images<'_>, module: &Module) -> Result<File, Error> {
    match module {
        Module::File(file) => file.try_clone().map_err(Error::Spawn),
        Module::Layer(layer, inside) => images.module(layer, inside),
    }
}

/// Whether a plan's module is one or a component, if that is known before its content is looked at.
pub(super) fn form(plan: &WasmPlan) -> Option<Form> {
    match plan.form {
        medley_dispatch::Form::Module => Some(Form::Module),
        medley_dispatch::Form::Component => Some(Form::Component),
        medley_dispatch::Form::Text => None,
    }
}

/// The function or the interface of a plan's module that is to be called.
pub(super) fn entry(plan: &WasmPlan) -> Entry {
    Entry {
        path: plan.module.clone(),
        export: plan.export.clone(),
    }
}
