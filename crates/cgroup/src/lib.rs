//! A container's cgroup, as the shim needs it: who is in it, what it uses, its end.
//!
//! Making it is libcontainer's work. What comes after is done here, by path, because libcgroups
//! looks every controller up in `/proc/self/mountinfo` for each call: on a node with thousands
//! of mounts that is most of a delete's time. The paths are asked of the kernel once, right after
//! init was made, which also tells where systemd put it.

mod at_create;
pub mod compilers;
mod freezer;
pub mod guest_memory;
mod metrics;
mod oom;
mod paths;
mod processes;
mod update;
pub mod without_controller;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use medley_types::metrics::{CgroupVersion, Metrics};
use serde::{Deserialize, Serialize};

pub use at_create::Rest;
pub use oom::OomWatch;
pub use paths::prepare_for_move;
pub use paths::{is_unified, no_systemd};
pub use update::UpdateError;

/// Where cgroups are mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// Why a cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not say where a process is.
    #[error("cannot read the cgroups of process {pid}")]
    Locate {
        /// Its pid.
        pid: i32,
        /// The system's word.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {value:?} to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What was to be in it.
        value: String,
        /// The system's word.
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
        /// The folder.
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The kernel can't be asked to tell.
    #[error("cannot watch {}", path.display())]
    Watch {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A process could not be moved there.
    #[error("cannot join the container's cgroup by {}", path.display())]
    Join {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A folder could not be made.
    #[error("cannot make the cgroup {}", path.display())]
    Make {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A folder could not be removed.
    #[error("cannot remove the cgroup {}", path.display())]
    Remove {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Somebody else is in it.
    #[error(
        "the cgroup {} holds {count} processes already: a container needs one of its own",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Processes are still there.
    #[error("{count} processes are still in the cgroup {} {timeout:?} after SIGKILL", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
        /// How long was waited.
        timeout: Duration,
    },
}

/// The folders of one container's cgroup: one on the unified hierarchy, one for each controller
/// otherwise. All are the container's own, none is shared with the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    unified: bool,
    folders: Vec<Folder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    /// The controllers, as the kernel lists them: `cpu,cpuacct`. Empty on the unified hierarchy.
    controllers: String,
    path: PathBuf,
}

impl Cgroup {
    /// What it uses now.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn metrics(&self) -> Result<Metrics, Error> {
        if self.unified {
            let path = self.folders.first().map(|folder| folder.path.as_path());
            metrics::unified(path.unwrap_or(Path::new(MOUNT)))
        } else {
            metrics::by_controller(&|name| self.folder_with(name))
        }
    }

    /// Whether it has no folder, so that nothing counts there.
    pub fn is_nowhere(&self) -> bool {
        self.folders.is_empty()
    }

    /// Which interface its figures have.
    #[must_use]
    pub fn version(&self) -> CgroupVersion {
        if self.unified {
            CgroupVersion::V2
        } else {
            CgroupVersion::V1
        }
    }

    /// The folder of this controller, or else any: every process is in all of them.
    fn folder(&self, controller: &str) -> Option<&Folder> {
        let exact = self
            .folders
            .iter()
            .find(|folder| has_controller(folder, controller));
        exact.or(self.folders.first())
    }

    fn folder_with(&self, controller: &str) -> Option<&Path> {
        let folder = self
            .folders
            .iter()
            .find(|folder| has_controller(folder, controller));
        folder.map(|folder| folder.path.as_path())
    }
}

fn has_controller(folder: &Folder, controller: &str) -> bool {
    folder.controllers.split(',').any(|name| name == controller)
}
