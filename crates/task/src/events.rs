//! What containerd is told, in the order in which it has to hear it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::exit::Exit;
use crate::name::Name;
use crate::runtime::CreateRequest;

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

/// How many events may wait of which containerd can do without: what a busy pod of a hundred
/// containers tells within some minutes.
const LIMIT: usize = 1_024;

impl Event {
    /// The id of its task.
    fn task(&self) -> &str {
        match self {
            Self::Create { request, .. } => &request.id,
            Self::Exit { name, .. } => &name.id,
            Self::Start { id, .. }
            | Self::ExecAdded { id, .. }
            | Self::ExecStarted { id, .. }
            | Self::Paused { id }
            | Self::Resumed { id }
            | Self::Oom { id }
            | Self::Delete { id, .. } => id,
        }
    }

    /// Whether containerd has to hear it to know how its tasks are. How a deleted one ended it knows
    /// from the reply to Delete.
    fn is_needed(&self) -> bool {
        matches!(self, Self::Exit { .. } | Self::Oom { .. })
    }
}

/// An event that waits.
#[derive(Debug)]
struct Waiting {
    event: Event,
    /// Whether it stays until it is delivered, however long that takes.
    is_needed: bool,
}

/// What is to be told. Needed events wait as long as their task or exec is there, which bounds them;
/// of the others the oldest go first, should there be too many. What stays is in order.
#[derive(Debug, Default)]
struct Waitlist {
    events: VecDeque<Waiting>,
    /// How many of them are not needed.
    spare: usize,
    closed: bool,
    /// How many were dropped since an event was last taken.
    dropped: u64,
}

impl Waitlist {
    fn push(&mut self, event: Event) {
        match &event {
            Event::Delete { id, .. } => self.mark_spare(|waiting| waiting.task() == id),
            // One kill that containerd has not heard of yet is as good as two.
            Event::Oom { id } if self.has_oom(id) => return,
            _ => {}
        }
        let is_needed = event.is_needed();
        self.spare += usize::from(!is_needed);
        self.events.push_back(Waiting { event, is_needed });
        while self.spare > LIMIT && self.drop_one() {}
    }

    fn has_oom(&self, of: &str) -> bool {
        let mut events = self.events.iter().map(|waiting| &waiting.event);
        events.any(|event| matches!(event, Event::Oom { id } if id == of))
    }

    /// Lets these events be dropped, which are no longer needed.
    fn mark_spare(&mut self, which: impl Fn(&Event) -> bool) {
        for waiting in &mut self.events {
            if waiting.is_needed && which(&waiting.event) {
                waiting.is_needed = false;
                self.spare += 1;
            }
        }
    }

    /// Drops the oldest that is not needed; says whether there was one.
    fn drop_one(&mut self) -> bool {
        let oldest = self.events.iter().position(|waiting| !waiting.is_needed);
        if oldest.is_none_or(|at| self.events.remove(at).is_none()) {
            return false;
        }
        self.spare -= 1;
        if self.dropped == 0 {
            log::warn!(
                "containerd takes no events: of more than {LIMIT} the oldest are dropped from now \
                 on, but for exits and kills for want of memory"
            );
        }
        self.dropped += 1;
        true
    }

    fn pop(&mut self) -> Option<Event> {
        let next = self.events.pop_front()?;
        self.spare -= usize::from(!next.is_needed);
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            log::warn!("{dropped} events did not reach containerd");
        }
        Some(next.event)
    }
}

#[derive(Debug, Default)]
struct Shared {
    /// Guards what waits; held for an instant.
    waitlist: Mutex<Waitlist>,
    changed: Notify,
}

impl Shared {
    fn waitlist(&self) -> MutexGuard<'_, Waitlist> {
        // A panic can only have come from logging: the list is whole.
        self.waitlist.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes events; the one that is sent first arrives first.
#[derive(Debug, Clone)]
pub struct Events(Arc<Shared>);

/// Gives the events that were sent, one after the other.
#[derive(Debug)]
pub struct Queue(Arc<Shared>);

impl Events {
    /// A queue and its other end.
    #[must_use]
    pub fn channel() -> (Self, Queue) {
        let shared = Arc::new(Shared::default());
        (Self(Arc::clone(&shared)), Queue(shared))
    }

