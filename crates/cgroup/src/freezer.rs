//! A container's processes stopped where they stand, and let go on.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup::Cgroup;
use crate::error::Error;

/// How long the kernel may take to stop every process.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two looks at a cgroup that is not frozen yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The freezer of either cgroup version.
#[derive(Debug, Clone, Copy)]
enum Freezer<'a> {
    /// The controller of cgroup v1.
    V1(&'a Path),
    /// Every cgroup of the unified hierarchy, which may be there beside the controllers.
    V2(&'a Path),
}

impl Cgroup {
    /// Stops every process in it, and waits until all of them stand.
    ///
    /// # Errors
    /// [`Error::NotFrozen`], [`Error::NoFreezer`], [`Error::Write`] or [`Error::Read`]; it is
    /// thawed then.
    pub fn freeze(&self) -> Result<(), Error> {
        let freezer = self.freezer().ok_or(Error::NoFreezer)?;
        let frozen = freezer.freeze(FREEZE_TIMEOUT);
        if frozen.is_err()
            && let Err(error) = freezer.set(false)
        {
            log::warn!("{}", medley_types::sentence(&error));
        }
        frozen
    }

    /// Lets every process in it go on.
    ///
    /// # Errors
    /// [`Error::NoFreezer`] or [`Error::Write`].
    pub fn thaw(&self) -> Result<(), Error> {
        self.freezer().ok_or(Error::NoFreezer)?.set(false)
    }

    /// Has a process that was sent SIGKILL receive it: the freezer controller holds even that
    /// back, while the unified hierarchy lets it through.
    pub fn thaw_for_kill(&self) {
        let Some(freezer @ Freezer::V1(dir)) = self.freezer() else {
            return;
        };
        let thawed = match fs::read_to_string(dir.join("freezer.state")) {
            Ok(state) if state.trim() != "THAWED" => freezer.set(false),
            // Not frozen, or gone.
            _ => Ok(()),
        };
        if let Err(error) = thawed {
            log::warn!("{}", medley_types::sentence(&error));
        }
    }

    /// Where every process that comes into it would stand.
    pub(crate) fn frozen_dir(&self) -> Option<&Path> {
        let freezer = self.freezer()?;
        let (file, thawed) = match freezer {
            Freezer::V1(dir) => (dir.join("freezer.state"), "THAWED"),
            Freezer::V2(dir) => (dir.join("cgroup.freeze"), "0"),
        };
        let state = fs::read_to_string(file).ok()?;
        let (Freezer::V1(dir) | Freezer::V2(dir)) = freezer;
        (state.trim() != thawed).then_some(dir)
    }

    /// Whether every process in it stands. One that can't be read is not frozen.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.freezer()
            .is_some_and(|freezer| freezer.is_frozen().unwrap_or(false))
    }

    fn freezer(&self) -> Option<Freezer<'_>> {
        let unified = || {
            let dir = self
                .dirs
                .iter()
                .find(|dir| dir.controllers.is_empty() || dir.controllers == "unified");
            dir.map(|dir| Freezer::V2(&dir.path))
        };
        self.v1_dir("freezer").map(Freezer::V1).or_else(unified)
    }
}

impl Freezer<'_> {
    fn set(self, frozen: bool) -> Result<(), Error> {
        let (path, value) = match (self, frozen) {
            (Self::V1(dir), true) => (dir.join("freezer.state"), "FROZEN"),
            (Self::V1(dir), false) => (dir.join("freezer.state"), "THAWED"),
            (Self::V2(dir), true) => (dir.join("cgroup.freeze"), "1"),
            (Self::V2(dir), false) => (dir.join("cgroup.freeze"), "0"),
        };
        fs::write(&path, value).map_err(|source| Error::Write {
            path,
            value: value.to_owned(),
            source,
        })
    }

    fn freeze(self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        self.set(true)?;
        while !self.is_frozen()? {
            if Instant::now() > deadline {
                let (Self::V1(path) | Self::V2(path)) = self;
                return Err(Error::NotFrozen {
                    path: path.to_owned(),
                    timeout,
                });
            }
            std::thread::sleep(LOOK_AGAIN);
            if matches!(self, Self::V1(_)) {
                // A process made while the kernel went through them is caught by the next go.
                self.set(true)?;
            }
        }
        Ok(())
    }

    fn is_frozen(self) -> Result<bool, Error> {
        let (path, line) = match self {
            Self::V1(dir) => (dir.join("freezer.state"), "FROZEN"),
            Self::V2(dir) => (dir.join("cgroup.events"), "frozen 1"),
        };
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().any(|said| said == line)),
            Err(source) => Err(Error::Read { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Freezer;
    use crate::Error;
    use std::path::PathBuf;
    use std::time::Duration;

    /// A plain dir in place of a cgroup.
    struct Plain(PathBuf);

    impl Plain {
        fn new(name: &str) -> Self {
            let name = format!("medley-freezer-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.join(file)).unwrap()
        }
    }

    impl Drop for Plain {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn the_controller_is_frozen_when_it_says_so() {
        let plain = Plain::new("controller");
        let freezer = Freezer::V1(&plain.0);
        freezer.freeze(Duration::ZERO).unwrap();
        assert_eq!(plain.read("freezer.state"), "FROZEN");
        freezer.set(false).unwrap();
        assert_eq!(plain.read("freezer.state"), "THAWED");
    }

    #[test]
    fn a_unified_cgroup_that_does_not_stand_is_reported_by_name() {
        let plain = Plain::new("unified");
        std::fs::write(plain.0.join("cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        let freezer = Freezer::V2(&plain.0);
        let error = freezer.freeze(Duration::ZERO).unwrap_err();
        assert!(matches!(&error, Error::NotFrozen { path, .. } if *path == plain.0));
        std::fs::write(plain.0.join("cgroup.events"), "populated 1\nfrozen 1\n").unwrap();
        freezer.freeze(Duration::ZERO).unwrap();
        assert_eq!(plain.read("cgroup.freeze"), "1");
    }
}
