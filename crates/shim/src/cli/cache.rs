//! `cache`: the node's native code, for people and for those who build node images.

mod args;
mod help;
mod show;
mod warm;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use medley_image::Cache;
use medley_image::cache::{DEFAULT_LIMIT, Policy};

use crate::logging;

use super::output::print;
use super::usage::{MISUSED, Usage};
use args::{Command, Parsed, Verb};

/// The first argument that makes our binary this command.
pub(super) const NAME: &str = "cache";

/// Runs it. 0: done; 1: something could not be done; 2: it is not called so.
pub(super) fn run(args: &[OsString]) -> ExitCode {
    logging::to_stderr();
    let done = match args::parse(args) {
        Ok(Parsed::Command(command)) => execute(&command),
        Ok(Parsed::Help(text)) => print(&text).map(|()| true),
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
    let dir = match (&command.dir, crate::environment::cache().dir()) {
        (Some(dir), _) => dir.clone(),
        (None, Some(dir)) => dir,
        (None, None) => anyhow::bail!(
            "the cache is off ({}=off); name a directory with --dir",
            crate::environment::CACHE
        ),
    };
    match &command.verb {
        Verb::Warm(warm) => warm::run(&dir, warm, command.json).with_context(hint),
        Verb::List => {
            let cache = existing(&dir)?;
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
            let cache = existing(&dir)?;
            let entries = cache.as_ref().map(Cache::entries).transpose()?;
            let limit = cache.as_ref().map_or(DEFAULT_LIMIT, Cache::limit);
            let failures = cache.as_ref().map(Cache::failures).unwrap_or_default();
            let totals =
                show::Totals::of(&dir, limit, &entries.unwrap_or_default(), failures.len());
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
            let pruned = existing(&dir)?.map(prune).transpose()?;
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

fn existing(dir: &Path) -> anyhow::Result<Option<Cache>> {
    Cache::existing(dir, DEFAULT_LIMIT).with_context(hint)
}

/// What most often helps where the cache can't be used.
fn hint() -> &'static str {
    if rustix::process::geteuid().is_root() {
        "cannot use the cache"
    } else {
        "cannot use the cache, which is root's: run this as root"
    }
}
