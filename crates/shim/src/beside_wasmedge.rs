//! `containerd-shim-wasm-v1-wasmedge`: what the shim runs in its own stead for containers of WasmEdge.
//!
//! It is the shim's helper, compiler and init with another engine, and nothing else: no shim.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use medley_dispatch::EngineKind;
use medley_engine::Engine;
use medley_engine_wasmedge::Wasmedge;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let said = match args.first() {
        Some(verb) if verb == medley_container::helper::VERB => {
            return medley_container::helper::run(engine).into();
        }
        Some(flag) if flag == "-v" => writeln!(std::io::stdout(), "{}", version()),
        _ => {
            eprintln!(
                "containerd-shim-wasm-v1-wasmedge: containerd-shim-wasm-v1 runs this for \
                 containers of WasmEdge; -v tells the version"
            );
            return ExitCode::FAILURE;
        }
    };
    said.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn engine(kind: EngineKind) -> Option<&'static dyn Engine> {
    match kind {
        EngineKind::Wasmedge => Some(&Wasmedge),
        EngineKind::Wasmtime | EngineKind::Wasmer => None,
    }
}

/// As the shim's own `-v` shows it.
fn version() -> String {
    let how = if medley_engine_wasmedge::compiles() {
        "compiles to native code"
    } else {
        "interprets: its library has no compiler"
    };
    format!("{}, {how}", medley_engine_wasmedge::version())
}
