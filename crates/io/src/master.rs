//! The master of a terminal: one descriptor, watched for both directions.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use tokio::io::unix::AsyncFd;

use crate::lock::lock;

/// A terminal's master, which never blocks (`O_NONBLOCK`).
#[derive(Debug)]
pub(crate) struct Master(
    /// Guards what is watched now.
    Mutex<Arc<AsyncFd<OwnedFd>>>,
);

impl Master {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(Mutex::new(Arc::new(medley_sys::watch::both(fd)?))))
    }

    /// What is watched now.
    pub(crate) fn now(&self) -> Arc<AsyncFd<OwnedFd>> {
        Arc::clone(&lock(&self.0))
    }

    /// Watches another descriptor in place of `stale`, and gives it: tokio never forgets what a
    /// hang-up said of one.
    pub(crate) fn renew(&self, stale: &Arc<AsyncFd<OwnedFd>>) -> io::Result<Arc<AsyncFd<OwnedFd>>> {
        let mut now = lock(&self.0);
        if Arc::ptr_eq(&now, stale) {
            let fd = stale.get_ref().try_clone()?;
            *now = Arc::new(medley_sys::watch::both(fd)?);
        }
        Ok(Arc::clone(&now))
    }
}
