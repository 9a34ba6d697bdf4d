//! `cache`: the node's native code, for people and for those who build node images.

mod args;
mod show;
mod warm;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use medley_image::Cache;
use medley_image::cache::{DEFAULT_LIMIT, Policy};

use crate::logging;
use args::{Command, Usage, Verb};

/// The first argument that makes our binary this command.
pub(crate) const VERB: &str = "cache";

/// Exit status of a command line that can't be understood.
const MISUSED: u8 = 2;

/// Runs it. 0: done; 1: something could not be done; 2: it is not called so.
pub(crate) fn run(args: &[OsString]) -> ExitCode {
    logging::to_stderr();
    let done = match args::parse(args) {
        Ok(Some(command)) => execute(&command),
        Ok(None) => print(args::HELP).map(|()| true),
        Err(Usage(reason)) => {
            eprintln!("containerd-shim-wasm-v1 cache: {reason}; see cache --help");
            return MISUSED.into();
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("containerd-shim-wasm-v1 cache: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what it says; false if a part of it could not be done, which was told.
fn execute(command: &Command) -> anyhow::Result<bool> {
    let folder = match (&command.folder, crate::serve::cache().folder()) {
        (Some(folder), _) => folder.clone(),
        (None, Some(folder)) => folder,
        (None, None) => anyhow::bail!(
            "the cache is off ({}=off); name a folder with --folder",
            crate::start::CACHE
        ),
    };
    match &command.verb {
        Verb::Warm(warm) => warm::run(&folder, warm, command.json).with_context(hint),
        Verb::List => {
            let cache = existing(&folder)?;
            let entries = cache.as_ref().map(Cache::entries).transpose()?;
            let entries = entries.unwrap_or_default();
            let failures = cache.as_ref().map(Cache::failures).unwrap_or_default();
            print(&if command.json {
                show::entries_as_json(&entries, &failures)?
            } else {
                show::table(&entries, &failures)
            })?;
            Ok(true)
        }
        Verb::Stat => {
            let cache = existing(&folder)?;
            let entries = cache.as_ref().map(Cache::entries).transpose()?;
            let limit = cache.as_ref().map_or(DEFAULT_LIMIT, Cache::limit);
            let failures = cache.as_ref().map(Cache::failures).unwrap_or_default();
            let totals =
                show::Totals::of(&folder, limit, &entries.unwrap_or_default(), failures.len());
            print(&if command.json {
                totals.as_json()?
            } else {
                totals.as_text()
            })?;
            Ok(true)
        }
        Verb::Prune(policy) => {
            let prune = |cache: Cache| {
                let mut pruned = cache.prune(policy.unwrap_or(Policy::ToSize(cache.limit())))?;
                if policy.is_none() {
                    pruned.forgotten = cache.forget_failures(None);
                }
                Ok::<_, medley_image::cache::Error>(pruned)
            };
            let pruned = existing(&folder)?.map(prune).transpose()?;
            let pruned = pruned.unwrap_or_default();
            print(&if command.json {
                show::pruned_as_json(&pruned)?
            } else {
                show::pruned(&pruned)
            })?;
            Ok(true)
        }
    }
}

fn existing(folder: &Path) -> anyhow::Result<Option<Cache>> {
    Cache::existing(folder, DEFAULT_LIMIT).with_context(hint)
}

/// What most often helps where the cache can't be used.
fn hint() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "cannot use the cache"
    } else {
        "cannot use the cache, which is root's: run this as root"
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        // The reader has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}
