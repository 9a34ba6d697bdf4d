//! The one configuration of the engine: compiler and init must agree on every part of it.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::{Config, Engine, OptLevel, WasmBacktraceDetails};

/// An engine that compiles, and loads what an equal one compiled.
pub(crate) fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .cranelift_opt_level(OptLevel::Speed)
        // Line numbers in a trap's backtrace, where the module has DWARF.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // Init is one process for one guest: pages are taken as the guest touches them.
        .memory_init_cow(true)
        // Nobody unwinds through guest frames with the system's unwinder.
        .native_unwind_info(false);
    Engine::new(&config)
}

/// Wasmtime's own account of what makes code of one engine loadable by another: its version, its
/// settings, the processor's features. Loading checks all of it again.
pub(crate) fn fingerprint() -> wasmtime::Result<String> {
    let mut hasher = DefaultHasher::new();
    engine()?.precompile_compatibility_hash().hash(&mut hasher);
    Ok(format!(
        "{}-{:016x}",
        env!("CARGO_PKG_VERSION"),
        hasher.finish()
    ))
}
