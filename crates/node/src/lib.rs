//! `install`, `uninstall` and `status`: the shim on a node of any distribution.
//!
//! An install finds out whose node it is (`distribution`), decides what has to change
//! (`plan`), writes all of it beside its place, has the node's own containerd read it (`check`),
//! and then changes everything together (`transaction`). What it changed is on record
//! (`record`), so that an uninstall puts it back. A node's root may be mounted anywhere: no path
//! leads out of it (`root`).

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

mod args;
mod check;
mod config;
mod cri;
mod diff;
mod distribution;
mod docker;
mod effective;
mod error;
mod glob;
mod install;
mod kwasm;
mod names;
mod node;
mod plan;
mod record;
mod root;
mod run;
mod running;
mod service;
mod status;
mod template;
mod transaction;
mod tree;
mod uninstall;

#[cfg(test)]
mod tests;

pub use names::{ALIASES, Alias, alias};

use args::{Usage, Verb};
use error::told;

/// Exit status of a command line that can't be understood.
const MISUSED: u8 = 2;

/// Runs one of the commands, if the first argument is one: 0 done, 1 not done, 2 wrong usage.
#[must_use]
pub fn run(args: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = args.split_first()?;
    let first = first.to_str()?;
    if first == run::ENTER {
        let error = run::enter(rest);
        eprintln!("cannot enter the namespaces of process 1: {error}");
        return Some(ExitCode::FAILURE);
    }
    if first == run::FORGET {
        run::forget().unwrap_or_else(|error| eprintln!("{}", run::left(&error)));
        return Some(ExitCode::SUCCESS);
    }
    let verb = Verb::named(first)?;
    let name = format!("containerd-shim-wasm-v1 {}", verb.name());
    let settings = match args::parse(verb, rest) {
        Ok(Some(settings)) => settings,
        Ok(None) => return Some(print(&verb.help())),
        Err(Usage(reason)) => {
            eprintln!("{name}: {reason}; see {} --help", verb.name());
            return Some(MISUSED.into());
        }
    };
    let done = match verb {
        Verb::Install => install::install(settings).map(|text| (text, true)),
        Verb::Uninstall => uninstall::uninstall(settings).map(|text| (text, true)),
        Verb::Status => status::status(settings).map(|status| {
            let is_complete = status.is_complete;
            (status.into_text(), is_complete)
        }),
    };
    Some(match done {
        Ok((text, true)) => print(&text),
        Ok((text, false)) => {
            print(&text);
            ExitCode::FAILURE
        }
        Err(error) => {
            let nothing = match (&error, verb) {
                (error::Error::HalfWay { .. }, _) | (_, Verb::Status) => "",
                _ => "; nothing was changed",
            };
            eprintln!("{name}: {}{nothing}", told(&error));
            ExitCode::FAILURE
        }
    })
}

fn print(text: &str) -> ExitCode {
    let mut stdout = std::io::stdout();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("containerd-shim-wasm-v1: cannot write to stdout: {error}");
            ExitCode::FAILURE
        }
    }
}
