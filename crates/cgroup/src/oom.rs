//! Whether the kernel kills a container's processes for want of memory.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use medley_sys::kernel_file;
use rustix::event::EventfdFlags;
use rustix::fs::inotify;

use crate::cgroup::Cgroup;
use crate::error::Error;

/// The kernel's word on processes that it killed, from when this was made.
#[derive(Debug)]
pub struct OomWatch {
    /// The file with the `oom_kill` counter.
    file: PathBuf,
    /// Readable when something may have happened.
    notifier: Notifier,
    state: Mutex<Counts>,
}

#[derive(Debug)]
enum Notifier {
    /// cgroup v1: an eventfd that the kernel counts up before it kills, and at the cgroup's end.
    Event(OwnedFd),
    /// cgroup v2: an inotify of the file, which the kernel modifies after it killed.
    Change(OwnedFd),
}

/// What was seen of the counter, by whom.
#[derive(Debug, Default)]
struct Counts {
    /// By [`OomWatch::has_killed`].
    reported: u64,
    /// Events, which stand in for a counter that kernels before 4.13 do not have.
    events: u64,
}

impl OomWatch {
    /// Watches `cgroup`; nothing, if its memory is not its own.
    ///
    /// # Errors
    /// [`Error::Watch`].
    pub fn new(cgroup: &Cgroup) -> Result<Option<Self>, Error> {
        let watch = if cgroup.unified {
            let dir = cgroup.dirs.first();
            let file = dir.map(|dir| dir.path.join("memory.events"));
            file.filter(|file| file.exists()).map(Self::on_v2)
        } else {
            cgroup.v1_dir("memory").map(Self::on_v1)
        };
        watch.transpose()
    }

    fn on_v2(file: PathBuf) -> Result<Self, Error> {
        let watched = || {
            let flags = inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC;
            let notifier = inotify::init(flags)?;
            inotify::add_watch(&notifier, &file, inotify::WatchFlags::MODIFY)?;
            Ok::<_, rustix::io::Errno>(notifier)
        };
        match watched() {
            Ok(notifier) => Ok(Self::begin(file, Notifier::Change(notifier))),
            Err(source) => Err(Error::Watch {
                path: file,
                source: source.into(),
            }),
        }
    }

    fn on_v1(dir: &Path) -> Result<Self, Error> {
        let file = dir.join("memory.oom_control");
        let watched = || -> io::Result<OwnedFd> {
            let event = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
            let control = fs::File::open(&file)?;
            let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
            fs::write(dir.join("cgroup.event_control"), line)?;
            Ok(event)
        };
        match watched() {
            Ok(event) => Ok(Self::begin(file, Notifier::Event(event))),
            Err(source) => Err(Error::Watch { path: file, source }),
        }
    }

    fn begin(file: PathBuf, notifier: Notifier) -> Self {
        let watch = Self {
            file,
            notifier,
            state: Mutex::default(),
        };
        // The cgroup is the container's own and new: but what is counted already is not news.
        watch.has_killed();
        watch
    }

    /// What becomes readable when something may have happened.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.notifier {
            Notifier::Event(fd) | Notifier::Change(fd) => fd.as_fd(),
        }
    }

    /// Whether the kernel tells before it kills, so that the counter follows the event.
    #[must_use]
    pub fn tells_ahead(&self) -> bool {
        matches!(self.notifier, Notifier::Event(_))
    }

    /// Takes what made [`Self::fd`] readable.
    pub fn drain(&self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = rustix::io::read(self.fd(), &mut buffer) {
            if length == 0 {
                return;
            }
            if let (Notifier::Event(_), Some(count)) = (&self.notifier, buffer.first_chunk()) {
                let events = u64::from_ne_bytes(*count);
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.events = state.events.saturating_add(events);
            }
        }
    }

    /// Whether it has killed a process that [`Self::has_killed`] has not told of. A cgroup that is
    /// gone has not.
    #[must_use]
    pub fn would_report(&self) -> bool {
        self.total().is_some_and(|total| {
            total
                > self
                    .state
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .reported
        })
    }

    /// Whether it has killed a process since this was last asked. A cgroup that is gone has not.
    pub fn has_killed(&self) -> bool {
        self.drain();
        let Some(total) = self.total() else {
            return false;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let more = total > state.reported;
        state.reported = total;
        more
    }

    fn total(&self) -> Option<u64> {
        let text = kernel_file::read(&self.file).ok()?;
        let counter = text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        let events = || {
            self.state
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .events
        };
        Some(counter.unwrap_or_else(events))
    }
}

#[cfg(test)]
mod tests {
    use super::OomWatch;

    #[test]
    fn a_kill_is_told_once_and_none_of_a_cgroup_that_is_gone() {
        let name = format!("medley-oom-{}", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, "low 0\noom 3\noom_kill 1\n").unwrap();
        let watch = OomWatch::on_v2(file.clone()).unwrap();
        assert!(!watch.has_killed());
        std::fs::write(&file, "low 0\noom 4\noom_kill 2\noom_group_kill 0\n").unwrap();
        assert!(watch.would_report() && watch.has_killed());
        assert!(!watch.would_report() && !watch.has_killed());
        std::fs::remove_file(&file).unwrap();
        assert!(!watch.has_killed());
    }
}
