//! A container's cgroup as a value, kept in the bundle's state.

use std::path::{Path, PathBuf};

use medley_types::metrics::{CgroupVersion, Metrics};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::metrics;
use crate::mount::MOUNT;

/// One container's cgroup: one directory on pure cgroup v2, one for each controller otherwise. All
/// are the container's own; none is shared with the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Whether it is on pure cgroup v2.
    pub(crate) unified: bool,
    #[serde(rename = "folders")]
    pub(crate) dirs: Vec<CgroupDir>,
}

/// A cgroup's directory in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupDir {
    /// The controllers, as the kernel lists them: `cpu,cpuacct`. Empty on the unified hierarchy.
    pub(crate) controllers: String,
    pub(crate) path: PathBuf,
}

impl Cgroup {
    /// What it uses now.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn metrics(&self) -> Result<Metrics, Error> {
        if self.unified {
            let path = self.dirs.first().map(|dir| dir.path.as_path());
            metrics::read_v2(path.unwrap_or(Path::new(MOUNT)))
        } else {
            metrics::read_v1(&|name| self.v1_dir(name))
        }
    }

    /// Whether it has no directory, so that nothing is counted there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
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

    /// The directory with this controller, or else the first one: every process is in all of them.
    pub(crate) fn dir(&self, controller: &str) -> Option<&CgroupDir> {
        let exact = self.dirs.iter().find(|dir| has_controller(dir, controller));
        exact.or(self.dirs.first())
    }

    pub(crate) fn v1_dir(&self, controller: &str) -> Option<&Path> {
        let dir = self.dirs.iter().find(|dir| has_controller(dir, controller));
        dir.map(|dir| dir.path.as_path())
    }
}

pub(crate) fn has_controller(dir: &CgroupDir, controller: &str) -> bool {
    dir.controllers.split(',').any(|name| name == controller)
}
