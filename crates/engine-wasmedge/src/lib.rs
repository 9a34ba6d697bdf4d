//! WasmEdge: WASI preview 1 modules, with WasmEdge's own sockets and its plugins.
//!
//! The bindings are our own, to the few functions of its C API that are needed: the published ones
//! bring an HTTP client and a TLS stack into every build. Programs that use this crate link
//! WasmEdge's library; see the features in `Cargo.toml`.

#![allow(
    unsafe_code,
    reason = "WasmEdge is a C++ library; native code is mapped and executed"
)]

mod compile;
mod error;
mod faults;
mod ffi;
mod fingerprint;
mod imports;
mod module;
mod owned;
mod plugins;
mod sections;
mod signature;
mod wasi_ctx;

use medley_engine::{CompiledModule, Engine, Entry, Form, ModuleError, Program, TrustedCode};

use error::{NAME, component_refused};

/// WasmEdge, as configured for every guest of this binary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wasmedge;

impl Engine for Wasmedge {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        let how = if compile::has_compiler() {
            "compiles to native code"
        } else {
            "interprets: its library has no compiler"
        };
        format!("{}, {how}", fingerprint::library_version())
    }

    fn fingerprint(&self) -> Result<String, String> {
        fingerprint::of_this_machine()
    }

    fn needs_scratch(&self) -> bool {
        // Its linker takes its input from a file, and leaves its output in one.
        true
    }

    fn compile(&self, bytes: &[u8], entry: &Entry) -> Result<CompiledModule, ModuleError> {
        compile::compile(bytes, entry)
    }

    fn load(
        &self,
        code: TrustedCode,
        form: Form,
        entry: &Entry,
        stack: Option<u64>,
    ) -> Result<Box<dyn Program>, ModuleError> {
        match form {
            Form::Module => Ok(Box::new(module::LinkedModule::load(&code, entry, stack)?)),
            Form::Component => Err(component_refused(entry)),
        }
    }
}
