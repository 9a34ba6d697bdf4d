//! One task: its container, its execs, and the life cycle of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::name::Name;
use crate::runtime::{Container, CreateRequest, ExecRequest, Process};
use crate::state_machine::StateMachine;

/// A task.
pub(crate) struct Task {
    pub(crate) request: CreateRequest,
    pub(crate) container: Arc<dyn Container>,
    pub(crate) state: StateMachine,
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
    pub(crate) state: StateMachine,
}

impl Task {
    pub(crate) fn new(request: CreateRequest, container: Arc<dyn Container>) -> Self {
        Self {
            state: StateMachine::new(Name::task(&request.id)),
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
            state: StateMachine::new(Name::new(self.task.id(), &self.exec_id)),
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
