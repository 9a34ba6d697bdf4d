//! Wasmtime: WASI preview 1 modules, command components of WASI 0.2 and 0.3, and a server for
//! components that answer HTTP requests.

#![allow(unsafe_code, reason = "native code is mapped and executed")]

mod command;
mod compile;
mod component;
mod config;
mod files;
mod host;
mod http;
mod keyvalue;
mod limiter;
mod module;
#[cfg(feature = "nn")]
mod nn;
mod outgoing;
mod outline;
mod output;
mod roots;
mod values;
mod variables;
mod world;

use medley_engine::{Engine, Entry, Form, Native, Program, TrustedCode, Unfit};

/// The engine's name in annotations and messages.
pub const NAME: &str = "wasmtime";

/// Wasmtime, as configured for every guest of this binary.
#[derive(Debug, Default, Clone, Copy)]
pub struct Wasmtime;

impl Engine for Wasmtime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> String {
        // Wasmtime's own account of itself begins with it.
        let fingerprint = config::fingerprint().unwrap_or_default();
        let version = fingerprint.split(' ').next();
        version.unwrap_or_default().to_owned()
    }

    fn fingerprint(&self) -> Result<String, String> {
        config::fingerprint().map_err(|error| chain(&error))
    }

    fn compile(&self, bytes: &[u8], entry: &Entry) -> Result<Native, Unfit> {
        compile::compile(bytes, entry)
    }

    fn load(
        &self,
        code: TrustedCode,
        form: Form,
        entry: &Entry,
        stack: Option<u64>,
    ) -> Result<Box<dyn Program>, Unfit> {
        let unfit = |error: wasmtime::Error| self::unfit(entry, &error);
        match form {
            Form::Module => {
                let engine = config::engine_with(config::Profile::Command, stack).map_err(unfit)?;
                let code = code.into_file();
                // SAFETY: by its type, `compile` of this program made the code, and nothing changes
                // it while it is mapped.
                let module = unsafe { wasmtime::Module::deserialize_open_file(&engine, code) };
                let module = module.map_err(unfit)?;
                Ok(Box::new(module::LinkedModule::new(
                    &engine, &module, entry,
                )?))
            }
            Form::Component => component::load(&code, entry, stack),
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

/// Whether an error may be the machine's fault, which had no memory or no descriptor left: another
/// try may come to another end.
fn is_of_the_machine(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<std::io::Error>()
            || cause.is::<rustix::io::Errno>()
            || cause.is::<wasmtime::OutOfMemory>()
    })
}

/// What is wrong with bytes that are no module or component, and at which of them.
fn malformed(bytes: &[u8], error: &wasmtime::Error, entry: &Entry) -> Unfit {
    if is_of_the_machine(error) {
        return unfit(entry, error);
    }
    let fault = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<wasmparser::BinaryReaderError>());
    let reason = match fault {
        Some(fault) => format!(
            "{} at byte {} of {}",
            fault.message().replace('\n', " "),
            fault.offset(),
            bytes.len()
        ),
        None => format!("{} (the file has {} bytes)", chain(error), bytes.len()),
    };
    Unfit::Malformed {
        path: entry.path.clone(),
        reason,
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

#[cfg(test)]
mod tests {
    use super::malformed;
    use medley_engine::{Entry, Unfit};

    #[test]
    fn what_the_machine_lacks_is_no_fault_of_the_module() {
        let entry = Entry {
            path: "/app.wasm".into(),
            export: None,
        };
        let io = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        for error in [
            wasmtime::Error::from(io).context("failed to map"),
            wasmtime::Error::from(rustix::io::Errno::NOMEM).context("failed to map"),
            wasmtime::Error::from(wasmtime::OutOfMemory::new(1)),
        ] {
            let unfit = malformed(b"", &error, &entry);
            assert!(matches!(unfit, Unfit::Engine { .. }), "{unfit}");
            assert!(!unfit.is_lasting());
        }
        let unfit = malformed(b"", &wasmtime::Error::msg("no magic number"), &entry);
        assert!(matches!(unfit, Unfit::Malformed { .. }), "{unfit}");
        assert!(unfit.is_lasting());
    }
}
