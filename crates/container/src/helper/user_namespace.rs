//! In the helper: a user namespace, and mounts that show their files as owned by its ids.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use medley_sys::clone::Alone;
use medley_sys::mount::MountClone;

use crate::protocol::{IdMapped, Maps, Reply};

/// Why a mount's ids could not be mapped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot leave the node's mount namespace")]
    Leave(#[source] io::Error),
    #[error(
        "cannot map the ids of {}: its file system has to be one that can (idmapped mounts)",
        path.display()
    )]
    Map { path: PathBuf, source: io::Error },
    #[error("cannot mount {} at {}", path.display(), at.display())]
    Attach {
        path: PathBuf,
        at: PathBuf,
        source: io::Error,
    },
}

/// Makes a user namespace with these maps, and answers with a handle on it.
pub(crate) fn run(maps: &Maps) -> (Reply, Option<OwnedFd>) {
    let made = Alone::check()
        .and_then(|alone| medley_sys::user_namespace::create(&alone, &maps.uids, &maps.gids));
    match made {
        Ok(namespace) => (Reply::UserNamespace, Some(namespace)),
        Err(error) => {
            let reason = format!(
                "cannot make a user namespace with the uid map {:?} and the gid map {:?}: {error}",
                maps.uids.trim_end(),
                maps.gids.trim_end()
            );
            (Reply::Failed { reason }, None)
        }
    }
}

/// Mounts what is to be mapped where the container's spec says, in a mount namespace that ends with
/// this helper: on the node there is nothing to be seen, and nothing to be cleaned up.
pub(crate) fn map(mounts: &[IdMapped]) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    Alone::check()
        .and_then(|alone| alone.leave_mounts())
        .map_err(Error::Leave)?;
    for mount in mounts {
        let attach = |source| Error::Attach {
            path: mount.source.clone(),
            at: mount.at.clone(),
            source,
        };
        mount_point(mount).map_err(attach)?;
        let clone = MountClone::of(&mount.source, true).map_err(attach)?;
        if let Some(namespace) = &mount.namespace {
            File::open(namespace)
                .and_then(|namespace| clone.map_ids(namespace.as_fd(), mount.recursive))
                .map_err(|source| Error::Map {
                    path: mount.source.clone(),
                    source,
                })?;
        }
        clone.attach(&mount.at).map_err(attach)?;
    }
    Ok(())
}

/// A folder to mount a folder on, or a file for a file.
fn mount_point(mount: &IdMapped) -> io::Result<()> {
    if mount.source.is_dir() {
        return std::fs::create_dir_all(&mount.at);
    }
    if let Some(folder) = mount.at.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::create(&mount.at).map(drop)
}
