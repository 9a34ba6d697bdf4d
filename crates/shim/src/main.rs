//! `containerd-shim-wasm-v1`: Wasm and Linux containers side by side in the same pod.
//!
//! One binary, several processes; the first argument or the action tells which ([`cli`]):
//!
//! | call | process |
//! |---|---|
//! | `… start` | finds the pod's shim or spawns one, prints its address |
//! | `… -socket …`, no action | the shim: serves the Task API |
//! | `… delete` | cleans up after a shim that died |
//! | `-info`, `-v` | tells what this is |
//! | `cache …` | lists, prunes and warms the node's native code, for people |
//! | `install`, `uninstall`, `status` | puts the shim on a node and takes it away, for people |
//! | by the name `medley`, or `oci …` | the OCI runtime command line, for podman and others |
//! | `helper` | creates one container, adds a process to one, compiles a module, or reads an image's layers |

mod bootstrap;
mod cli;
mod connections;
mod delete;
mod engines;
mod environment;
mod info;
mod logging;
mod names;
mod oci;
mod serve;
mod sockets;
mod start;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::Call;
use medley_sys::trace;
use names::NAME;
use rustix::fs::Mode;

/// The first descriptor that containerd does not mean for a shim.
const FIRST_UNMEANT: u32 = 3;

/// What a container's process has unless its spec says otherwise, and what every mode in this
/// program is meant with. containerd's own may be anything.
const UMASK: Mode = Mode::from_raw_mode(0o022);

fn main() -> ExitCode {
    rustix::process::umask(UMASK);
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args
        .first()
        .is_some_and(|verb| verb == medley_container::helper::VERB)
    {
        return medley_container::helper::run(engines::built_in).into();
    }
    if let Some(code) = oci::run(&args) {
        return code;
    }
    if let Some(code) = cli::run_command(&args) {
        return code;
    }
    // containerd's own descriptors are for none of its shims and containers.
    medley_sys::child::close_from(FIRST_UNMEANT);
    let result = match cli::containerd_call(&args) {
        Ok(Call::Info) => info::print(),
        Ok(Call::Version) => info::print_version(),
        // What these two print is containerd's: the shim says it if no trace can be written.
        Ok(Call::Start(flags)) => traced("start", |_| start::run(&flags)),
        Ok(Call::Delete(flags)) => traced("delete", |_| delete::run(&flags)),
        Ok(Call::Serve(flags)) => traced("shim", |trace| serve::run(&flags, trace)),
        Err(code) => return code,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // containerd shows what `start` and `delete` print.
            eprintln!("{NAME}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one of containerd's calls, with a trace if containerd's environment asks for one.
fn traced(
    process: &'static str,
    run: impl FnOnce(std::io::Result<()>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let begun = trace::begin(process);
    let _whole = trace::span(process);
    run(begun)
}
