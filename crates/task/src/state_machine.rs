//! The life cycle of a process: which status follows which, and who waits for it.

use tokio::sync::watch;

use crate::error::Error;
use crate::name::Name;
use crate::status::Status;

/// A process's name and status.
pub(crate) struct StateMachine {
    pub(crate) name: Name,
    status: watch::Sender<Status>,
}

impl StateMachine {
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
    pub(crate) fn transition_if(
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
    pub(crate) fn transition(
        &self,
        verb: &'static str,
        from: Status,
        to: Status,
    ) -> Result<Status, Error> {
        self.transition_if(verb, |status| (status == from).then_some(to))
    }

    /// The error of a call that `status` does not allow.
    pub(crate) fn illegal(&self, verb: &'static str, status: Status) -> Error {
        Error::IllegalState {
            name: self.name.clone(),
            verb,
            status,
        }
    }

    /// Waits until `condition` gives something.
    pub(crate) async fn wait_for<T>(&self, condition: impl Fn(Status) -> Option<T>) -> T {
        let mut receiver = self.status.subscribe();
        loop {
            let now = *receiver.borrow_and_update();
            if let Some(value) = condition(now) {
                return value;
            }
            if receiver.changed().await.is_err() {
                // The sender is ours and lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}
