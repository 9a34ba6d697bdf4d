//! The server's life: from its first thread to the last answer.

use std::sync::Arc;

use medley_engine::{Application, Guest};
use medley_types::exit_status;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use wasmtime::Engine;

use super::chain::Chain;
use super::handler::{Handler, Hosted};
use super::listener;
use super::memory_budget::SharedBudget;
use super::request::{DrainToken, Handlers};
use super::settings::Settings;
use super::signals::Signals;
use super::site::{Routes, Site};
use super::ticker::Ticker;
use crate::{stdio, variables};

/// Threads at most, where neither the container's limit nor its environment says less: each costs
/// memory, and a node may have a hundred processors.
const MAX_WORKERS: usize = 16;

/// Memory that a request takes beside its linear memory, in bytes: its stack, its buffers.
const PER_REQUEST: u64 = 256 << 10;

/// Connections at most, where the environment does not say: what one process serves well.
const MAX_CONNECTIONS: usize = 4096;

/// And at least, however little there is of files and memory.
const MIN_CONNECTIONS: usize = 16;

/// Memory that a connection takes, its socket's in the kernel included, in bytes.
const PER_CONNECTION: u64 = 64 << 10;

/// Why the server could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Settings(#[from] variables::Error),
    #[error(transparent)]
    Listener(#[from] listener::Error),
    #[error("the server's threads cannot be made: {0}")]
    Threads(std::io::Error),
    #[error("the server cannot hear of signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Application(medley_spin::Error),
}

/// Serves until a signal ends it, and gives the exit status. Calls `started` when it listens. Without an
/// application there is one component.
pub(super) fn run(
    hosted: Vec<Hosted<'_>>,
    application: Option<(&Application, &Chain)>,
    guest: &Guest,
    started: &mut dyn FnMut(),
) -> Result<u8, Error> {
    let settings = match application {
        Some(_) => Settings::of_application(&guest.env)?,
        None => Settings::of(&guest.env)?,
    };
    let workers = workers(&settings, guest);
    let runtime = runtime(workers).map_err(Error::Threads)?;
    let status = runtime.block_on(async {
        let listeners = listener::bind(&settings).await?;
        let (alive, all_gone) = mpsc::channel(1);
        let application = application.map(|(application, chain)| (application, chain, &alive));
        let handlers = handlers(hosted, application, guest, &settings, (workers, &listeners))?;
        serve(listeners, handlers, &settings, (alive, all_gone), started).await
    });
    // A handler that is stuck in a call of the system must not keep us.
    runtime.shutdown_background();
    status
}

/// What answers requests.
fn handlers(
    hosted: Vec<Hosted<'_>>,
    application: Option<(&Application, &Chain, &DrainToken)>,
    guest: &Guest,
    settings: &Settings,
    (workers, listeners): (usize, &[TcpListener]),
) -> Result<Arc<Handlers>, Error> {
    let concurrency = concurrency(&hosted, guest, settings, workers);
    let most = connections(guest, settings);
    let stdout = Arc::new(stdio::stdio(std::io::stdout()).map_err(Error::Threads)?);
    let stderr = Arc::new(stdio::stdio(std::io::stderr()).map_err(Error::Threads)?);
    // One for all, as none may keep from the others what it no longer needs.
    let budget = SharedBudget::new(&guest.memory);
    let mut made = Vec::new();
    // Components of one profile have one engine, whose clock is one too.
    let mut tickers: Vec<(Engine, Ticker)> = Vec::new();
    for hosted in hosted {
        let engine = hosted.linked.engine();
        let known = tickers
            .iter()
            .find(|(other, _)| Engine::same(other, engine));
        let ticker = match known {
            Some((_, ticker)) => ticker.clone(),
            None => {
                let ticker = Ticker::start(engine.clone()).map_err(Error::Threads)?;
                tickers.push((engine.clone(), ticker.clone()));
                ticker
            }
        };
        let name = hosted.name.clone();
        let handler = Handler::new(hosted, settings, ticker, &budget, (&stdout, &stderr));
        made.push((name, Arc::new(handler)));
    }
    let (name, site) = match (application, made.as_slice()) {
        (None, [(name, only)]) => (name.clone(), Site::One(only.clone())),
        (None, _) => return Err(Error::Application(medley_spin::Error::NoTrigger)),
        (Some((application, chain, alive)), made) => {
            let server = listeners.first().and_then(|first| first.local_addr().ok());
            let by_id = made.iter().cloned().collect();
            chain.set(by_id, server, concurrency, alive);
            let named = |id: &str| Some(made.iter().find(|(name, _)| name == id)?.1.clone());
            let routes = Routes::new(&application.app, named).map_err(Error::Application)?;
            let name = application.manifest.display().to_string();
            (name, Site::Application(Box::new(routes)))
        }
    };
    let log = (name, stderr);
    let handlers = Arc::new(Handlers::new(site, log, settings, concurrency, most.let_in));
    if let Some(warning) = most.warning {
        handlers.say(&warning);
    }
    Ok(handlers)
}

