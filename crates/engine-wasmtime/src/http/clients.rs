//! The connections that are open, of which there may be so many and no more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::watched::{Watched, millis, now};

/// How often it is looked for a connection that may be closed, when there are too many and all of
/// them have requests.
const LOOK: Duration = Duration::from_millis(100);

/// How long a client must have kept its handler waiting before a request that finds no place takes
/// the handler's.
const STALLED: Duration = Duration::from_secs(5);

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Clients {
    most: usize,
    all: Mutex<All>,
    next: AtomicU64,
    gone: Notify,
}

#[derive(Debug, Default)]
struct All {
    connections: HashMap<u64, Arc<Watched>>,
    /// Those of them that have been told to go.
    leaving: usize,
}

/// The place of one of them. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    clients: Arc<Clients>,
    number: u64,
}

impl Clients {
    /// At most `most` at a time.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            all: Mutex::default(),
            next: AtomicU64::new(0),
            gone: Notify::new(),
        })
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more can be let in, if need be in the place of another.
    pub(super) async fn room(&self) {
        while !self.has_room() {
            drop(tokio::time::timeout(LOOK, self.gone.notified()).await);
        }
    }

    fn has_room(&self) -> bool {
        let all = self.all();
        // Those that leave still hold their files.
        let holding = all.connections.len() < self.most + self.most.div_ceil(4);
        holding && (all.staying() < self.most || all.lowest().is_some())
    }

    /// Lets one in. Where there are too many the one goes whose client loses least.
    pub(super) fn let_in(self: &Arc<Self>, watched: &Arc<Watched>) -> Place {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut all = self.all();
        if all.staying() >= self.most {
            all.evict_lowest();
        }
        all.connections.insert(number, watched.clone());
        Place {
            clients: self.clone(),
            number,
        }
    }

    /// Closes the connection whose client loses least.
    pub(super) fn evict(&self) {
        self.all().evict_lowest();
    }

    /// Closes the connection whose client has kept its handler waiting for longest, if it has done
    /// so for long.
    pub(super) fn evict_stalled(&self) {
        let mut all = self.all();
        let since = |watched: &Arc<Watched>| Some((watched.stalled()?, watched.clone()));
        let longest = all.connections.values().filter_map(since);
        if let Some((since, watched)) = longest.min_by_key(|(since, _)| *since)
            && now().saturating_sub(since) >= millis(STALLED)
        {
            all.tell(&watched);
        }
    }
}

impl All {
    fn staying(&self) -> usize {
        self.connections.len().saturating_sub(self.leaving)
    }

    fn lowest(&self) -> Option<&Arc<Watched>> {
        let now = now();
        let ranked = self.connections.values();
        let ranked = ranked.filter_map(|watched| Some((watched.rank(now)?, watched)));
        let lowest = ranked.min_by_key(|(rank, _)| *rank);
        lowest.map(|(_, watched)| watched)
    }

    fn evict_lowest(&mut self) {
        if let Some(watched) = self.lowest().cloned() {
            self.tell(&watched);
        }
    }

    fn tell(&mut self, watched: &Watched) {
        watched.leave();
        self.leaving += 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.clients.all();
        if let Some(watched) = all.connections.remove(&self.number)
            && watched.is_leaving()
        {
            all.leaving = all.leaving.saturating_sub(1);
        }
        drop(all);
        self.clients.gone.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::{Clients, Watched};
    use http::Version;
    use std::sync::Arc;

    fn watched() -> Arc<Watched> {
        Arc::new(Watched::new(
            "127.0.0.1:80".parse().unwrap(),
            "127.0.0.1:81".parse().unwrap(),
        ))
    }

    #[test]
    fn a_new_client_has_the_place_of_an_idle_one_and_of_no_busy_one() {
        let clients = Clients::new(4);
        let all: Vec<_> = (0..4).map(|_| watched()).collect();
        let mut places: Vec<_> = all.iter().map(|one| clients.let_in(one)).collect();
        let open: Vec<_> = all[1..]
            .iter()
            .map(|one| (one.begin(Version::HTTP_11), one.open()))
            .collect();
        assert!(clients.has_room());
        let busy = watched();
        let _open = busy.open();
        places.push(clients.let_in(&busy));
        assert!(all[0].is_leaving() && !all[1..].iter().any(|one| one.is_leaving()));
        // All others have requests.
        assert!(!clients.has_room());
        drop(places.remove(0));
        assert!(!clients.has_room());
        drop(open);
        assert!(clients.has_room());
        drop(places);
        let all = clients.all();
        assert_eq!((all.connections.len(), all.leaving), (0, 0));
    }
}
