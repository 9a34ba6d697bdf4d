//! In the compiler process: from a module's bytes to native code.
//!
//! Everything that can be known of a module without running it is checked here, so that Create
//! fails with the reason.

use medley_engine::{Entry, Form, Native, Unfit};
use wasmer::{CompileError, Module};

use crate::{chain, component, config, exports, imports, unfit};

pub(crate) fn compile(bytes: &[u8], entry: &Entry) -> Result<Native, Unfit> {
    let malformed = |reason: String| Unfit::Malformed {
        path: entry.path.clone(),
        reason: reason.replace('\n', " "),
    };
    let bytes = wat::parse_bytes(bytes).map_err(|error| malformed(error.to_string()))?;
    if wasmparser::Parser::is_component(&bytes) {
        return Err(component(entry));
    }
    let engine = config::engine();
    let module = Module::from_binary(&engine, &bytes).map_err(|error| match error {
        CompileError::Wasm(_) | CompileError::Validate(_) => {
            malformed(format!("{error} (the file has {} bytes)", bytes.len()))
        }
        _ => unfit(entry, chain(&error)),
    })?;
    exports::check(&module, entry)?;
    imports::check(&engine, &module, entry)?;
    let code = module
        .serialize()
        .map_err(|error| unfit(entry, chain(&error)))?;
    Ok(Native {
        code: code.to_vec(),
        form: Form::Module,
    })
}
