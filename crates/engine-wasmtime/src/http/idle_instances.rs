//! Instances that have answered a request and wait for another one.
//!
//! All instances together, those that wait and those that have a request, are never more than the
//! requests that may be handled at the same time: an instance is made only if none waits, and begins to
//! wait before its request gives up its turn.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::instance::Instance;

/// The instances that wait.
pub(super) struct IdleInstances {
    /// How many requests one instance may answer.
    max: u32,
    /// How long one waits. Absent: for ever.
    timeout: Option<Duration>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Each with the moment at which it began to wait, the earliest first.
    instances: VecDeque<(Instant, Instance)>,
    /// Whether a task is there that ends those which wait for too long.
    is_watched: bool,
}

impl IdleInstances {
    pub(super) fn new(max: u32, timeout: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            max,
            timeout,
            waiting: Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that has waited for the shortest time, whose memory is the likeliest to be at hand.
    pub(super) fn take(&self) -> Option<Instance> {
        if self.max == 1 {
            return None;
        }
        self.waiting().instances.pop_back().map(|(_, one)| one)
    }

    /// Keeps an instance whose request has ended as it should, if it may have another one.
    pub(super) fn put(self: &Arc<Self>, mut instance: Instance) {
        if !instance.end(self.max) {
            return;
        }
        let mut waiting = self.waiting();
        waiting.instances.push_back((Instant::now(), instance));
        if let Some(timeout) = self.timeout
            && !waiting.is_watched
        {
            waiting.is_watched = true;
            tokio::spawn(watch(self.clone(), timeout));
        }
    }

    /// Ends all that wait; false if there are none.
    pub(super) fn clear(&self) -> bool {
        let ended = std::mem::take(&mut self.waiting().instances);
        !ended.is_empty()
    }

    /// Takes out those that have waited for `timeout`, and says how long the next one has.
    fn ended(&self, timeout: Duration) -> (Vec<Instance>, Option<Duration>) {
        let mut waiting = self.waiting();
        let mut ended = Vec::new();
        let is_due = |(since, _): &mut (Instant, Instance)| since.elapsed() >= timeout;
        while let Some((_, one)) = waiting.instances.pop_front_if(is_due) {
            ended.push(one);
        }
        let next = waiting.instances.front().map(|(since, _)| since.elapsed());
        waiting.is_watched = next.is_some();
        (ended, next)
    }
}

/// Ends those that wait for too long. Returns once none waits, so that a server without requests does
/// not wake the processor.
async fn watch(idle: Arc<IdleInstances>, timeout: Duration) {
    let mut waited = Duration::ZERO;
    loop {
        tokio::time::sleep(timeout.saturating_sub(waited)).await;
        let (ended, next) = idle.ended(timeout);
        drop(ended);
        match next {
            Some(next) => waited = next,
            None => return,
        }
    }
}

impl fmt::Debug for IdleInstances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdleInstances")
            .field("max", &self.max)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
