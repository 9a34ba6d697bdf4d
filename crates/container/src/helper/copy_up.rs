//! In the helper: what the rootfs has where a tmpfs lies, copied into it (`tmpcopyup`).
//!
//! libcontainer has no such option. So it mounts the tmpfs as it would any, and before the container
//! starts a clone of the helper copies: in the container's cgroup, which pays for what the image
//! has there, and in its namespaces, where no link leads to the node and no id means another's.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use medley_sys::mount::MountClone;
use rustix::fs::Mode;

use medley_cgroup::Cgroup;

use super::inside::{self, EnteredContainer};
use super::mounted;

mod tree;

/// Why nothing, or not everything, was copied.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot copy what the image has at {} into the tmpfs there, which must be large enough and is \
     within the container's memory limit",
    at.display()
)]
pub(crate) struct Error {
    at: PathBuf,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why one tmpfs is not filled.
#[derive(Debug, thiserror::Error)]
enum OfOne {
    #[error("the copy cannot be counted in the container's cgroup")]
    Cgroup(#[from] medley_cgroup::Error),
    #[error("the container cannot be entered")]
    Enter(#[source] io::Error),
    #[error("the directory and the tmpfs on it cannot be opened")]
    Open(#[source] io::Error),
    #[error(transparent)]
    Tree(#[from] tree::Error),
}

/// Fills each tmpfs in `paths` of the container.
pub(crate) fn run(inside: &EnteredContainer<'_>, paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        let failed = |source| Error {
            at: path.clone(),
            source,
        };
        // The node's, in which the clone finds itself.
        let procfs = File::open("/proc").map_err(|error| failed(error.into()))?;
        let cgroup = Cgroup::of_process(inside.pid()).map_err(|error| failed(error.into()))?;
        let filled = inside.run(|alone, process| {
            cgroup.join(process)?;
            inside::become_its_root(alone, process).map_err(OfOne::Enter)?;
            fill(path, procfs.as_fd())
        });
        filled.map_err(|error| failed(error.into()))?;
    }
    Ok(())
}

/// As root of the container: fills the tmpfs at `path`.
fn fill(path: &Path, procfs: BorrowedFd<'_>) -> Result<(), OfOne> {
    // Nodes and directories get the modes that they are made with.
    rustix::process::umask(Mode::empty());
    let (below, tmpfs) = open(path).map_err(OfOne::Open)?;
    tree::copy(&below, &tmpfs, procfs)?;
    Ok(())
}

/// The directory that the tmpfs at `path` covers, and the tmpfs: each without what else is mounted there.
fn open(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let name = Path::new(name);
    let parent = mounted::dir(parent)?;
    let tmpfs = mounted::dir_in(&parent, name)?;
    mounted::must_be_tmpfs(&tmpfs)?;
    let parent = MountClone::of_dir(parent.as_fd())?;
    let tmpfs = MountClone::of_dir(tmpfs.as_fd())?;
    tmpfs.make_writable()?;
    let below = mounted::dir_in(parent.into_fd(), name)?;
    Ok((below, tmpfs.into_fd()))
}
