//! What is known of a connection, and how long its client may keep it without a word.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::Version;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::settings::Settings;

/// How long a connection stays open, when the server is to end, without a request: one may be on
/// its way, and would be lost.
const LINGER: Duration = Duration::from_secs(1);

/// How long a client has to take note that its connection is being closed.
const GRACE: Duration = Duration::from_secs(1);

/// How long a client must have kept a handler waiting before another client's connection may take
/// the place of its own.
const STALLED: Duration = Duration::from_secs(1);

/// What moments are counted from.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A moment, in milliseconds since the first one that was asked for. Never 0, which means none.
pub(super) fn now() -> u64 {
    millis(BEGINNING.elapsed()) + 1
}

/// It, as the clock has it.
pub(super) fn instant(moment: u64) -> Instant {
    *BEGINNING + Duration::from_millis(moment.saturating_sub(1))
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// How long a client may be silent, in milliseconds; `u64::MAX` for ever.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    header: u64,
    keepalive: u64,
    write: u64,
    /// The shortest of them: who looks that often is never late.
    step: u64,
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Self {
        let of = |time: Option<Duration>| time.map_or(u64::MAX, |time| millis(time).max(1));
        let header = of(settings.header_timeout);
        let keepalive = of(settings.keepalive_timeout);
        let write = of(settings.write_timeout);
        Self {
            header,
            keepalive,
            write,
            step: header.min(keepalive).min(write),
        }
    }
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing is under way on it: its client may be told.
    Idle,
    /// Its client is too slow, and has had its time.
    Slow,
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Watched {
    /// Our end of it.
    pub(super) local: SocketAddr,
    /// The client's.
    pub(super) peer: SocketAddr,
    /// Requests that have begun.
    begun: AtomicU64,
    /// Requests whose answer has not begun.
    waiting: AtomicUsize,
    /// Requests whose answer has not ended.
    open: AtomicUsize,
    http2: AtomicBool,
    /// Since when there has been no request.
    idle: AtomicU64,
    /// Since when the head of the next one arrives, or 0.
    head: AtomicU64,
    /// Since when the client has taken nothing of what is to be written, or 0.
    writing: AtomicU64,
    /// Since when a handler has waited for more of a body, or 0.
    reading: AtomicU64,
    /// Whether what the client still sends is read and thrown away after the last answer, which a
    /// reset would take from it.
    pub(super) linger: AtomicBool,
    /// Whether it is to make place for another one, and told so by `evict`.
    leaving: AtomicBool,
    evict: Notify,
}

/// A request that waits for its answer.
pub(super) struct Waiting<'a>(&'a Watched);

/// A request whose answer has not ended.
#[derive(Debug)]
pub(super) struct Open(std::sync::Arc<Watched>);

