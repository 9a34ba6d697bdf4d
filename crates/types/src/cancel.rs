//! Giving up what is being made, from another thread than the one that makes it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stops the step that is under way.
type Stop = Box<dyn Fn() + Send>;

/// A way to give up what is being made: a container or a process. Clones are one.
#[derive(Clone, Default)]
pub struct Cancel(Arc<Mutex<State>>);

/// Guards what is stopped: it is under way as long as it stands here.
#[derive(Default)]
struct State {
    is_cancelled: bool,
    stop: Option<Stop>,
}

impl Cancel {
    /// Stops what is under way, now, and keeps more from beginning. Tells whether there was
    /// something to stop.
    pub fn cancel(&self) -> bool {
        let mut state = self.lock();
        state.is_cancelled = true;
        let Some(stop) = &state.stop else {
            return false;
        };
        stop();
        true
    }

    /// Whether it was given up: what only waits for its turn need not wait any longer.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.lock().is_cancelled
    }

    /// Has [`Self::cancel`] call `stop`, from here to [`Self::end`]. False if it was called already:
    /// nothing is to begin then.
    #[must_use]
    pub fn begin(&self, stop: impl Fn() + Send + 'static) -> bool {
        let mut state = self.lock();
        if !state.is_cancelled {
            state.stop = Some(Box::new(stop));
        }
        !state.is_cancelled
    }

    /// What was under way has ended, or is about to be out of reach.
    pub fn end(&self) {
        self.lock().stop = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Both fields are whole after any panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel")
            .field("is_cancelled", &self.is_cancelled())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Cancel;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn what_was_cancelled_is_stopped_and_does_not_begin_again() {
        let stops = Arc::new(AtomicU32::new(0));
        let stop = || {
            let stops = Arc::clone(&stops);
            move || {
                stops.fetch_add(1, Ordering::Relaxed);
            }
        };
        let cancel = Cancel::default();
        assert!(cancel.begin(stop()));
        cancel.end();
        assert!(cancel.begin(stop()));
        assert!(!cancel.is_cancelled());
        assert!(cancel.clone().cancel());
        assert!(cancel.is_cancelled());
        cancel.end();
        assert!(!cancel.begin(stop()));
        assert!(!cancel.cancel());
        assert_eq!(stops.load(Ordering::Relaxed), 1);
    }
}
