//! What all handlers of a server may take of its container's memory.
//!
//! To ask the cgroup costs more than to answer a request. So the server asks for some more than it
//! needs, and keeps what handlers give back for the next ones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use medley_engine::memory::{MemoryBudget, Reservation};

use super::idle_instances::IdleInstances;
use crate::limiter::{self, BudgetLimiter, Reserve};

/// What the server asks for at a time, in bytes.
const STEP: u64 = 16 << 20;

/// Shared by all handlers, of all components of a server.
#[derive(Debug, Clone)]
pub(super) struct SharedBudget {
    held: Arc<Mutex<Held>>,
    /// How many instances, memories or tables a handler may have of each.
    max_objects: usize,
    /// The instances that wait, of each component: they end before a handler is refused memory.
    idle: Arc<Mutex<Vec<Weak<IdleInstances>>>>,
}

#[derive(Debug)]
struct Held {
    reservation: Reservation,
    /// Bytes that the reservation has taken.
    taken: u64,
    /// Bytes of them that handlers have.
    given: u64,
}

/// What one handler has.
#[derive(Debug)]
pub(crate) struct HandlerReservation {
    budget: SharedBudget,
    given: u64,
    refused: bool,
}

impl SharedBudget {
    pub(super) fn new(container: &MemoryBudget) -> Self {
        Self {
            held: Arc::new(Mutex::new(Held {
                reservation: container.reservation(),
                taken: 0,
                given: 0,
            })),
            max_objects: limiter::max_objects(container),
            idle: Arc::default(),
        }
    }

    /// Has these instances end, too, before a handler is refused memory.
    pub(super) fn may_end(&self, idle: &Arc<IdleInstances>) {
        self.idle().push(Arc::downgrade(idle));
    }

    /// The limiter of a handler that has nothing yet.
    pub(super) fn limiter(&self) -> BudgetLimiter<HandlerReservation> {
        BudgetLimiter::of(self.part(), self.max_objects)
    }

    fn part(&self) -> HandlerReservation {
        HandlerReservation {
            budget: self.clone(),
            given: 0,
            refused: false,
        }
    }

    /// Gives a handler so many bytes more. If there are not as many, the instances that wait end first.
    fn give(&self, bytes: u64) -> bool {
        let given = self.held().give(bytes);
        // The lock is free here: instances that end take it, to give back what they have.
        given || (self.end_idle() && self.held().give(bytes))
    }

    /// Ends all instances that wait; false if there are none.
    fn end_idle(&self) -> bool {
        let idle: Vec<_> = self.idle().iter().filter_map(Weak::upgrade).collect();
        idle.iter().filter(|idle| idle.clear()).count() > 0
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Weak<IdleInstances>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn give(&mut self, bytes: u64) -> bool {
        let given = self.given.saturating_add(bytes);
        if given > self.taken {
            let ample = given.saturating_add(STEP);
            let taken = [ample, given]
                .into_iter()
                .find(|taken| self.reservation.grow(self.taken, *taken));
            let Some(taken) = taken else { return false };
            self.taken = taken;
        }
        self.given = given;
        true
    }
}

impl Reserve for HandlerReservation {
    fn grow(&mut self, from: u64, to: u64) -> bool {
        let more = to.saturating_sub(from);
        let given = self.budget.give(more);
        if given {
            self.given = self.given.saturating_add(more);
        } else {
            self.refused = true;
        }
        given
    }

    fn has_refused(&self) -> bool {
        self.refused
    }
}

impl Drop for HandlerReservation {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        held.given = held.given.saturating_sub(self.given);
    }
}

#[cfg(test)]
mod tests {
    use super::{Reserve, SharedBudget};
    use medley_engine::memory::{Available, MemoryBudget, MemoryLimit};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    struct Counted(Arc<AtomicUsize>);

    impl MemoryLimit for Counted {
        fn available(&self, _: u64, _: u64) -> Option<Available> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Some(Available {
                bytes: 20 << 20,
                limit: 30 << 20,
            })
        }
    }

    /// And they ask seldom.
    #[test]
    fn handlers_together_have_no_more_than_the_container() {
        let asked = Arc::new(AtomicUsize::new(0));
        let limited = MemoryBudget::limited_by(Box::new(Counted(asked.clone())));
        let budget = SharedBudget::new(&limited);
        let before = asked.load(Ordering::Relaxed);
        for _ in 0..100 {
            assert!(budget.part().grow(0, 1 << 20));
        }
        assert_eq!(asked.load(Ordering::Relaxed), before + 1);
        let (mut one, mut two) = (budget.part(), budget.part());
        assert!(one.grow(0, 15 << 20) && !two.grow(0, 6 << 20));
        drop(one);
        assert!(two.grow(0, 20 << 20) && !two.grow(20 << 20, 21 << 20));
    }
}
