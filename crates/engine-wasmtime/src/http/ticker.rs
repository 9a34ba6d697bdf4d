//! The clock by which handlers take turns: one that computes without end, and calls nothing, has
//! to give way after a tick, or neither its timeout nor another handler would get a turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::Engine;

/// Longest turn.
const TICK: Duration = Duration::from_millis(10);

/// Ticks without a request after which the clock stands still: a server without requests must not
/// wake the processor a hundred times a second.
const IDLE_TICKS: u32 = 20;

/// Advances an engine's epoch as long as there are requests.
#[derive(Debug, Clone)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct Shared {
    /// Requests ever begun.
    begun: AtomicU64,
    /// Requests that have not ended.
    running: AtomicU64,
    /// Whether the thread sleeps until it is woken.
    parked: AtomicBool,
}

/// A request for whose time the clock runs.
#[derive(Debug)]
pub(super) struct EpochTurn(Arc<Shared>);

impl Ticker {
    /// Starts the thread, which lives as long as the process.
    pub(super) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let clock = shared.clone();
        let thread = std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || tick(&engine, &clock))?;
        Ok(Self {
            shared,
            thread: thread.thread().clone(),
        })
    }

    /// A request begins.
    pub(super) fn turn(&self) -> EpochTurn {
        // Sequentially consistent with the thread's own order, which says that it parks and then
        // looks at these: one of the two sees the other.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        self.shared.begun.fetch_add(1, Ordering::Relaxed);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        EpochTurn(self.shared.clone())
    }
}

impl Drop for EpochTurn {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &Engine, shared: &Shared) {
    let mut idle = 0;
    let mut seen = 0;
    loop {
        std::thread::sleep(TICK);
        engine.increment_epoch();
        let begun = shared.begun.load(Ordering::Relaxed);
        if begun != seen || shared.running.load(Ordering::SeqCst) > 0 {
            (seen, idle) = (begun, 0);
            continue;
        }
        idle += 1;
        if idle < IDLE_TICKS {
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        while shared.running.load(Ordering::SeqCst) == 0 {
            std::thread::park();
        }
        shared.parked.store(false, Ordering::SeqCst);
        idle = 0;
    }
}
