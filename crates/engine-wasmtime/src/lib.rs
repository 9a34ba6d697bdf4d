//! Wasmtime: WASI preview 1 modules, command components of WASI 0.2 and 0.3, a server for components that
//! answer HTTP requests, and one for the components of Spin applications.

#![allow(unsafe_code, reason = "native code is mapped and executed")]

mod application;
mod command;
mod compile;
mod component;
mod config;
mod error;
mod files;
mod fingerprint;
mod http;
mod http_client;
mod interfaces;
mod keyvalue;
mod limiter;
mod linker;
mod module;
#[cfg(feature = "nn")]
mod nn;
mod outgoing;
mod outline;
mod stdio;
mod store_data;
mod tls_roots;
mod traps;
mod values;
mod variables;
mod wasi_ctx;
mod wasi_version;

use medley_engine::{
    Application, CompiledModule, ComponentCode, Engine, Entry, Form, ModuleError, Program,
    TrustedCode,
};

use error::{NAME, chain};

/// Wasmtime, as configured for every guest of this binary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wasmtime;

impl Engine for Wasmtime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        // Wasmtime's own account of itself begins with it.
        let fingerprint = fingerprint::fingerprint().unwrap_or_default();
        let version = fingerprint.split(' ').next();
        version.unwrap_or_default().to_owned()
    }

    fn fingerprint(&self) -> Result<String, String> {
        fingerprint::fingerprint().map_err(|error| chain(&error))
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
        let engine_error = |error: wasmtime::Error| error::engine_error(entry, &error);
        match form {
            Form::Module => {
                let engine =
                    config::engine_with(config::Profile::Command, stack).map_err(engine_error)?;
                let code = code.into_file();
                // SAFETY: by its type, `compile` of this program made the code, and nothing changes
                // it while it is mapped.
                let module = unsafe { wasmtime::Module::deserialize_open_file(&engine, code) };
                let module = module.map_err(engine_error)?;
                Ok(Box::new(module::LinkedModule::new(
                    &engine, &module, entry,
                )?))
            }
            Form::Component => component::load(&code, entry, stack),
        }
    }

    fn load_application(
        &self,
        application: &Application,
        components: Vec<ComponentCode>,
        files: Option<std::fs::File>,
        stack: Option<u64>,
    ) -> Result<Box<dyn Program>, ModuleError> {
        application::load(application, components, files, stack)
    }
}
