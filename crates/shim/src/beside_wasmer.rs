//! `containerd-shim-wasm-v1-wasmer`: what the shim runs in its own stead for containers of Wasmer.

mod beside;

use std::process::ExitCode;

use medley_dispatch::EngineKind;
use medley_engine::Engine;
use medley_engine_wasmer::Wasmer;

fn main() -> ExitCode {
    beside::run(medley_engine_wasmer::NAME, "Wasmer", engine, || {
        medley_engine_wasmer::version().to_owned()
    })
}

fn engine(kind: EngineKind) -> Option<&'static dyn Engine> {
    match kind {
        EngineKind::Wasmer => Some(&Wasmer),
        EngineKind::Wasmtime | EngineKind::Wasmedge => None,
    }
}