    /// Queues an event. Never waits.
    pub fn send(&self, event: Event) {
        let mut waitlist = self.0.waitlist();
        if waitlist.closed {
            drop(waitlist);
            log::warn!("an event came after the shim had begun to shut down");
            return;
        }
        waitlist.push(event);
        drop(waitlist);
        self.0.changed.notify_one();
    }

    /// Says that an exec was deleted: the reply to that says how it ended.
    pub(crate) fn forget(&self, exec: &Name) {
        let is_its = |event: &Event| matches!(event, Event::Exit { name, .. } if name == exec);
        self.0.waitlist().mark_spare(is_its);
    }

    /// Ends the queue: its other end gives what is in it and then nothing more.
    pub fn close(&self) {
        self.0.waitlist().closed = true;
        self.0.changed.notify_one();
    }
}

impl Queue {
    /// Waits for the next event; there is none any more once the queue is closed and empty.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            {
                let mut waitlist = self.0.waitlist();
                if let Some(event) = waitlist.pop() {
                    return Some(event);
                }
                if waitlist.closed {
                    return None;
                }
            }
            // What came in between has left its permit.
            self.0.changed.notified().await;
        }
    }

    /// The next event, if there is one by now.
    #[cfg(test)]
    pub(crate) fn try_next(&mut self) -> Option<Event> {
        self.0.waitlist().pop()
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Events, LIMIT, Queue};
    use crate::exit::Exit;
    use crate::name::Name;
    use std::time::SystemTime;

    const EXIT: Exit = Exit {
        status: 0,
        at: SystemTime::UNIX_EPOCH,
    };

    fn start(id: &str) -> Event {
        let id = id.into();
        Event::Start { id, pid: 1 }
    }

    fn exit(id: &str, exec_id: &str) -> Event {
        Event::Exit {
            name: Name::new(id, exec_id),
            pid: 1,
            exit: EXIT,
        }
    }

    fn all(mut queue: Queue) -> Vec<Event> {
        std::iter::from_fn(|| queue.try_next()).collect()
    }

    #[test]
    fn exits_stay_in_their_order_however_much_comes_after_them() {
        let (events, queue) = Events::channel();
        for number in 0..LIMIT * 2 {
            let id = format!("task-{number}");
            events.send(start(&id));
            events.send(exit(&id, ""));
        }
        let left = all(queue);
        assert_eq!(left.len(), LIMIT * 3);
        let exits = left
            .iter()
            .filter(|event| matches!(event, Event::Exit { .. }));
        assert!(
            exits
                .enumerate()
                .all(|(number, event)| event.task() == format!("task-{number}"))
        );
        // The starts that are left are the last ones, each before its exit.
        let last = left.chunks(2).next_back().unwrap();
        assert!(matches!(last[0], Event::Start { .. }));
        assert_eq!(last[0].task(), last[1].task());
    }

    #[test]
    fn exits_of_what_was_deleted_are_bounded_as_all_else_is() {
        let (events, queue) = Events::channel();
        for number in 0..LIMIT * 2 {
            let (task, exec_id) = (format!("task-{number}"), format!("exec-{number}"));
            events.send(exit("it", &exec_id));
            events.forget(&Name::new("it", &exec_id));
            events.send(exit(&task, ""));
            events.send(Event::Delete {
                id: task,
                pid: 1,
                exit: EXIT,
            });
        }
        assert_eq!(all(queue).len(), LIMIT);
    }

    #[test]
    fn kills_for_want_of_memory_are_told_once_until_they_are_heard() {
        let (events, mut queue) = Events::channel();
        let oom = || Event::Oom { id: "it".into() };
        (0..100).for_each(|_| events.send(oom()));
        assert!(matches!(queue.try_next(), Some(Event::Oom { .. })));
        assert!(queue.try_next().is_none());
        events.send(oom());
        assert!(queue.try_next().is_some());
    }

    #[tokio::test]
    async fn a_queue_that_was_closed_gives_the_rest_and_ends() {
        let (events, mut queue) = Events::channel();
        events.send(start("it"));
        events.close();
        events.send(start("late"));
        assert!(queue.next().await.is_some());
        assert!(queue.next().await.is_none());
    }
}
