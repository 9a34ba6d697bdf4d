//! What makes native code of one engine loadable by another: a part of the cache's keys.

use wasmer::sys::NativeEngineExt;

use crate::config::engine;

/// The configuration that code was made with; to be raised whenever that changes.
const CONFIGURATION: u32 = 1;

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
