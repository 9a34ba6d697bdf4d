//! Wasmtime's errors in Medley's words.

use medley_engine::{Entry, ModuleError};

/// The engine's name in annotations and messages.
pub(crate) const NAME: &str = "wasmtime";

/// What Wasmtime says, for an error that no other variant covers.
pub(crate) fn engine_error(entry: &Entry, error: &wasmtime::Error) -> ModuleError {
    ModuleError::Engine {
        path: entry.path.clone(),
        engine: NAME,
        reason: chain(error),
    }
}

/// Whether an error may be the machine's fault, which had no memory or no descriptor left: another
/// try may come to another end.
pub(crate) fn is_of_the_machine(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<std::io::Error>()
            || cause.is::<rustix::io::Errno>()
            || cause.is::<wasmtime::OutOfMemory>()
    })
}

/// What is wrong with bytes that are no module or component, and at which of them.
pub(crate) fn malformed(bytes: &[u8], error: &wasmtime::Error, entry: &Entry) -> ModuleError {
    if is_of_the_machine(error) {
        return engine_error(entry, error);
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
    ModuleError::Malformed {
        path: entry.path.clone(),
        reason,
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
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
    use medley_engine::{Entry, ModuleError};

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
            let refused = malformed(b"", &error, &entry);
            assert!(matches!(refused, ModuleError::Engine { .. }), "{refused}");
            assert!(!refused.is_lasting());
        }
        let refused = malformed(b"", &wasmtime::Error::msg("no magic number"), &entry);
        assert!(
            matches!(refused, ModuleError::Malformed { .. }),
            "{refused}"
        );
        assert!(refused.is_lasting());
    }
}
