//! One task: its container and how far its life has come.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use crate::error::Error;
use crate::runtime::{Container, CreateRequest, Exit};

/// How far a task's life has come. It only ever moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Init waits to be started.
    Created,
    /// Start is under way: its event is not out yet.
    Starting,
    /// The program runs.
    Running,
    /// Init has ended, and its exit event is out.
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
            Self::Created | Self::Starting | Self::Running => None,
        }
    }
}

/// A task.
pub(crate) struct Task {
    pub(crate) request: CreateRequest,
    pub(crate) container: Arc<dyn Container>,
    status: watch::Sender<Status>,
}

impl Task {
    pub(crate) fn new(request: CreateRequest, container: Arc<dyn Container>) -> Self {
        Self {
            request,
            container,
            status: watch::Sender::new(Status::Created),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.request.id
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// Moves from a status that `from` allows to `to`, in one step.
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
        result.map_err(|status| Error::IllegalState {
            id: self.id().to_owned(),
            verb,
            status,
        })
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
