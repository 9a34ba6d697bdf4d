//! The command line: what containerd, people and the shim itself call this program with.
//!
//! containerd writes flags as Go does (`-namespace`, one dash) and then an action; people write a
//! command and then options (`cache ls --json`). The first argument tells which.

pub(crate) mod cache;
mod containerd;
mod help;
mod output;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use containerd::Call;

use output::print;
use usage::{MISUSED, Usage};

/// Runs what people call: `cache`, `install`, `uninstall`, `status`, `help`. `None` if it is another
/// call.
pub(crate) fn run_command(args: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = args.split_first()?;
    match first.to_str()? {
        cache::NAME => Some(cache::run(rest)),
        "help" => Some(help(rest)),
        _ => medley_node::run(args),
    }
}

/// The call that containerd makes, or the exit status of one that is none.
pub(crate) fn containerd_call(args: &[OsString]) -> Result<Call, ExitCode> {
    match containerd::parse(args) {
        Ok(Some(call)) => Ok(call),
        Ok(None) => Err(shown(help::TOP)),
        Err(Usage(reason)) => {
            eprintln!("{}: {reason}; see --help", crate::names::NAME);
            Err(MISUSED.into())
        }
    }
}

/// `help`, alone or with a command behind it.
fn help(args: &[OsString]) -> ExitCode {
    let Some(first) = args.first() else {
        return shown(help::TOP);
    };
    let mut asked = args.to_vec();
    asked.push("--help".into());
    match first.to_str() {
        Some("start" | "delete" | "help" | "--help" | "-h") => shown(help::TOP),
        _ => run_command(&asked).unwrap_or_else(|| {
            let first = first.display();
            eprintln!(
                "{}: {}; see --help",
                crate::names::NAME,
                help::unknown(&first.to_string())
            );
            MISUSED.into()
        }),
    }
}

fn shown(text: &str) -> ExitCode {
    match print(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", crate::names::NAME);
            ExitCode::FAILURE
        }
    }
}
