//! The lock of a mutex, after a panic too.

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is guarded in this crate is assigned as a whole: a panic leaves it right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
