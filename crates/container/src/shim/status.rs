//! The status pipe: how a process's start went.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::error::Error;
use crate::protocol::STARTED;

/// Most that is read of what a process says, in bytes.
const MAX_STATUS: u64 = 64 << 10;

/// As [`await_started`], for `timeout` at the longest.
pub(super) fn await_started_within(status: File, pid: i32, timeout: Duration) -> Result<(), Error> {
    let failed = |source| Error::Notify { pid, source };
    let deadline = Instant::now() + timeout;
    let mut output = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if !medley_sys::watch::wait_readable(status.as_fd(), Some(left)).map_err(failed)? {
            return Err(Error::StartTimeout { pid, timeout });
        }
        let mut piece = [0; 512];
        match (&status).read(&mut piece).map_err(failed)? {
            0 => return started(&output),
            _ if output.len() as u64 >= MAX_STATUS => return started(&output),
            size => output.extend_from_slice(&piece[..size]),
        }
    }
}

/// Waits until the program of the process `pid` runs, as its status pipe says.
pub(super) fn await_started(mut status: File, pid: i32) -> Result<(), Error> {
    let mut output = Vec::new();
    (&mut status)
        .take(MAX_STATUS)
        .read_to_end(&mut output)
        .map_err(|source| Error::Notify { pid, source })?;
    started(&output)
}

/// Whether a process runs whose status pipe had this until its end.
pub(super) fn started(output: &[u8]) -> Result<(), Error> {
    if output == STARTED {
        return Ok(());
    }
    let reason = output.strip_prefix(STARTED).unwrap_or(output);
    let reason = match String::from_utf8_lossy(reason).into_owned() {
        reason if reason.is_empty() => "it ended before its program ran: it was killed".to_owned(),
        reason => reason,
    };
    Err(Error::NotStarted { reason })
}

#[cfg(test)]
mod tests {
    use super::{await_started, await_started_within};
    use crate::shim::Error;
    use std::fs::File;
    use std::io::{PipeWriter, Write};
    use std::os::fd::OwnedFd;
    use std::time::Duration;

    fn pipe() -> (File, PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        (File::from(OwnedFd::from(reader)), writer)
    }

    fn said(text: &[u8]) -> Result<(), Error> {
        let (reader, mut writer) = pipe();
        writer.write_all(text).unwrap();
        drop(writer);
        await_started(reader, 1)
    }

    #[test]
    fn a_process_runs_once_its_pipe_ends_after_the_mark() {
        said(b"+").unwrap();
        let error = said(b"+no such file").unwrap_err();
        assert_eq!(error.to_string(), "no such file");
        let error = said(b"").unwrap_err().to_string();
        assert!(error.contains("before its program ran"), "{error}");
    }

    #[test]
    fn a_pipe_that_stays_open_is_late() {
        let (reader, _writer) = pipe();
        let error = await_started_within(reader, 7, Duration::from_millis(1)).unwrap_err();
        assert!(
            matches!(error, Error::StartTimeout { pid: 7, .. }),
            "{error}"
        );
    }
}
