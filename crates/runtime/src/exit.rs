//! The end of a process that is our child.

use std::future::Future;
use std::io;
use std::time::{Duration, SystemTime};

use medley_io::StdioHandles;
use medley_sys::pidfd::{ExitStatus, PidFd};
use medley_task::Exit;
use medley_types::exit_status::UNKNOWN;

/// Pause before looking again at a process that can't be watched.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits for the end of `process` and for what it has written. `reap` takes its status, and says
/// `None` while it lives; `abandon` leaves one that can't be reaped to others.
pub(crate) async fn exited<F>(
    process: &PidFd,
    stdio: &StdioHandles,
    reap: impl Fn() -> F,
    abandon: impl FnOnce(),
) -> Exit
where
    F: Future<Output = io::Result<Option<ExitStatus>>>,
{
    let status = match watched(process, &reap).await {
        Ok(ended) => ended.status(),
        Err(error) => {
            let pid = process.pid();
            log::error!("process {pid}: its end can't be watched: {error}");
            // Better a late status, or an unknown one, than a process that never ends.
            polled(reap).await.unwrap_or_else(|_| {
                abandon();
                UNKNOWN.into()
            })
        }
    };
    let at = SystemTime::now();
    // A client that hears of the end takes what a terminal has shown by then for all of it. Pipes
    // have their own end, after which the client has all.
    stdio.drain().await;
    Exit { status, at }
}

async fn watched<F>(process: &PidFd, reap: impl Fn() -> F) -> io::Result<ExitStatus>
where
    F: Future<Output = io::Result<Option<ExitStatus>>>,
{
    let pidfd = process.watch()?;
    loop {
        let mut ready = pidfd.readable().await?;
        if let Some(ended) = reap().await? {
            return Ok(ended);
        }
        ready.clear_ready();
    }
}

async fn polled<F>(reap: impl Fn() -> F) -> io::Result<u32>
where
    F: Future<Output = io::Result<Option<ExitStatus>>>,
{
    loop {
        match reap().await? {
            Some(ended) => return Ok(ended.status()),
            None => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}
