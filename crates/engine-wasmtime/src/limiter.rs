//! What a guest may take of its container's memory, as Wasmtime asks for it.

use medley_engine::memory::{LimitExceeded, MemoryBudget, Reservation};
use wasmtime::ResourceLimiter;

/// An element of a table, in bytes: a pointer.
const ELEMENT: u64 = 8;

/// What an instance, a memory or a table takes at least of the engine's own memory, in bytes.
const OBJECT: u64 = 1024;

/// Most instances, memories or tables of a guest: Wasmtime's own limit.
const MAX_OBJECTS: u64 = wasmtime::DEFAULT_INSTANCE_LIMIT as u64;

/// Whom a limiter asks.
pub(crate) trait Reserve {
    /// Whether something of `from` bytes may become one of `to` bytes.
    fn grow(&mut self, from: u64, to: u64) -> bool;

    /// What was refused last, if that is to be told when a guest cannot be instantiated.
    fn refused(&self) -> Option<LimitExceeded> {
        None
    }

    /// Whether anything was refused.
    fn has_refused(&self) -> bool {
        self.refused().is_some()
    }
}

/// The limiter of any store.
pub(crate) trait StoreLimiter: ResourceLimiter + Send {
    /// What the guest was refused last.
    fn refused(&self) -> Option<LimitExceeded>;

    /// Whether the guest was refused anything.
    fn has_refused(&self) -> bool;
}

impl<G: Reserve + Send> StoreLimiter for BudgetLimiter<G> {
    fn refused(&self) -> Option<LimitExceeded> {
        self.room.refused()
    }

    fn has_refused(&self) -> bool {
        self.room.has_refused()
    }
}

impl Reserve for Reservation {
    fn grow(&mut self, from: u64, to: u64) -> bool {
        Reservation::grow(self, from, to)
    }

    fn refused(&self) -> Option<LimitExceeded> {
        Reservation::refused(self)
    }
}

/// The limiter of one store.
#[derive(Debug)]
pub(crate) struct BudgetLimiter<G = Reservation> {
    room: G,
    max_objects: usize,
}

impl BudgetLimiter {
    /// One of what `budget` leaves.
    pub(crate) fn new(budget: &MemoryBudget) -> Self {
        Self::of(budget.reservation(), max_objects(budget))
    }
}

/// The most instances that there may be, and as many memories and tables.
pub(crate) fn max_objects(budget: &MemoryBudget) -> usize {
    let room = budget.available().map_or(u64::MAX, |most| most.bytes);
    usize::try_from((room / OBJECT).min(MAX_OBJECTS)).unwrap_or(usize::MAX)
}

impl<G: Reserve> BudgetLimiter<G> {
    /// One of what `room` gives, for no more than so many [`max_objects`].
    pub(crate) fn of(room: G, max_objects: usize) -> Self {
        Self { room, max_objects }
    }

    fn grow(&mut self, from: usize, to: usize, most: Option<usize>, unit: u64) -> bool {
        let bytes =
            |count: usize| u64::try_from(count).map_or(u64::MAX, |n| n.saturating_mul(unit));
        // What its own type forbids fails in any case, and is not to be paid for.
        most.is_none_or(|most| to <= most) && self.room.grow(bytes(from), bytes(to))
    }
}

impl<G: Reserve + Send> ResourceLimiter for BudgetLimiter<G> {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, 1))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired, maximum, ELEMENT))
    }

    fn instances(&self) -> usize {
        self.max_objects
    }

    fn tables(&self) -> usize {
        self.max_objects
    }

    fn memories(&self) -> usize {
        self.max_objects
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::{BudgetLimiter, ELEMENT, Reserve};

    /// Gives what is asked for, and adds it up.
    struct Paid(u64);

    impl Reserve for Paid {
        fn grow(&mut self, from: u64, to: u64) -> bool {
            self.0 += to - from;
            true
        }
    }

    #[test]
    fn what_its_own_type_forbids_is_not_paid_for() {
        let mut limiter = BudgetLimiter::of(Paid(0), 1);
        assert!(!limiter.memory_growing(0, 2, Some(1)).unwrap());
        assert_eq!(limiter.room.0, 0);
        assert!(limiter.memory_growing(0, 2, Some(2)).unwrap());
        assert!(limiter.table_growing(0, 3, None).unwrap());
        assert_eq!(limiter.room.0, 2 + 3 * ELEMENT);
    }
}
