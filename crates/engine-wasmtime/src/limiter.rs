//! What a guest may take of its container's memory, as Wasmtime asks for it.

use medley_engine::memory::{Account, Refused, Share};
use wasmtime::ResourceLimiter;

/// An element of a table, in bytes: a pointer.
const ELEMENT: u64 = 8;

/// What an instance, a memory or a table takes at least of the engine's own memory, in bytes.
const THING: u64 = 1024;

/// Most instances, memories or tables of a guest: Wasmtime's own limit.
const THINGS: u64 = wasmtime::DEFAULT_INSTANCE_LIMIT as u64;

/// Whom a limiter asks.
pub(crate) trait Grow {
    /// Whether something of `from` bytes may become one of `to` bytes.
    fn grow(&mut self, from: u64, to: u64) -> bool;
}

impl Grow for Share {
    fn grow(&mut self, from: u64, to: u64) -> bool {
        Share::grow(self, from, to)
    }
}

/// The limiter of one store.
#[derive(Debug)]
pub(crate) struct Limiter<G = Share> {
    room: G,
    things: usize,
}

impl Limiter {
    /// One of what `account` leaves.
    pub(crate) fn new(account: &Account) -> Self {
        Self::of(account.share(), things(account))
    }

    /// What the guest was refused last.
    pub(crate) fn refused(&self) -> Option<Refused> {
        self.room.refused()
    }
}

/// How many instances, memories or tables there may be of each.
pub(crate) fn things(account: &Account) -> usize {
    let room = account.most().map_or(u64::MAX, |most| most.bytes);
    usize::try_from((room / THING).min(THINGS)).unwrap_or(usize::MAX)
}

impl<G: Grow> Limiter<G> {
    /// One of what `room` gives, for no more than so many [`things`].
    pub(crate) fn of(room: G, things: usize) -> Self {
        Self { room, things }
    }

    fn grow(&mut self, from: usize, to: usize, most: Option<usize>, unit: u64) -> bool {
        let bytes =
            |count: usize| u64::try_from(count).map_or(u64::MAX, |n| n.saturating_mul(unit));
        // What its own type forbids fails whatever is said here, and is not to be paid for.
        most.is_none_or(|most| to <= most) && self.room.grow(bytes(from), bytes(to))
    }
}

impl<G: Grow + Send> ResourceLimiter for Limiter<G> {
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
        self.things
    }

    fn tables(&self) -> usize {
        self.things
    }

    fn memories(&self) -> usize {
        self.things
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::ResourceLimiter as _;

    use super::{ELEMENT, Grow, Limiter};

    /// Gives whatever is asked for, and adds it up.
    struct Paid(u64);

    impl Grow for Paid {
        fn grow(&mut self, from: u64, to: u64) -> bool {
            self.0 += to - from;
            true
        }
    }

    #[test]
    fn what_its_own_type_forbids_is_not_paid_for() {
        let mut limiter = Limiter::of(Paid(0), 1);
        assert!(!limiter.memory_growing(0, 2, Some(1)).unwrap());
        assert_eq!(limiter.room.0, 0);
        assert!(limiter.memory_growing(0, 2, Some(2)).unwrap());
        assert!(limiter.table_growing(0, 3, None).unwrap());
        assert_eq!(limiter.room.0, 2 + 3 * ELEMENT);
    }
}
