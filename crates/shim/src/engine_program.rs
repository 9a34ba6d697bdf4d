//! What the programs beside the shim have in common: each is the shim's helper, compiler and init
//! with another engine, and has no shim.

use std::io::Write;
use std::process::ExitCode;

use medley_container::helper::{self, Engines};
use medley_dispatch::EngineKind;

/// Runs the program that has `engine`, which `engines` gives.
pub(crate) fn run(engine: EngineKind, engines: Engines) -> ExitCode {
    let verb = std::env::args_os().nth(1);
    let version = engines(engine).map(medley_engine::Engine::version);
    let said = match (verb, version) {
        (Some(verb), _) if verb == helper::VERB => return helper::run(engines).into(),
        (Some(flag), Some(version)) if flag == "-v" => writeln!(std::io::stdout(), "{version}"),
        _ => {
            eprintln!(
                "containerd-shim-wasm-v1-{engine}: containerd-shim-wasm-v1 runs this for containers \
                 of {}; -v tells the version",
                engine.descriptor().title
            );
            return ExitCode::FAILURE;
        }
    };
    said.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}
