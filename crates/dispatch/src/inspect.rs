//! What a module says of itself, for one that was read out of an image.

use std::fs::File;

use medley_types::layers::{ModuleFacts, NotAModule};
use medley_types::quoted::FirstBytes;

use crate::content::{Content, Head};
use crate::imports;

/// Looks into `module`.
///
/// # Errors
/// [`NotAModule`] with what it is instead.
pub fn inspect(module: &File) -> Result<ModuleFacts, NotAModule> {
    let head = Head::read(module)?;
    match head.content() {
        Content::Wasm { component } => Ok(ModuleFacts {
            component,
            demand: (!component)
                .then(|| imports::requirement(module))
                .flatten()
                .map(|requirement| (requirement.engine, requirement.import)),
        }),
        Content::Precompiled => Err(NotAModule::Precompiled(
            "compiled ahead of time by Wasmtime",
        )),
        Content::Elf => Err(NotAModule::Precompiled("ELF")),
        _ => Err(NotAModule::Other(FirstBytes::of(head.bytes()))),
    }
}
