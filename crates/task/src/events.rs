//! What containerd is told, in the order in which it has to hear it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::name::Name;
use crate::runtime::{CreateRequest, Exit};

/// One event of a task.
#[derive(Debug, Clone)]
pub enum Event {
    /// It was created.
    Create {
        /// As asked for.
        request: Box<CreateRequest>,
        /// Init's.
        pid: u32,
    },
    /// Its program runs.
    Start {
        /// The task.
        id: String,
        /// Init's.
        pid: u32,
    },
    /// A further process was asked for.
    ExecAdded {
        /// The task.
        id: String,
        /// The process's own id.
        exec_id: String,
    },
    /// A further process runs.
    ExecStarted {
        /// The task.
        id: String,
        /// The process's own id.
        exec_id: String,
        /// Its pid.
        pid: u32,
    },
    /// Everything stands still.
    Paused {
        /// The task.
        id: String,
    },
    /// Everything goes on.
    Resumed {
        /// The task.
        id: String,
    },
    /// The kernel killed a process of it for want of memory.
    Oom {
        /// The task.
        id: String,
    },
    /// A process ended.
    Exit {
        /// Which.
        name: Name,
        /// Its pid.
        pid: u32,
        /// How.
        exit: Exit,
    },
    /// It was deleted.
    Delete {
        /// The task.
        id: String,
        /// Init's.
        pid: u32,
        /// How it had ended.
        exit: Exit,
    },
}

/// Takes events; whatever is sent first arrives first.
#[derive(Debug, Clone)]
pub struct Events {
    /// Guards the sender only, which is taken away when the shim drains.
    sender: Arc<Mutex<Option<mpsc::UnboundedSender<Event>>>>,
}

impl Events {
    /// A queue and its other end.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (
            Self {
                sender: Arc::new(Mutex::new(Some(sender))),
            },
            receiver,
        )
    }

    /// Queues an event. Never waits.
    pub fn send(&self, event: Event) {
        let sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = sender
            .as_ref()
            .is_some_and(|sender| sender.send(event).is_ok());
        drop(sender);
        if !sent {
            log::warn!("an event came after the shim had begun to shut down");
        }
    }

    /// Ends the queue: its receiver gets what is in it and then nothing more.
    pub fn close(&self) {
        *self.sender.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
