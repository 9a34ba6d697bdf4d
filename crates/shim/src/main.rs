//! `containerd-shim-wasm-v1`: Wasm and Linux containers side by side in the same pod.
//!
//! One binary, several processes; the first argument or the action tells which:
//!
//! | call | process |
//! |---|---|
//! | `… start` | finds the pod's shim or spawns one, prints its address |
//! | `… -socket …`, no action | the shim: serves the Task API |
//! | `… delete` | cleans up after a shim that died |
//! | `-info`, `-v` | tells what this is |
//! | `cache …` | lists, prunes and warms the node's native code, for people |
//! | `install`, `uninstall`, `status` | puts the shim on a node and takes it away, for people |
//! | `helper` | creates one container, adds a process to one, compiles a module, or reads an image's layers |

mod bootstrap;
mod cache_command;
mod delete;
mod engines;
mod info;
mod logging;
mod options;
mod pod;
mod process;
mod runtime;
mod serve;
mod sockets;
mod start;

use std::ffi::OsString;
use std::process::ExitCode;

use containerd_shim::Flags;
use rustix::fs::Mode;

/// The runtime type that containerd knows this shim by.
const RUNTIME: &str = "io.containerd.wasm.v1";

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
    if let Some((verb, rest)) = args.split_first()
        && verb == cache_command::VERB
    {
        return cache_command::run(rest);
    }
    if let Some(code) = medley_node::run(&args) {
        return code;
    }
    // What containerd was started with, and handed on, is for none of its shims and containers.
    medley_sys::child::close_from(FIRST_UNMEANT);
    let result = containerd_shim::parse(&args)
        .map_err(anyhow::Error::from)
        .and_then(run);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // containerd shows what `start` and `delete` print.
            eprintln!("containerd-shim-wasm-v1: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: Flags) -> anyhow::Result<()> {
    // Before anything else: containerd asks it for each container that it creates.
    if flags.info {
        return info::print();
    }
    if flags.version {
        return info::print_version();
    }
    match flags.action.as_str() {
        "start" => start::run(&flags),
        "delete" => delete::run(&flags),
        "" if !flags.socket.is_empty() => serve::run(&flags),
        "" => anyhow::bail!(
            "this is a shim that containerd runs; its actions are start and delete, -v tells the \
             version; install, uninstall, status and cache, each with --help, are for people"
        ),
        action => anyhow::bail!("unknown action {action:?}: there are start and delete"),
    }
}
