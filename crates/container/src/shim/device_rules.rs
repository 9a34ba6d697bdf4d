//! Which devices a container may use, where the cgroups are of v2.
//!
//! On cgroup v1 libcontainer writes the rules to a file. On v2 they are a BPF program, which
//! libcontainer leaves out without libbpf; ours is attached between Create and Start.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use medley_sys::device_filter::{self, Rule};

/// The rules could not be put in force.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot attach the device rules to the cgroup {}: the kernel must have CONFIG_CGROUP_BPF, and \
     the shim CAP_BPF or CAP_SYS_ADMIN",
    dir.display()
)]
pub struct Error {
    dir: PathBuf,
    source: io::Error,
}

/// Puts `rules` in force for everything in the cgroup of the directory `dir`. None means that
/// nothing is restricted.
///
/// # Errors
/// [`Error`] with the kernel's error.
pub(crate) fn restrict(dir: &Path, rules: &[Rule]) -> Result<(), Error> {
    if rules.is_empty() {
        return Ok(());
    }
    File::open(dir)
        .and_then(|cgroup| device_filter::attach(cgroup.as_fd(), rules))
        .map_err(|source| Error {
            dir: dir.to_owned(),
            source,
        })
}
