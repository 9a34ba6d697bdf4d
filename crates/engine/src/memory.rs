//! How much memory a guest may have.
//!
//! The kernel kills a process that uses more than its cgroup allows. A guest asks for memory first,
//! and can be told that there is none: an engine asks here before it grants any.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Tells how much a container has left for its guest, which changes while it runs.
pub trait MemoryLimit: Send + Sync {
    /// The most that the guest may have in all, in bytes, when it has `taken` already and wants
    /// `requested` in all. More than that may be left, if it is not less than `requested`. `None` if
    /// nothing limits it.
    fn available(&self, taken: u64, requested: u64) -> Option<Available>;
}

/// The most that a guest may have, and what makes it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// In bytes.
    pub bytes: u64,
    /// The container's limit, in bytes.
    pub limit: u64,
}

/// The memories and tables of all instances of one guest. Without a limit they may have all.
#[derive(Clone, Default)]
pub struct MemoryBudget(Option<Arc<Inner>>);

struct Inner {
    limit: Box<dyn MemoryLimit>,
    /// Guards how many bytes all reservations have taken.
    taken: Mutex<u64>,
}

impl MemoryBudget {
    /// A budget that is limited.
    #[must_use]
    pub fn limited_by(limit: Box<dyn MemoryLimit>) -> Self {
        Self(Some(Arc::new(Inner {
            limit,
            taken: Mutex::default(),
        })))
    }

    /// What one instance, or one store of instances, takes of it. Given back when it is dropped.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            taken: 0,
            refused: None,
        }
    }

    /// The most that a guest may have, for an engine that can be told once only.
    #[must_use]
    pub fn available(&self) -> Option<Available> {
        let inner = self.0.as_ref()?;
        inner.limit.available(*inner.taken(), u64::MAX)
    }
}

impl Inner {
    fn taken(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.0.as_ref().map(|inner| *inner.taken());
        f.debug_tuple("MemoryBudget").field(&taken).finish()
    }
}

/// A part of a [`MemoryBudget`].
#[derive(Debug, Default)]
pub struct Reservation {
    budget: MemoryBudget,
    taken: u64,
    refused: Option<LimitExceeded>,
}

impl Reservation {
    /// Asks for something of `from` bytes to become one of `to` bytes, and says whether it may.
    pub fn grow(&mut self, from: u64, to: u64) -> bool {
        let Some(inner) = &self.budget.0 else {
            return true;
        };
        let more = to.saturating_sub(from);
        let mut taken = inner.taken();
        let requested = taken.saturating_add(more);
        if let Some(max) = inner.limit.available(*taken, requested)
            && requested > max.bytes
        {
            self.refused = Some(LimitExceeded {
                requested: to,
                left: max.bytes.saturating_sub(*taken).saturating_add(from),
                limit: max.limit,
            });
            return false;
        }
        *taken = requested;
        self.taken = self.taken.saturating_add(more);
        true
    }

    /// What was refused last, for the message of what fails because of it.
    #[must_use]
    pub fn refused(&self) -> Option<LimitExceeded> {
        self.refused
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(inner) = &self.budget.0 {
            let mut taken = inner.taken();
            *taken = taken.saturating_sub(self.taken);
        }
    }
}

/// More than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it needs a memory of {requested} bytes, and the container's memory limit of {limit} bytes leaves \
     {left} for it; raise the limit"
)]
pub struct LimitExceeded {
    /// What was requested, in bytes.
    requested: u64,
    /// What could have been had, in bytes.
    left: u64,
    /// The container's limit, in bytes.
    limit: u64,
}

#[cfg(test)]
mod tests {
    use super::{Available, MemoryBudget, MemoryLimit};

    struct Fixed(u64);

    impl MemoryLimit for Fixed {
        fn available(&self, _: u64, _: u64) -> Option<Available> {
            Some(Available {
                bytes: self.0,
                limit: 2 * self.0,
            })
        }
    }

    #[test]
    fn all_reservations_of_a_budget_have_no_more_than_its_limit() {
        let budget = MemoryBudget::limited_by(Box::new(Fixed(100)));
        let (mut one, mut other) = (budget.reservation(), budget.reservation());
        assert!(one.grow(0, 40) && other.grow(0, 40) && one.grow(40, 60));
        assert!(!other.grow(40, 41));
        drop(one);
        assert!(other.grow(40, 100));
        assert!(!other.grow(100, 101));
    }

    #[test]
    fn what_is_refused_says_what_was_left() {
        let mut reservation = MemoryBudget::limited_by(Box::new(Fixed(100))).reservation();
        assert!(reservation.grow(0, 30) && !reservation.grow(30, 200));
        assert_eq!(
            reservation.refused().unwrap().to_string(),
            "it needs a memory of 200 bytes, and the container's memory limit of 200 bytes leaves \
             100 for it; raise the limit"
        );
    }

    #[test]
    fn nothing_limits_a_budget_without_a_limit() {
        let budget = MemoryBudget::default();
        assert!(budget.reservation().grow(0, u64::MAX));
        assert_eq!(budget.available(), None);
    }
}
