//! `containerd-shim-wasm-v1-wasmer`: what the shim starts as helper for containers of Wasmer.

mod engine_program;

use std::process::ExitCode;

use medley_dispatch::EngineKind;
use medley_engine::Engine;

fn main() -> ExitCode {
    engine_program::run(EngineKind::Wasmer, engine)
}

fn engine(kind: EngineKind) -> Option<&'static dyn Engine> {
    (kind == EngineKind::Wasmer).then_some(&medley_engine_wasmer::Wasmer)
}
