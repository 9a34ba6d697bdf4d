//! Wasmer: modules with WASIX, threads and forks among it, and with WASI preview 1.

#![cfg(feature = "engine")]
#![allow(
    unsafe_code,
    reason = "native code is loaded and executed, and memories are made for it"
)]

mod compile;
mod config;
mod exports;
mod files;
mod imports;
mod memory;
mod module;
mod values;
mod world;

use std::error::Error;

use medley_engine::{Engine, Entry, Form, Native, Program, TrustedCode, Unfit};

/// The engine's name in annotations and messages.
pub const NAME: &str = "wasmer";

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
        Ok(config::fingerprint())
    }

    fn compile(&self, bytes: &[u8], entry: &Entry) -> Result<Native, Unfit> {
        compile::compile(bytes, entry)
    }

    fn load(
        &self,
        code: TrustedCode,
        form: Form,
        entry: &Entry,
        _stack: Option<u64>,
    ) -> Result<Box<dyn Program>, Unfit> {
        match form {
            Form::Module => Ok(Box::new(module::LoadedModule::load(&code, entry)?)),
            Form::Component => Err(component(entry)),
        }
    }
}

fn component(entry: &Entry) -> Unfit {
    unfit(entry, "it is a component; components need wasmtime")
}

/// What Wasmer says, for an error that no other variant covers.
fn unfit(entry: &Entry, reason: impl Into<String>) -> Unfit {
    Unfit::Engine {
        path: entry.path.clone(),
        engine: NAME,
        reason: reason.into(),
    }
}

/// An error and those of its causes that say more, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}
