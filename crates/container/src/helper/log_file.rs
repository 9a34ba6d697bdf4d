//! A helper's log: a file that the shim reads when the helper is done.
//!
//! libcontainer tells details only in its log (which path, which errno) and keeps them out of its
//! errors. The first line of level error is therefore the best answer to "why", and is kept; in
//! debug mode everything is.

use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::protocol::Failure;

/// Closed in an init that waits: the helper's log is for the shim.
static FILE: OnceLock<Mutex<Option<std::fs::File>>> = OnceLock::new();

struct HelperLog;

impl log::Log for HelperLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            write(&format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// Logs to what stderr is now: init gives stderr to the container later.
pub(crate) fn start(debug: bool) -> Result<(), Failure> {
    let file = std::io::stderr().as_fd().try_clone_to_owned();
    let file = file.map_err(|error| Failure::Failed {
        reason: format!("the helper cannot log: {error}"),
    })?;
    if FILE.set(Mutex::new(Some(file.into()))).is_ok() && log::set_logger(&HelperLog).is_ok() {
        log::set_max_level(if debug {
            log::LevelFilter::Debug
        } else {
            log::LevelFilter::Error
        });
    }
    Ok(())
}

/// Closes the log, in a process that stderr is not ours in any more. What is said from here on is lost.
pub(crate) fn stop() {
    if let Some(file) = FILE.get() {
        drop(file.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Appends one line. A log that can't be written is no reason to fail.
pub(crate) fn write(line: &str) {
    let line = format!("{}\n", line.replace('\n', " "));
    let result = match FILE.get() {
        Some(file) => match &mut *file.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => file.write_all(line.as_bytes()),
            None => Ok(()),
        },
        None => std::io::stderr().write_all(line.as_bytes()),
    };
    drop(result);
}

/// Whether a line tells of what went well.
fn is_detail(line: &str) -> bool {
    ["INFO ", "DEBUG ", "TRACE "]
        .iter()
        .any(|level| line.starts_with(level))
}

/// The line of a helper's log that says most about a failure.
pub(crate) fn cause(log: &str) -> Option<&str> {
    let errors = || log.lines().filter_map(|line| line.strip_prefix("ERROR "));
    errors().next().or_else(|| {
        log.lines()
            .find(|line| !line.is_empty() && !is_detail(line))
    })
}

#[cfg(test)]
mod tests {
    use super::cause;

    #[test]
    fn the_first_error_is_the_cause() {
        assert_eq!(cause("DEBUG a\nERROR b\nERROR c\n"), Some("b"));
        assert_eq!(
            cause("thread 'main' panicked\n"),
            Some("thread 'main' panicked")
        );
        assert_eq!(cause(""), None);
        assert_eq!(cause("DEBUG a\nINFO b\n"), None);
    }
}
