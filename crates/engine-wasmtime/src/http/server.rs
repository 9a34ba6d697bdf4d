//! The server's life: from its first thread to the last answer.

use std::sync::Arc;

use medley_engine::Guest;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::LinkedHandler;
use super::listener;
use super::request::Handlers;
use super::settings::{self, Settings};

/// Threads at most, where neither the container's limit nor its environment says less: each costs
/// memory, and a node may have a hundred processors.
const MAX_WORKERS: usize = 16;

/// Memory that a request takes beside its linear memory, in bytes: its stack, its buffers.
const PER_REQUEST: u64 = 256 << 10;

/// Exit statuses after a signal begin here.
const SIGNALLED: u8 = 128;

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Settings(#[from] settings::Error),
    #[error(transparent)]
    Listener(#[from] listener::Error),
    #[error("the server's threads cannot be made: {0}")]
    Threads(std::io::Error),
    #[error("the server cannot hear of signals: {0}")]
    Signals(std::io::Error),
}

/// Serves until a signal ends it, and gives the exit status. Calls `started` when it listens.
pub(super) fn run(
    linked: &LinkedHandler,
    guest: &Guest,
    started: &mut dyn FnMut(),
) -> Result<u8, Error> {
    let settings = Settings::of(&guest.env)?;
    let workers = workers(&settings, guest);
    let runtime = runtime(workers).map_err(Error::Threads)?;
    let status = runtime.block_on(serve(linked, guest, &settings, workers, started));
    // A handler that is stuck in a call of the system must not keep us.
    runtime.shutdown_background();
    status
}

async fn serve(
    linked: &LinkedHandler,
    guest: &Guest,
    settings: &Settings,
    workers: usize,
    started: &mut dyn FnMut(),
) -> Result<u8, Error> {
    let listener = listener::bind(settings)?;
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let concurrency = concurrency(linked, guest, settings, workers);
    let handlers = Handlers::new(linked, guest, settings, concurrency).map_err(Error::Threads)?;
    let handlers = Arc::new(handlers);
    started();

    let (drain, draining) = watch::channel(false);
    let (alive, mut all_gone) = mpsc::channel(1);
    tokio::spawn(listener::accept(
        listener,
        handlers.clone(),
        draining,
        alive,
    ));
    let signal = signals.next().await;
    drain.send_replace(true);
    tokio::select! {
        _ = all_gone.recv() => {}
        () = tokio::time::sleep(settings.drain_timeout) => {
            let time = settings.drain_timeout.as_secs_f64();
            handlers.say(&format!("ended with requests unanswered, {time} s after the signal"));
        }
        _ = signals.next() => {
            handlers.say("ended with requests unanswered, at the second signal");
        }
    }
    Ok(SIGNALLED + signal)
}

/// The signals that ask a server to end.
struct Signals([(u8, Signal); 3]);

impl Signals {
    fn new() -> std::io::Result<Self> {
        let hear = |number: u8, kind: SignalKind| {
            // tokio's handler calls the one that was there before, and that one ends the process.
            // SAFETY: no safe function sets a signal's disposition. The default one runs no code
            // of ours, and nothing in this process counts on another.
            let before = unsafe { libc::signal(kind.as_raw_value(), libc::SIG_DFL) };
            if before == libc::SIG_ERR {
                return Err(std::io::Error::last_os_error());
            }
            Ok((number, signal(kind)?))
        };
        Ok(Self([
            hear(15, SignalKind::terminate())?,
            hear(2, SignalKind::interrupt())?,
            hear(3, SignalKind::quit())?,
        ]))
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        let [(term, on_term), (int, on_int), (quit, on_quit)] = &mut self.0;
        tokio::select! {
            _ = on_term.recv() => *term,
            _ = on_int.recv() => *int,
            _ = on_quit.recv() => *quit,
        }
    }
}

fn runtime(workers: usize) -> std::io::Result<Runtime> {
    if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("worker")
            .enable_all()
            .build()
    }
}

/// As many threads as the container may use processors.
fn workers(settings: &Settings, guest: &Guest) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let limit = guest.millicpus.map_or(usize::MAX, |millis| {
        usize::try_from(millis.div_ceil(1000)).unwrap_or(usize::MAX)
    });
    settings
        .workers
        .unwrap_or_else(|| processors.min(limit).clamp(1, MAX_WORKERS))
}

/// As many requests at a time as fit into three quarters of the container's memory.
fn concurrency(
    linked: &LinkedHandler,
    guest: &Guest,
    settings: &Settings,
    workers: usize,
) -> usize {
    let fitting = guest.memory.most().map(|most| {
        let fitting = most.limit / 4 * 3 / (linked.instance_size + PER_REQUEST);
        usize::try_from(fitting).unwrap_or(usize::MAX).max(workers)
    });
    settings
        .concurrency
        .or(fitting)
        .unwrap_or(usize::MAX)
        .clamp(1, linked.instances)
}
