//! Why a container's limits could not be changed.

#![allow(
    missing_docs,
    reason = "the sentence of an error says what its fields are"
)]

use std::io;
use std::path::{Path, PathBuf};

/// Why a container's limits could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// It is not JSON, or not of this kind.
    #[error("the resources are not the OCI runtime spec's `linux.resources` as JSON")]
    NotResources(#[source] serde_json::Error),
    /// A number that the kernel never takes.
    #[error("{name} is {value}, which is not {expected}")]
    OutOfRange {
        /// Its name in the spec.
        name: &'static str,
        /// What was asked for.
        value: i64,
        /// What there may be.
        expected: &'static str,
    },
    /// Swap counts with memory: it can't have the lower limit.
    #[error(
        "the limit of memory and swap together, {swap} bytes, is lower than that of memory, \
         {memory} bytes"
    )]
    SwapBelowMemory {
        /// The limit of memory: as asked for, or as it is.
        memory: i64,
        /// The limit of both, likewise.
        swap: i64,
    },
    /// Which part of it were swap is not known.
    #[error("a limit of memory and swap together, {swap} bytes, needs a limit of memory")]
    SwapWithoutMemory {
        /// What was asked for.
        swap: i64,
    },
    /// The kernel would have to kill.
    #[error("the memory limit, {limit} bytes, is lower than what is in use, {usage} bytes")]
    BelowUsage {
        /// What was asked for.
        limit: i64,
        /// What is in use now and can't be reclaimed.
        usage: u64,
    },
    /// Not a name of one file.
    #[error("{key:?} is not the name of a cgroup's file, like \"memory.high\"")]
    Key {
        /// Its key in the spec's `unified`.
        key: String,
    },
    /// `unified` is for cgroup v2.
    #[error("{key:?} names a file of cgroup v2, and this node has cgroup v1")]
    NotUnified {
        /// Its key in the spec's `unified`.
        key: String,
    },
    /// The container has no such controller of its own, or the kernel no such file.
    #[error("{name} can't be limited: the container's cgroup has no file {file}")]
    Missing {
        /// Its name in the spec.
        name: String,
        file: String,
    },
    /// The cgroup has no such controller, and can't be given it.
    #[error(
        "{name} can't be limited: the controller {controller} is not enabled for the container's \
         cgroup, nor can it be in {}",
        dir.display()
    )]
    NotEnabled {
        /// Its name in the spec.
        name: String,
        /// The kernel's name for it.
        controller: String,
        /// The cgroup above, for whose children it is to be enabled.
        dir: PathBuf,
        source: io::Error,
    },
    /// A cgroup of cgroup v2 has processes, or controllers for those below it.
    #[error(
        "{name} can't be limited: processes are in the cgroup {}, and with cgroup v2 limits are \
         only for cgroups below one that has none; move them to a cgroup below it, or give the \
         container another cgroupsPath",
        dir.display()
    )]
    Processes {
        /// Its name in the spec.
        name: String,
        /// The cgroup above.
        dir: PathBuf,
    },
    /// cgroup v1 had it.
    #[error("{name} is a limit of cgroup v1, and this node has cgroup v2, which has none such")]
    NotOnV2 {
        /// Its name in the spec.
        name: &'static str,
    },
    /// What holds now could not be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The cgroup is systemd's, which would undo what it does not know of.
    #[error("systemd does not take {properties:?} for {unit}: {reason}")]
    Systemd {
        /// Its name for the cgroup.
        unit: String,
        /// What it was to have.
        properties: Vec<String>,
        /// What it says.
        reason: String,
    },
    /// The kernel refused.
    #[error("cannot write {value:?} to {}{}", path.display(), taken(path))]
    Write {
        path: PathBuf,
        /// What was to be in it.
        value: String,
        source: io::Error,
    },
}

/// What a file of a cgroup takes, where the kernel's own word does not tell it.
fn taken(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let taken = match file.as_ref() {
        "cpuset.cpus" => "processors that the cgroup above has, such as 0-1",
        "cpuset.mems" => "memory nodes that the cgroup above has, such as 0",
        "cpu.idle" => "0 or 1",
        "cpu.cfs_quota_us" => {
            "microseconds, more than a burst and within the quota of the cgroup above"
        }
        "cpu.rt_runtime_us" => "microseconds within those of the cgroup above, which may have none",
        "pids.max" => "a number up to 4194304, or max",
        "io.max" | "io.weight" | "io.bfq.weight" => "a device that is there, by its numbers",
        file if file.starts_with("blkio.") && file.ends_with("_device") => {
            "a device that is there, by its numbers"
        }
        _ => return String::new(),
    };
    format!(", which takes {taken}")
}

impl UpdateError {
    /// Whether the request makes no sense in any state of the container.
    #[must_use]
    pub fn is_invalid_argument(&self) -> bool {
        matches!(
            self,
            Self::NotResources(_) | Self::OutOfRange { .. } | Self::Key { .. }
        )
    }

    /// Whether it makes sense, but not for what this container, or this node, is now.
    #[must_use]
    pub fn is_failed_precondition(&self) -> bool {
        matches!(
            self,
            Self::SwapBelowMemory { .. }
                | Self::SwapWithoutMemory { .. }
                | Self::BelowUsage { .. }
                | Self::NotUnified { .. }
                | Self::NotOnV2 { .. }
                | Self::NotEnabled { .. }
                | Self::Processes { .. }
                | Self::Missing { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::UpdateError;

    #[test]
    fn what_a_file_takes_is_told_where_the_kernel_does_not() {
        let told = |file: &str| {
            let error = UpdateError::Write {
                path: format!("/c/{file}").into(),
                value: "99".to_owned(),
                source: std::io::ErrorKind::InvalidInput.into(),
            };
            error.to_string()
        };
        assert_eq!(
            told("cpuset.cpus"),
            "cannot write \"99\" to /c/cpuset.cpus, which takes processors that the cgroup above has, such \
             as 0-1"
        );
        for file in [
            "blkio.throttle.read_bps_device",
            "blkio.bfq.weight_device",
            "io.max",
        ] {
            assert!(
                told(file).ends_with("takes a device that is there, by its numbers"),
                "{file}"
            );
        }
        assert_eq!(told("memory.max"), "cannot write \"99\" to /c/memory.max");
    }
}
