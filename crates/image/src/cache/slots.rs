//! `slots/<number>`: how many compilers run at a time, however many shims want one.
//!
//! For each compiler that runs, the shim that wants its code holds the lock of one of these files. A
//! lock goes with its process, however that ends, so that no slot is ever lost.

use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::error::Error;
use super::files::make_dir;
use super::permissions::ours_alone;

/// Shortest and longest pause between two looks for a free one: a compiler runs for seconds.
const PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));

/// The slots of one dir, all of them open.
#[derive(Debug)]
pub struct Slots(Vec<File>);

/// One of them, ours as long as this lives.
#[derive(Debug)]
pub struct Slot {
    _locked: File,
}

impl Slots {
    /// The first `count` slots in `dir`, which is made if it is not there: a shim that counts fewer
    /// than another waits for what the other has taken too.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if another user could write there, [`Error::File`].
    pub fn open(dir: &Path, count: NonZeroU32) -> Result<Self, Error> {
        let make = |path: &Path| make_dir(path).map_err(Error::file("make", path));
        make(dir)?;
        // Before anything is made in it.
        let slots = ours_alone(dir)?.join("slots");
        make(&slots)?;
        let slots = ours_alone(&slots)?;
        let open = |number: u32| {
            let path = slots.join(number.to_string());
            File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(&path)
                .map_err(Error::file("open", &path))
        };
        (0..count.get())
            .map(open)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Takes a slot that is free; gives the slots back if none is.
    ///
    /// # Errors
    /// Those of `flock`.
    pub fn try_take(mut self) -> io::Result<Result<Slot, Self>> {
        for number in 0..self.0.len() {
            let taken =
                rustix::fs::flock(&self.0[number], FlockOperation::NonBlockingLockExclusive);
            match taken {
                Ok(()) => {
                    let file = self.0.swap_remove(number);
                    return Ok(Ok(Slot { _locked: file }));
                }
                Err(Errno::WOULDBLOCK) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(Err(self))
    }

    /// Waits for a free slot, as long as `is_wanted` says so; `None` if it does not any more.
    ///
    /// # Errors
    /// Those of `flock`.
    pub fn take(mut self, is_wanted: &dyn Fn() -> bool) -> io::Result<Option<Slot>> {
        let (mut pause, longest) = PAUSE;
        loop {
            if !is_wanted() {
                return Ok(None);
            }
            self = match self.try_take()? {
                Ok(slot) => return Ok(Some(slot)),
                Err(slots) => slots,
            };
            std::thread::sleep(pause);
            pause = longest.min(pause * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Slot, Slots};
    use std::num::NonZeroU32;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    fn dir(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("medley-slots-{}-{name}", std::process::id()))
    }

    fn take(dir: &Path, count: u32) -> Option<Slot> {
        let slots = Slots::open(dir, NonZeroU32::new(count).unwrap()).unwrap();
        slots.try_take().unwrap().ok()
    }

    #[test]
    fn there_are_as_many_as_are_counted() {
        let dir = dir("count");
        let first = take(&dir, 2).unwrap();
        let second = take(&dir, 2).unwrap();
        assert!(take(&dir, 2).is_none());
        // Who counts more has more, and who counts fewer waits for the same ones.
        let third = take(&dir, 3).unwrap();
        assert!(take(&dir, 1).is_none());
        drop((first, third));
        assert!(take(&dir, 1).is_some());
        drop(second);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn no_more_than_that_run_however_many_want_to() {
        let dir = dir("many");
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let slots = Slots::open(&dir, NonZeroU32::new(3).unwrap()).unwrap();
                    let _slot = slots.take(&|| true).unwrap().unwrap();
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn who_waits_for_one_stops_when_it_is_not_wanted_any_more() {
        let dir = dir("wanted");
        let _held = take(&dir, 1).unwrap();
        let (asked, wanted) = (AtomicBool::new(false), AtomicBool::new(true));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let slots = Slots::open(&dir, NonZeroU32::MIN).unwrap();
                slots.take(&|| {
                    asked.store(true, Ordering::SeqCst);
                    wanted.load(Ordering::SeqCst)
                })
            });
            while !asked.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            wanted.store(false, Ordering::SeqCst);
            assert!(waiting.join().unwrap().unwrap().is_none());
        });
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_dir_that_others_may_write_to_has_none() {
        let dir = dir("others");
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Slots::open(&dir, NonZeroU32::MIN).is_err());
        assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
