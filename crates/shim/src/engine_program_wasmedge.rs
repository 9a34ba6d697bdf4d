//! `containerd-shim-wasm-v1-wasmedge`: what the shim starts as helper for containers of WasmEdge.

mod engine_program;

use std::process::ExitCode;

use medley_dispatch::EngineKind;
use medley_engine::Engine;

fn main() -> ExitCode {
    engine_program::run(EngineKind::Wasmedge, engine)
}

fn engine(kind: EngineKind) -> Option<&'static dyn Engine> {
    (kind == EngineKind::Wasmedge).then_some(&medley_engine_wasmedge::Wasmedge)
}
