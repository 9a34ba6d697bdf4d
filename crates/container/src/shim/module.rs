//! A module as the shim handles it: its bytes, and what a plan knows of it.

use std::fs::File;
use std::io::{Read, Seek};

use medley_dispatch::{Module, WasmPlan};
use medley_engine::{Entry, Form};
use medley_image::cache::{Error as CacheError, MAX_MODULE};
use rustix::fs::{MemfdFlags, SealFlags};

use super::error::Error;
use super::image_layers::Images;

/// The module's bytes.
pub(super) fn file(images: Images<'_>, module: &Module) -> Result<File, Error> {
    match module {
        Module::File(file) => file.try_clone().map_err(Error::Spawn),
        Module::Layer(layer, inside) => images.module(layer, inside),
    }
}

/// The module as it is now, in memory, where it cannot be changed.
pub(super) fn sealed_copy(module: &File) -> Result<File, Error> {
    let size = module.metadata().map_err(Error::Spawn)?.len();
    if size > MAX_MODULE {
        return Err(CacheError::TooLarge { size }.into());
    }
    copy(module).map_err(Error::Spawn)
}

fn copy(module: &File) -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("medley-module", flags)?);
    let mut module = module.try_clone()?;
    module.rewind()?;
    // It may grow meanwhile.
    std::io::copy(&mut module.take(MAX_MODULE), &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    copy.rewind()?;
    Ok(copy)
}

/// What a plan knows of its module before its content is looked at.
pub(super) fn form(plan: &WasmPlan) -> Option<Form> {
    match plan.form {
        medley_dispatch::Form::Module => Some(Form::Module),
        medley_dispatch::Form::Component => Some(Form::Component),
        medley_dispatch::Form::Text => None,
    }
}

/// What is to be called of a plan's module.
pub(super) fn entry(plan: &WasmPlan) -> Entry {
    Entry {
        path: plan.module.clone(),
        export: plan.export.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::sealed_copy;
    use std::fs::File;
    use std::io::{Read, Write};

    /// Even if its file changes afterwards.
    #[test]
    fn a_module_is_compiled_as_it_was_copied() {
        let path = std::env::temp_dir().join(format!("medley-module-{}", std::process::id()));
        std::fs::write(&path, b"\0asm of one").unwrap();
        let mut copy = sealed_copy(&File::open(&path).unwrap()).unwrap();
        std::fs::write(&path, b"\0asm of two").unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut bytes = Vec::new();
        copy.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\0asm of one");
        assert!(copy.write_all(b"x").is_err(), "the copy is not sealed");
    }
}
