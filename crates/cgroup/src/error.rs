//! Why a cgroup could not be used.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not say where a process is.
    #[error("cannot read the cgroups of process {pid}")]
    Locate {
        /// Its pid.
        pid: i32,
        /// The system's error.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be in it.
        value: String,
        /// The system's error.
        source: io::Error,
    },
    /// Nothing there can be frozen.
    #[error(
        "the container has no cgroup of its own that can be frozen, neither with the freezer \
         controller nor on the unified hierarchy"
    )]
    NoFreezer,
    /// Something in it goes on.
    #[error("the cgroup {} is not frozen {timeout:?} after it was told to be", path.display())]
    NotFrozen {
        /// The dir.
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The kernel can't be asked to tell.
    #[error("cannot watch {}", path.display())]
    Watch {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A process could not be moved there.
    #[error("cannot join the container's cgroup by {}", path.display())]
    Join {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A dir could not be made.
    #[error("cannot make the cgroup {}", path.display())]
    Make {
        /// The dir.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A dir could not be removed.
    #[error("cannot remove the cgroup {}", path.display())]
    Remove {
        /// The dir.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It holds processes of another.
    #[error(
        "the cgroup {} holds {count} processes already: a container needs one of its own",
        path.display()
    )]
    Taken {
        /// The dir.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// It has controllers for cgroups below it, and can have no processes itself.
    #[error(
        "the cgroup {} has controllers enabled for cgroups below it, so that it can hold no \
         process: a container needs one of its own",
        path.display()
    )]
    NotLeaf {
        /// The directory.
        path: PathBuf,
    },
    /// Processes are still there.
    #[error("{count} processes are still in the cgroup {} {timeout:?} after SIGKILL", path.display())]
    Occupied {
        /// The dir.
        path: PathBuf,
        /// How many.
        count: usize,
        /// How long was waited.
        timeout: Duration,
    },
}
