//! Wasmtime: WASI preview 1 modules and WASI 0.2 command components.

#![allow(unsafe_code, reason = "native code is mapped and executed")]

mod command;
mod compile;
mod config;
mod limiter;
mod module;
mod output;
mod world;

use std::fs::File;
use std::os::fd::AsRawFd;

use medley_engine::{Engine, Entry, Form, Native, Program, Unfit};

/// The engine's name in annotations and messages.
pub const NAME: &str = "wasmtime";

/// Wasmtime, as configured for every guest of this binary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wasmtime;

impl Engine for Wasmtime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn fingerprint(&self) -> Result<String, String> {
        config::fingerprint().map_err(|error| chain(&error))
    }

    fn compile(&self, bytes: &[u8], entry: &Entry) -> Result<Native, Unfit> {
        compile::compile(bytes, entry)
    }

    fn load(&self, code: File, form: Form, entry: &Entry) -> Result<Box<dyn Program>, Unfit> {
        let unfit = |error: wasmtime::Error| self::unfit(entry, &error);
        let engine = config::engine().map_err(unfit)?;
        match form {
            Form::Module => {
                // SAFETY: the trait's contract: `code` is what `compile` of this binary wrote,
                // in a sealed memfd that nobody can change while it is mapped.
                let module = unsafe { wasmtime::Module::deserialize_open_file(&engine, code) };
                let module = module.map_err(unfit)?;
                Ok(Box::new(module::LinkedModule::new(
                    &engine, &module, entry,
                )?))
            }
            Form::Component => {
                // Components can be mapped by path only. The helper still has the host's /proc.
                let path = format!("/proc/self/fd/{}", code.as_raw_fd());
                // SAFETY: as above.
                let component =
                    unsafe { wasmtime::component::Component::deserialize_file(&engine, path) };
                let component = component.map_err(unfit)?;
                Ok(Box::new(command::LinkedCommand::new(
                    &engine, &component, entry,
                )?))
            }
        }
    }
}

/// What Wasmtime says, for an error that no other variant covers.
fn unfit(entry: &Entry, error: &wasmtime::Error) -> Unfit {
    Unfit::Engine {
        path: entry.path.clone(),
        engine: NAME,
        reason: chain(error),
    }
}

/// An error and its causes in one line.
fn chain(error: &wasmtime::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.replace('\n', " "));
    }
    text
}
