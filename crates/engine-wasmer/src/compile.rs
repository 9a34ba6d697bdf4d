//! In the compiler process: from a module's bytes to native code.
//!
//! Everything that can be known of a module without running it is checked here, so that Create
//! fails with the reason.

use medley_engine::{CompiledModule, Entry, Form, ModuleError};
use wasmer::{CompileError, Module};

use crate::error::{chain, component_refused, engine_error};
use crate::{config, exports, imports};

pub(crate) fn compile(bytes: &[u8], entry: &Entry) -> Result<CompiledModule, ModuleError> {
    let malformed = |reason: String| ModuleError::Malformed {
        path: entry.path.clone(),
        reason: reason.replace('\n', " "),
    };
    let bytes = wat::parse_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
    if wasmparser::Parser::is_component(&bytes) {
        return Err(component_refused(entry));
    }
    let engine = config::engine();
    let module = Module::from_binary(&engine, &bytes).map_err(|error| match error {
        CompileError::Wasm(_) | CompileError::Validate(_) => {
            malformed(format!("{error} (the file has {} bytes)", bytes.len()))
        }
        _ => engine_error(entry, chain(&error)),
    })?;
    exports::check(&module, entry)?;
    imports::check(&engine, &module, entry)?;
    let code = module
        .serialize()
        .map_err(|error| engine_error(entry, chain(&error)))?;
    Ok(CompiledModule {
        code: code.to_vec(),
        form: Form::Module,
    })
}
