//! The master of a terminal: one descriptor, watched for both directions.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use tokio::io::unix::AsyncFd;

use crate::lock::lock;

/// A terminal's master, with `O_NONBLOCK` set.
#[derive(Debug)]
pub(crate) struct Master(
    /// The descriptor that is watched at present.
    Mutex<Arc<AsyncFd<OwnedFd>>>,
);

impl Master {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Mutex::new(Arc::new(medley_sys::watch::both(fd)?))))
    }

    /// The descriptor that is watched at present.
    pub(crate) fn now(&self) -> Arc<AsyncFd<OwnedFd>> {
        Arc::clone(&lock(&self.0))
    }

    /// Watches a duplicate in place of `stale`, and returns it: tokio never clears the readiness that a
    /// hang-up caused.
    pub(crate) fn renew(&self, stale: &Arc<AsyncFd<OwnedFd>>) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
        let mut now = lock(&self.0);
        if Arc::ptr_eq(&now, stale) {
            let fd = stale.get_ref().try_clone()?;
            *now = Arc::new(medley_sys::watch::both(fd)?);
        }
        Ok(Arc::clone(&now))
    }
}
