//! `medley`: the OCI runtime command line, as runc has it, for podman, CRI-O, Docker and others that run a
//! container by calling a program.
//!
//! | if you look for | it is in |
//! |---|---|
//! | options before and after a command | `args`, `global` |
//! | a command | the file of its name |
//! | `run` and `exec` in the foreground | `foreground` |
//! | the log, and how errors are told | `logger`, `failure` |
//!
//! Containers are made by `medley_container::shim::command`. No process stays while one runs.

mod args;
mod command_line;
mod console;
mod create;
mod delete;
mod events;
mod exec;
mod exec_process;
mod failure;
mod features;
mod foreground;
mod global;
mod help;
mod kill;
mod list;
mod logger;
mod output;
mod owner;
mod passed;
mod pause;
mod pid_file;
mod ps;
mod run;
mod signal_name;
mod spec;
mod start;
mod state;
mod stats;
mod time;
mod update;

use std::num::NonZeroU32;
use std::path::PathBuf;

use medley_container::shim::EngineBinary;
use medley_dispatch::Options;

pub use command_line::execute;

/// The name by which a link to the program makes it this command line.
pub const NAME: &str = "medley";

/// The name that some callers have for every runtime: a link may have it too.
pub const RUNC: &str = "runc";

/// The name that this program was called by.
pub(crate) fn name() -> &'static str {
    let called = std::env::args_os().next().unwrap_or_default();
    match std::path::Path::new(&called).file_name() {
        Some(name) if name == RUNC => RUNC,
        _ => NAME,
    }
}

/// What the program around this command line has.
#[derive(Debug)]
pub struct Host {
    /// What dispatch may choose from, and the programs with engines that are not built in. Asked for by
    /// what makes a container or a process, and by nothing else.
    pub engines: fn() -> (Options, Vec<EngineBinary>),
    /// Where native code is kept, if anywhere.
    pub cache: fn() -> Option<PathBuf>,
    /// How many compilers may run at a time, if the environment says so.
    pub compilers: fn() -> Option<NonZeroU32>,
    /// The OCI runtime spec's `features`.
    pub features: fn() -> serde_json::Value,
}
