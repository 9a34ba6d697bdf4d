//! The id of a task that is being made.

use std::sync::atomic::Ordering;

use medley_types::Cancel;
use tokio::sync::watch;

use super::registry::{Service, Slot, UnderWay};
use crate::error::Error;
use crate::name::Name;

/// Gives a reserved id back unless the task was made, also if the runtime panics.
pub(super) struct Reservation {
    service: Service,
    id: String,
    kept: bool,
    /// Dropped last, which wakes the calls that wait for the end of Create.
    _done: watch::Sender<()>,
}

impl Reservation {
    /// The task was made.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.kept {
            self.service.remove(&self.id);
        }
    }
}

impl Service {
    pub(super) fn reserve(&self, name: &Name, cancel: &Cancel) -> Result<Reservation, Error> {
        let mut tasks = self.tasks();
        if self.shared.ending.load(Ordering::Relaxed) {
            return Err(Error::Ending { name: name.clone() });
        }
        if tasks.contains_key(&name.id) {
            return Err(Error::Exists { name: name.clone() });
        }
        let (sender, done) = watch::channel(());
        let cancel = cancel.clone();
        let under_way = UnderWay { done, cancel };
        tasks.insert(name.id.clone(), Slot::Reserved(under_way));
        Ok(Reservation {
            service: self.clone(),
            id: name.id.clone(),
            kept: false,
            _done: sender,
        })
    }
}
