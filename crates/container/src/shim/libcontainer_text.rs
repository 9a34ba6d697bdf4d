//! libcontainer's faults in sentences for users.
//!
//! Its errors come over a socket as text without their causes. Its log has these, as Rust's own
//! text of structures: which mount, which errno. So the first line of the log that is known tells
//! what failed on what, the first errno from there on tells why, and both tell what would help.

mod debug;
mod fault;
mod faults;
mod named;
mod refusals;

use super::error::Error;
use crate::helper::log_file;
use crate::hooks;

pub(super) use fault::{Fault, Step};
pub(super) use named::named;

/// What a helper could not do, by `reason`, the text of its error, and by its log.
pub(super) fn told(reason: &str, log: &str) -> Error {
    let whole = without_its_way(reason);
    // One that we have run says it all.
    if whole.starts_with(hooks::FAILED) {
        let reason = whole.to_owned();
        return Error::Refused { reason };
    }
    match fault(reason, log) {
        Some(fault) => Error::Libcontainer(fault),
        None => Error::Refused {
            reason: unknown(reason, log),
        },
    }
}

/// The fault of `reason`, the text of libcontainer's error, and of `log`, if it is known.
fn fault(reason: &str, log: &str) -> Option<Fault> {
    /// What comes after it is of cleaning up.
    const LAST: &str = "failed to run container process";
    let errors: Vec<&str> = log
        .lines()
        .filter_map(|line| line.strip_prefix("ERROR "))
        .take_while(|line| !line.starts_with(LAST))
        .collect();
    let known = errors.iter().enumerate().find_map(|(at, line)| {
        let cause = || errors[at..].iter().find_map(|line| debug::errno(line));
        faults::told(line, cause)
    });
    let fault = known.or_else(|| refusals::told(without_its_way(reason)))?;
    Some(match fault.step {
        Step::Hook => fault.saying(last_words(log)),
        _ => fault,
    })
}

/// What a hook wrote last: it has the log as its stderr.
fn last_words(log: &str) -> Option<&str> {
    const LEVELS: [&str; 5] = ["ERROR ", "WARN ", "INFO ", "DEBUG ", "TRACE "];
    let is_ours = |line: &str| LEVELS.iter().any(|level| line.starts_with(level));
    let mut words = log.lines().map(str::trim);
    words.rfind(|line| !line.is_empty() && !is_ours(line))
}

/// The text for a fault that is not known: the helper's reason, with the detail that only its log has.
fn unknown(reason: &str, log: &str) -> String {
    let reason = without_its_way(reason);
    match log_file::cause(log).map(debug::plain) {
        Some(cause) if !reason.contains(&cause) => format!("{reason} ({cause})"),
        _ => debug::plain(reason),
    }
}

/// An error's text without the processes that it came through.
fn without_its_way(reason: &str) -> &str {
    const WAY: [&str; 5] = [
        "failed to create container: ",
        "exec process failed with error ",
        "error in executing process : ",
        "intermediate process error ",
        "failed hooks ",
    ];
    let mut rest = reason;
    while let Some(next) = WAY.iter().find_map(|step| rest.strip_prefix(step)) {
        rest = next;
    }
    // What failed while it cleaned up is not the reason.
    rest.split_once(". error during cleanup: ")
        .map_or(rest, |(rest, _)| rest)
}

#[cfg(test)]
mod tests;
