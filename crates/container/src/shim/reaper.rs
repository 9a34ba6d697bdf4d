//! Reaping what containers leave behind. Who waits for which child is in `medley_sys::children`.

use medley_sys::children;

/// Reaps every ended child that is not waited for: what a container's processes left behind.
pub fn reap_orphans() {
    if let Err(error) = children::reap_orphans() {
        log::warn!("orphans could not be reaped: {error}");
    }
}
