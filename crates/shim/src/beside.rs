//! What the programs beside the shim have in common: each is the shim's helper, compiler and init
//! with another engine, and nothing else: no shim.

use std::io::Write;
use std::process::ExitCode;

use medley_container::helper::{self, Engines};

/// Runs the program that is `containerd-shim-wasm-v1-` and `name`, with the engine that people
/// know as `shown`. `version` is what the shim's own `-v` shows of it.
pub(crate) fn run(name: &str, shown: &str, engines: Engines, version: fn() -> String) -> ExitCode {
    let verb = std::env::args_os().nth(1);
    let said = match verb {
        Some(verb) if verb == helper::VERB => return helper::run(engines).into(),
        Some(flag) if flag == "-v" => writeln!(std::io::stdout(), "{}", version()),
        _ => {
            eprintln!(
                "containerd-shim-wasm-v1-{name}: containerd-shim-wasm-v1 runs this for containers \
                 of {shown}; -v tells the version"
            );
            return ExitCode::FAILURE;
        }
    };
    said.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}
