//! The tasks of a shim by their ids, and its sandbox.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use medley_types::Cancel;
use tokio::sync::{Notify, watch};

use super::sandbox_record::SandboxSlot;
use crate::error::Error;
use crate::events::Events;
use crate::name::Name;
use crate::runtime::Runtime;
use crate::task_record::Task;

/// Every task of one shim.
///
/// Calls that change something run to their end even if the caller gives up: a container that is
/// half made or half deleted would leak.
#[derive(Clone)]
pub struct Service {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) events: Events,
    /// Guards which ids are in use; held for look-ups only, never while a container is made.
    pub(super) tasks: Mutex<HashMap<String, Slot>>,
    /// Guards which sandbox the shim serves; held for look-ups only. Never taken with `tasks` held.
    pub(super) sandbox: Mutex<SandboxSlot>,
    /// Set once there is or was a pod.
    pub(super) for_sandbox: AtomicBool,
    /// Set under the lock of `tasks`, once there will be no more.
    pub(super) ending: AtomicBool,
    pub(super) shutdown: Notify,
    /// Told when the last task is gone, or the only Create has failed.
    pub(super) idle: Notify,
}

/// An id in use.
pub(super) enum Slot {
    /// Create is under way.
    Reserved(UnderWay),
    Task(Arc<Task>),
}

/// A Create that is under way.
pub(super) struct UnderWay {
    /// Closes when it is through, made or failed.
    pub(super) done: watch::Receiver<()>,
    pub(super) cancel: Cancel,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
    }
}

impl Service {
    /// A service without tasks.
    #[must_use]
    pub fn new(runtime: Arc<dyn Runtime>, events: Events) -> Self {
        Self {
            shared: Arc::new(Shared {
                runtime,
                events,
                tasks: Mutex::default(),
                sandbox: Mutex::default(),
                for_sandbox: AtomicBool::new(false),
                ending: AtomicBool::new(false),
                shutdown: Notify::new(),
                idle: Notify::new(),
            }),
        }
    }

    /// Ends the shim if it has no task left and serves no sandbox; is ignored otherwise.
    pub fn shutdown(&self) {
        if self.has_sandbox() {
            return;
        }
        let tasks = self.tasks();
        if tasks.is_empty() {
            self.shared.ending.store(true, Ordering::Relaxed);
            self.shared.shutdown.notify_one();
        }
    }

    /// Waits until [`Self::shutdown`] was heard.
    pub async fn ended(&self) {
        self.shared.shutdown.notified().await;
    }

    /// Waits until the last task went.
    pub async fn idle(&self) {
        self.shared.idle.notified().await;
    }

    pub(super) fn remove(&self, id: &str) {
        let mut tasks = self.tasks();
        tasks.remove(id);
        if tasks.is_empty() {
            self.shared.idle.notify_one();
        }
    }

    /// Whether there is no task, and none is being made.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tasks().is_empty()
    }

    /// The task that is to be deleted, once it is made.
    pub(super) async fn await_created(&self, id: &str) -> Result<Arc<Task>, Error> {
        loop {
            let mut waits = match self.tasks().get(id) {
                Some(Slot::Reserved(under_way)) => {
                    // A task that is to be deleted is not wanted: nothing may hold its Create up.
                    if under_way.cancel.cancel() {
                        log::info!("{id}: given up while it was made");
                    }
                    under_way.done.clone()
                }
                Some(Slot::Task(task)) => return Ok(Arc::clone(task)),
                None => return Err(not_found(id)),
            };
            // Nothing is ever sent: this is the channel's end.
            while waits.changed().await.is_ok() {}
        }
    }

    pub(super) fn task(&self, id: &str) -> Result<Arc<Task>, Error> {
        match self.tasks().get(id) {
            Some(Slot::Task(task)) => Ok(Arc::clone(task)),
            Some(Slot::Reserved(_)) | None => Err(not_found(id)),
        }
    }

    pub(super) fn tasks(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        // A thread that panicked held the lock for a look-up only: the map is whole.
        self.shared
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn every_task(&self) -> Vec<Arc<Task>> {
        let tasks = self.tasks();
        let made = tasks.values().filter_map(|slot| match slot {
            Slot::Task(task) => Some(Arc::clone(task)),
            Slot::Reserved(_) => None,
        });
        made.collect()
    }

    pub(super) fn sandbox_slot(&self) -> MutexGuard<'_, SandboxSlot> {
        // Assigned as a whole: a panic leaves it right.
        self.shared
            .sandbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the shim serves a sandbox, which outlives its containers.
    pub(super) fn has_sandbox(&self) -> bool {
        !matches!(*self.sandbox_slot(), SandboxSlot::None)
    }
}

fn not_found(id: &str) -> Error {
    Error::NotFound {
        name: Name::task(id),
    }
}
