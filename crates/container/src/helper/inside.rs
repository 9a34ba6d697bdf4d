//! In the helper: the ways into a container that is made, and waits to be started. All of them go by
//! init's pidfd, and none by its number.

use std::io::{self, Read, Write};

use medley_sys::clone::SingleThreaded;
use medley_sys::pidfd::PidFd;

/// A container that waits.
pub(crate) struct EnteredContainer<'a> {
    alone: &'a SingleThreaded,
    init: PidFd,
}

/// Why work could not be done in a container.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot enter the container of init, process {init}")]
    Enter { init: i32, source: io::Error },
    /// As its clone said.
    #[error("{0}")]
    Failed(String),
}

impl<'a> EnteredContainer<'a> {
    /// The container of `init`.
    pub(crate) fn of(alone: &'a SingleThreaded, init: i32) -> Result<Self, Error> {
        match PidFd::open(init) {
            Ok(init) => Ok(Self { alone, init }),
            Err(source) => Err(Error::Enter { init, source }),
        }
    }

    /// Init's pid.
    pub(crate) fn pid(&self) -> i32 {
        self.init.pid()
    }

    /// Has this process itself enter the container's network namespace.
    pub(crate) fn enter_network(&self) -> io::Result<()> {
        self.alone.enter_network(&self.init)
    }

    /// Has this process itself enter the container's mount namespace. It comes last: nothing of the node
    /// has a path from there.
    pub(crate) fn enter_mounts(self) -> io::Result<()> {
        self.alone.enter_mounts(&self.init)
    }

    /// Runs `work` in a clone of this process, which `work` can have enter the container, and waits
    /// for its end. The clone's memory is not for the container's processes.
    pub(crate) fn run<E: std::error::Error>(
        &self,
        work: impl FnOnce(&SingleThreaded, &PidFd) -> Result<(), E>,
    ) -> Result<(), Error> {
        let enter = |source| Error::Enter {
            init: self.init.pid(),
            source,
        };
        let (mut reader, writer) = io::pipe().map_err(enter)?;
        medley_sys::child::be_undumpable().map_err(enter)?;
        let ended = self.alone.run_child(|| {
            let Err(error) = work(self.alone, &self.init) else {
                return 0;
            };
            let reason = medley_types::sentence(&error);
            // A reader that is gone needs no reason.
            (&writer).write_all(reason.as_bytes()).map_or(2, |()| 1)
        });
        drop(writer);
        let Err(ended) = ended else {
            return Ok(());
        };
        let mut reason = String::new();
        if reader.read_to_string(&mut reason).is_err() || reason.is_empty() {
            reason = ended.to_string();
        }
        Err(Error::Failed(reason))
    }
}

/// In such a clone: enters the container of `init`, and becomes its root, which is another than the
/// node's in a user namespace.
pub(crate) fn become_its_root(alone: &SingleThreaded, init: &PidFd) -> io::Result<()> {
    alone.enter(init)?;
    alone.become_root()?;
    // Other credentials may have made it dumpable.
    medley_sys::child::be_undumpable()
}