async fn serve(
    listeners: Vec<TcpListener>,
    handlers: Arc<Handlers>,
    settings: &Settings,
    (alive, mut all_gone): (DrainToken, mpsc::Receiver<()>),
    started: &mut dyn FnMut(),
) -> Result<u8, Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    started();

    let (drain, draining) = watch::channel(false);
    for listener in listeners {
        let (handlers, draining, alive) = (handlers.clone(), draining.clone(), alive.clone());
        tokio::spawn(listener::accept(listener, handlers, draining, alive));
    }
    drop(alive);
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
    Ok(exit_status::of_signal(signal))
}

/// Of each thread, in bytes: what is not used takes address space alone. SQLite goes deep into some statements.
const STACK_SIZE: usize = 16 << 20;

fn runtime(workers: usize) -> std::io::Result<Runtime> {
    if workers == 1 {
        tokio::runtime::Builder::new_current_thread()
            .thread_stack_size(STACK_SIZE)
            .enable_all()
            .build()
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("worker")
            .thread_stack_size(STACK_SIZE)
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
fn concurrency(hosted: &[Hosted<'_>], guest: &Guest, settings: &Settings, workers: usize) -> usize {
    let linked = || hosted.iter().map(|hosted| hosted.linked);
    let size = linked().map(|linked| linked.instance_size).max();
    let fitting = guest.memory.available().map(|most| {
        let fitting = most.limit / 4 * 3 / (size.unwrap_or(0) + PER_REQUEST);
        usize::try_from(fitting).unwrap_or(usize::MAX).max(workers)
    });
    let mut instances = linked().map(|linked| linked.instances).min().unwrap_or(1);
    if settings.instance_reuse > 1 {
        // Those of one component that wait for a request take none of the places of another's.
        instances = (instances / hosted.len().max(1)).max(1);
    }
    settings
        .concurrency
        .or(fitting)
        .unwrap_or(usize::MAX)
        .clamp(1, instances)
}

/// How many connections are let in.
struct MaxConnections {
    let_in: usize,
    /// What the log is told of a number that is not kept to.
    warning: Option<String>,
}

/// As many as need half of the files that the container may have open, which handlers need too, and a
/// quarter of its memory.
fn connections(guest: &Guest, settings: &Settings) -> MaxConnections {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = files.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    });
    let memory = guest.memory.available().map_or(usize::MAX, |most| {
        usize::try_from(most.limit / 4 / PER_CONNECTION).unwrap_or(usize::MAX)
    });
    let Some(wanted) = settings.max_connections else {
        let fitting = (files / 2).min(memory).min(MAX_CONNECTIONS);
        return MaxConnections {
            let_in: fitting.max(MIN_CONNECTIONS),
            warning: None,
        };
    };
    // One that makes place is still open for a moment, of which there may be a quarter as many.
    let fitting = (files / 5 * 3).max(1);
    MaxConnections {
        let_in: wanted.min(fitting),
        warning: (wanted > fitting).then(|| {
            format!(
                "no more than {fitting} connections are let in instead of {wanted}, as the \
                 container may have {files} files open (RLIMIT_NOFILE)"
            )
        }),
    }
}
