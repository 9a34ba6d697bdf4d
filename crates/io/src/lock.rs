//! Locks a mutex even after a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every guarded value of this crate is assigned in one step, so a panic leaves none half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
