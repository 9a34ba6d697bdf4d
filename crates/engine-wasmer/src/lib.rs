//! Wasmer: modules with WASIX, threads and forks among it, and with WASI preview 1.

#![cfg(feature = "engine")]
#![allow(
    unsafe_code,
    reason = "native code is loaded and executed, and memories are made for it"
)]

mod compile;
mod config;
mod error;
mod exports;
mod files;
mod fingerprint;
mod imports;
mod memory;
mod module;
mod values;
mod wasi_ctx;

use medley_engine::{CompiledModule, Engine, Entry, Form, ModuleError, Program, TrustedCode};

use error::{NAME, component_refused};

/// Wasmer, as configured for every guest of this binary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wasmer;

impl Engine for Wasmer {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        wasmer_types::VERSION.to_owned()
    }

    fn fingerprint(&self) -> Result<String, String> {
        Ok(fingerprint::fingerprint())
    }

    fn compile(&self, bytes: &[u8], entry: &Entry) -> Result<CompiledModule, ModuleError> {
        compile::compile(bytes, entry)
    }

    fn load(
        &self,
        code: TrustedCode,
        form: Form,
        entry: &Entry,
        _stack: Option<u64>,
    ) -> Result<Box<dyn Program>, ModuleError> {
        match form {
            Form::Module => Ok(Box::new(module::LoadedModule::load(&code, entry)?)),
            Form::Component => Err(component_refused(entry)),
        }
    }
}
