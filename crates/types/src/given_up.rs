//! A call whose caller does not wait any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the caller of a call has given it up. What has begun is brought to its end all the same;
/// what only waits for its turn need not wait any longer.
#[derive(Debug, Clone, Default)]
pub struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    /// Tells whoever works for the call.
    pub fn tell(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was told.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells when what this gives is dropped, as a call is whose caller has gone.
    #[must_use]
    pub fn with_caller(&self) -> Caller {
        Caller(self.clone())
    }
}

/// See [`GivenUp::with_caller`].
#[derive(Debug)]
pub struct Caller(GivenUp);

impl Drop for Caller {
    fn drop(&mut self) {
        // After the call's end too, when nobody looks.
        self.0.tell();
    }
}