impl Watched {
    pub(super) fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            local,
            peer,
            begun: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            http2: AtomicBool::new(false),
            idle: AtomicU64::new(now()),
            head: AtomicU64::new(0),
            writing: AtomicU64::new(0),
            reading: AtomicU64::new(0),
            linger: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            evict: Notify::new(),
        }
    }

    /// A request has arrived.
    pub(super) fn begin(&self, version: Version) -> Waiting<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        Waiting(self)
    }

    /// It is open until what this gives is dropped.
    pub(super) fn open(self: &std::sync::Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.head.store(0, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Bytes have arrived.
    pub(super) fn has_read(&self) {
        if self.open.load(Ordering::Relaxed) == 0 && self.head.load(Ordering::Relaxed) == 0 {
            self.head.store(now(), Ordering::Relaxed);
        }
    }

    /// The client has taken something.
    pub(super) fn has_written(&self) {
        if self.writing.load(Ordering::Relaxed) != 0 {
            self.writing.store(0, Ordering::Relaxed);
        }
    }

    /// It takes nothing more for now.
    pub(super) fn cannot_write(&self) {
        if self.writing.load(Ordering::Relaxed) == 0 {
            self.writing.store(now(), Ordering::Relaxed);
        }
    }

    /// A handler waits for more of a body since this moment, or no longer if it is 0.
    pub(super) fn waits_for_body(&self, since: u64) {
        self.reading.store(since, Ordering::Relaxed);
    }

    /// Waits until the connection may be closed without its client's noticing.
    pub(super) async fn closable(&self) {
        loop {
            // HTTP/2 says which was the last request that counts.
            if self.http2.load(Ordering::Relaxed) {
                return;
            }
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(LINGER).await;
            if self.begun.load(Ordering::Relaxed) == begun
                && self.waiting.load(Ordering::Relaxed) == 0
            {
                return;
            }
        }
    }

    /// Waits until the client has used up its time. `told` is the moment when it was told that its
    /// connection ends.
    pub(super) async fn overdue(&self, limits: Limits, told: Option<u64>) -> Overdue {
        loop {
            let now = now();
            let (deadline, why) = self.deadline(limits, told, now);
            if deadline <= now {
                return why;
            }
            // What changes from here on has a whole step at least.
            let next = deadline.min(now.saturating_add(limits.step));
            if next == u64::MAX {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep_until(instant(next)).await;
        }
    }

    fn deadline(&self, limits: Limits, told: Option<u64>, now: u64) -> (u64, Overdue) {
        let writing = self.writing.load(Ordering::Relaxed);
        if writing != 0 && writing.saturating_add(limits.write) <= now {
            return (writing, Overdue::Slow);
        }
        let mut deadline = u64::MAX;
        if writing != 0 {
            deadline = writing.saturating_add(limits.write);
        }
        if self.open.load(Ordering::Relaxed) > 0 {
            return (deadline, Overdue::Slow);
        }
        let idle = self.idle.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Relaxed);
        let http2 = self.http2.load(Ordering::Relaxed);
        let (end, why) = if let Some(told) = told {
            (told.max(idle).saturating_add(millis(GRACE)), Overdue::Slow)
        } else if http2 {
            (idle.saturating_add(limits.keepalive), Overdue::Idle)
        } else if self.begun.load(Ordering::Relaxed) == 0 {
            (idle.saturating_add(limits.header), Overdue::Slow)
        } else if head != 0 {
            (head.saturating_add(limits.header), Overdue::Slow)
        } else {
            (idle.saturating_add(limits.keepalive), Overdue::Idle)
        };
        if end <= deadline {
            (end, why)
        } else {
            (deadline, Overdue::Slow)
        }
    }

    /// Waits until another connection is to have this one's place.
    pub(super) async fn evicted(&self) -> Overdue {
        self.evict.notified().await;
        let between_requests = self.begun.load(Ordering::Relaxed) > 0
            && self.open.load(Ordering::Relaxed) == 0
            && self.head.load(Ordering::Relaxed) == 0;
        if between_requests {
            Overdue::Idle
        } else {
            Overdue::Slow
        }
    }

    /// How little a client loses with this connection: the lowest of all has to go. `None` if it may
    /// not be closed.
    pub(super) fn rank(&self, now: u64) -> Option<(u8, u64)> {
        if self.is_leaving() {
            return None;
        }
        let idle = self.idle.load(Ordering::Relaxed);
        if self.open.load(Ordering::Relaxed) > 0 {
            let since = self.stalled()?;
            return (now.saturating_sub(since) >= millis(STALLED)).then_some((3, since));
        }
        let head = self.head.load(Ordering::Relaxed);
        if self.linger.load(Ordering::Relaxed) {
            Some((0, idle))
        } else if self.begun.load(Ordering::Relaxed) == 0 {
            Some((1, idle))
        } else if head != 0 && now.saturating_sub(head) < millis(STALLED) {
            // Its next request arrives just now.
            Some((2, head))
        } else {
            Some((2, idle))
        }
    }

    /// Since when the client has kept a handler waiting, if it does. Of HTTP/2, whose clients may
    /// be proxies that many others stand behind, it is not known.
    pub(super) fn stalled(&self) -> Option<u64> {
        if self.http2.load(Ordering::Relaxed) || self.is_leaving() {
            return None;
        }
        let of = |moment: &AtomicU64| Some(moment.load(Ordering::Relaxed)).filter(|at| *at != 0);
        match (of(&self.writing), of(&self.reading)) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Has it make place.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.evict.notify_one();
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Before the other: it must not be found idle since its last request.
        self.0.idle.store(now(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Overdue, Watched, now};
    use http::Version;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    const LIMITS: Limits = Limits {
        header: 30_000,
        keepalive: 75_000,
        write: 60_000,
        step: 30_000,
    };

    fn watched() -> Arc<Watched> {
        Arc::new(Watched::new(
            "127.0.0.1:80".parse().unwrap(),
            "127.0.0.1:81".parse().unwrap(),
        ))
    }

    #[test]
    fn each_silence_of_a_client_has_a_limit() {
        let client = watched();
        let now = now();
        let left = |told| {
            let (deadline, why) = client.deadline(LIMITS, told, now);
            (deadline.saturating_sub(now).div_ceil(1000), why)
        };
        // It has not said anything.
        assert_eq!(left(None), (30, Overdue::Slow));
        drop(client.begin(Version::HTTP_11));
        let open = client.open();
        assert_eq!(client.deadline(LIMITS, None, now).0, u64::MAX);
        client.cannot_write();
        assert_eq!(left(None), (60, Overdue::Slow));
        client.has_written();
        drop(open);
        assert_eq!(left(None), (75, Overdue::Idle));
        client.has_read();
        assert_eq!(left(None), (30, Overdue::Slow));
        assert_eq!(left(Some(now)), (1, Overdue::Slow));
    }

    /// One with a request stays.
    #[test]
    fn a_silent_connection_goes_before_one_that_was_served() {
        let (silent, served, busy) = (watched(), watched(), watched());
        for client in [&served, &busy] {
            drop(client.begin(Version::HTTP_11));
        }
        let open = busy.open();
        let later = now() + 2000;
        assert!(silent.rank(later) < served.rank(later));
        assert_eq!(busy.rank(later), None);
        // Its handler waits for it.
        busy.waits_for_body(now());
        assert!(busy.rank(later) > served.rank(later));
        drop(open);
        served.leave();
        assert!(served.leaving.load(Ordering::Relaxed));
        assert_eq!(served.rank(later), None);
    }
}
