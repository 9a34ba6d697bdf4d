//! Why a cgroup could not be used.

#![allow(
    missing_docs,
    reason = "the sentence of an error says what its fields are"
)]

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not say where a process is.
    #[error("cannot read the cgroups of process {pid}")]
    Locate { pid: i32, source: io::Error },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file could not be written.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        path: PathBuf,
        /// What was to be in it.
        value: String,
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
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The kernel can't be asked to tell.
    #[error("cannot watch {}", path.display())]
    Watch { path: PathBuf, source: io::Error },
    /// A process could not be moved there.
    #[error("cannot join the container's cgroup by {}", path.display())]
    Join { path: PathBuf, source: io::Error },
    /// A dir could not be made.
    #[error("cannot make the cgroup {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    /// The path leads to no cgroup that would be the container's alone.
    #[error(
        "linux.cgroupsPath of the container's spec leads to no cgroup of its own: name one below the node's"
    )]
    NoneOfItsOwn,
    /// Nothing would limit its devices.
    #[error(
        "the container's devices cannot be limited: this node has cgroup v1, and its controller devices is \
         not mounted at /sys/fs/cgroup; mount it"
    )]
    NoDevices,
    /// Nothing does what the spec asks for.
    #[error(
        "linux.resources.network of the container's spec needs the cgroup controller {name}, which is not \
         mounted at /sys/fs/cgroup; mount it, or leave it out"
    )]
    NoController { name: &'static str },
    /// A dir could not be removed.
    #[error("cannot remove the cgroup {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    /// Its processes would stand still.
    #[error(
        "container's cgroup unexpectedly frozen: thaw {}, or name another in cgroupsPath",
        path.display()
    )]
    Frozen { path: PathBuf },
    /// It holds processes of another.
    #[error(
        "container's cgroup is not empty: {} holds {count} processes already, and a container needs \
         one of its own",
        path.display()
    )]
    Taken {
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
    NotLeaf { path: PathBuf },
    /// Processes are still there.
    #[error("{count} processes are still in the cgroup {} {timeout:?} after SIGKILL", path.display())]
    Occupied {
        path: PathBuf,
        /// How many.
        count: usize,
        /// How long was waited.
        timeout: Duration,
    },
}
