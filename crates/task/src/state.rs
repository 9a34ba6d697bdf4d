//! One task: its container, its processes, and how far the life of each has come.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::Error;
use crate::name::Name;
use crate::runtime::{Container, CreateRequest, ExecRequest, Exit, Process};

/// How far a process's life has come. Only pausing ever goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits to be started.
    Created,
    /// Start is under way: its event is not out yet.
    Starting,
    /// The program runs.
    Running,
    /// Pause is under way.
    Pausing,
    /// Stopped where it stands.
    Paused,
    /// Resume is under way.
    Resuming,
    /// It has ended, and its exit event is out.
    Stopped(Exit),
    /// Delete is under way.
    Deleting(Exit),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "being paused",
            Self::Paused => "paused",
            Self::Resuming => "being resumed",
            Self::Stopped(_) => "stopped",
            Self::Deleting(_) => "being deleted",
        })
    }
}

impl Status {
    /// How it ended, if it has.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) | Self::Deleting(exit) => Some(exit),
            Self::Created
            | Self::Starting
            | Self::Running
            | Self::Pausing
            | Self::Paused
            | Self::Resuming => None,
        }
    }

    /// Something, unless a start is under way.
    pub(crate) fn not_starting(self) -> Option<()> {
        (self != Self::Starting).then_some(())
    }
}

/// A process's name and status.
pub(crate) struct Life {
    pub(crate) name: Name,
    status: watch::Sender<Status>,
}

impl Life {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            status: watch::Sender::new(Status::Created),
        }
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Moves from a status that `from` allows to the one that it gives, in one step.
    pub(crate) fn advance(
        &self,
        verb: &'static str,
        from: impl FnOnce(Status) -> Option<Status>,
    ) -> Result<Status, Error> {
        let mut result = Err(Status::Created);
        self.status.send_if_modified(|status| {
            match from(*status) {
                Some(to) => {
                    result = Ok(to);
                    *status = to;
                }
                None => result = Err(*status),
            }
            result.is_ok()
        });
        result.map_err(|status| self.illegal(verb, status))
    }

    /// Moves from the status `from` to `to`, in one step.
    pub(crate) fn step(
        &self,
        verb: &'static str,
        from: Status,
        to: Status,
    ) -> Result<Status, Error> {
        self.advance(verb, |status| (status == from).then_some(to))
    }

    /// The error of a call that `status` does not allow.
    pub(crate) fn illegal(&self, verb: &'static str, status: Status) -> Error {
        Error::IllegalState {
            name: self.name.clone(),
            verb,
            status,
        }
    }

    /// Waits until `wanted` gives something.
    pub(crate) async fn when<T>(&self, wanted: impl Fn(Status) -> Option<T>) -> T {
        let mut receiver = self.status.subscribe();
        loop {
            let now = *receiver.borrow_and_update();
            if let Some(value) = wanted(now) {
                return value;
            }
            if receiver.changed().await.is_err() {
                // The sender is ours and lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A task.
pub(crate) struct Task {
    pub(crate) request: CreateRequest,
    pub(crate) container: Arc<dyn Container>,
    pub(crate) life: Life,
    /// Guards which exec ids are in use; held for look-ups only.
    execs: Mutex<HashMap<String, ExecSlot>>,
}

/// An exec id in use.
enum ExecSlot {
    /// Exec is under way.
    Reserved,
    Exec(Arc<Exec>),
}

/// A further process of a task.
pub(crate) struct Exec {
    pub(crate) request: ExecRequest,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) life: Life,
}

impl Task {
    pub(crate) fn new(request: CreateRequest, container: Arc<dyn Container>) -> Self {
        Self {
            life: Life::new(Name::task(&request.id)),
            request,
            container,
            execs: Mutex::default(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.request.id
    }

    /// Takes an exec id until the reservation is dropped, or an exec is put in its place.
    pub(crate) fn reserve(self: &Arc<Self>, exec_id: &str) -> Result<ExecReservation, Error> {
        let mut execs = self.execs();
        if execs.contains_key(exec_id) {
            return Err(Error::Exists {
                name: Name::new(self.id(), exec_id),
            });
        }
        execs.insert(exec_id.to_owned(), ExecSlot::Reserved);
        Ok(ExecReservation {
            task: Arc::clone(self),
            exec_id: exec_id.to_owned(),
            kept: false,
        })
    }

    pub(crate) fn exec(&self, exec_id: &str) -> Result<Arc<Exec>, Error> {
        match self.execs().get(exec_id) {
            Some(ExecSlot::Exec(exec)) => Ok(Arc::clone(exec)),
            Some(ExecSlot::Reserved) | None => Err(Error::NotFound {
                name: Name::new(self.id(), exec_id),
            }),
        }
    }

    /// Every exec that was made.
    pub(crate) fn every_exec(&self) -> Vec<Arc<Exec>> {
        let execs = self.execs();
        let made = execs.values().filter_map(|slot| match slot {
            ExecSlot::Exec(exec) => Some(Arc::clone(exec)),
            ExecSlot::Reserved => None,
        });
        made.collect()
    }

    pub(crate) fn forget(&self, exec_id: &str) {
        self.execs().remove(exec_id);
    }

    fn execs(&self) -> MutexGuard<'_, HashMap<String, ExecSlot>> {
        // A thread that panicked held the lock for a look-up only: the map is whole.
        self.execs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives an exec id back unless the exec was made.
pub(crate) struct ExecReservation {
    task: Arc<Task>,
    exec_id: String,
    kept: bool,
}

impl ExecReservation {
    /// Puts the exec in the id's place.
    pub(crate) fn keep(mut self, request: ExecRequest, process: Arc<dyn Process>) {
        let exec = Exec {
            life: Life::new(Name::new(self.task.id(), &self.exec_id)),
            request,
            process,
        };
        let slot = ExecSlot::Exec(Arc::new(exec));
        self.task.execs().insert(self.exec_id.clone(), slot);
        self.kept = true;
    }
}

impl Drop for ExecReservation {
    fn drop(&mut self) {
        if !self.kept {
            self.task.forget(&self.exec_id);
        }
    }
}
