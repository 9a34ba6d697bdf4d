//! The engine's settings, the same for every guest.

use wasmer::Engine;
use wasmer::sys::{Cranelift, EngineBuilder, NativeEngineExt};

/// The configuration that code was made with; to be raised whenever that changes.
const CONFIGURATION: u32 = 1;

/// An engine that compiles, and loads what an equal one compiled. Makes no thread.
pub(crate) fn engine() -> Engine {
    EngineBuilder::new(Cranelift::new()).engine().into()
}

/// What native code depends on besides its module: the version, the settings, the processor.
pub(crate) fn fingerprint() -> String {
    let engine = engine();
    let target = engine.target();
    format!(
        "{} {CONFIGURATION} {} {} {:?}",
        wasmer_types::VERSION,
        engine.deterministic_id(),
        target.triple(),
        target.cpu_features()
    )
}
