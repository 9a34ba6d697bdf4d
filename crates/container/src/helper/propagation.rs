//! In the helper: sets which mounts go from the node into a container and back, once its mount namespace
//! is there and before its program runs in it.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::mount::MountPropagationFlags;

use super::mounted;
use crate::spec::propagation::Change;

/// A mount's propagation could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot make the mount {} {kind}", path.display())]
    Set {
        path: PathBuf,
        kind: &'static str,
        source: io::Error,
    },
}

/// Sets what `changes` say in the mount namespace that this process is in.
pub(crate) fn set(changes: &[Change]) -> Result<(), Error> {
    for change in changes {
        apply(change).map_err(|source| Error::Set {
            path: change.path.clone(),
            kind: change.kind.word(),
            source,
        })?;
    }
    Ok(())
}

fn apply(change: &Change) -> io::Result<()> {
    // Another container may share what the path goes through.
    let mount = mounted::open(&change.path)?;
    let flags = change.kind.flags();
    let set = medley_sys::mount::set_propagation(mount.as_fd(), flags, change.recursive);
    match set {
        // Before Linux 5.12 there are only paths.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            let mut flags = flags;
            flags.set(MountPropagationFlags::REC, change.recursive);
            Ok(rustix::mount::mount_change(&change.path, flags)?)
        }
        set => set,
    }
}
