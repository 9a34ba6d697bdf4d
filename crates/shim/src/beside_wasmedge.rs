//! `containerd-shim-wasm-v1-wasmedge`: what the shim runs in its own stead for containers of WasmEdge.

mod beside;

use std::process::ExitCode;

use medley_dispatch::EngineKind;
use medley_engine::Engine;
use medley_engine_wasmedge::Wasmedge;

fn main() -> ExitCode {
    beside::run(medley_engine_wasmedge::NAME, "WasmEdge", engine, version)
}

fn engine(kind: EngineKind) -> Option<&'static dyn Engine> {
    match kind {
        EngineKind::Wasmedge => Some(&Wasmedge),
        EngineKind::Wasmtime | EngineKind::Wasmer => None,
    }
}

fn version() -> String {
    let how = if medley_engine_wasmedge::compiles() {
        "compiles to native code"
    } else {
        "interprets: its library has no compiler"
    };
    format!("{}, {how}", medley_engine_wasmedge::version())
}
