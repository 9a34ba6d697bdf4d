//! The rootfs: mounting what containerd's snapshotter names, and unmounting it.

pub(crate) mod cwd;
mod idmapped;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use containerd_shim::mount::mount_rootfs;
use medley_task::RootfsMount;
use rustix::mount::UnmountFlags;

use idmapped::Layers;

/// Why the rootfs could not be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing to mount, and nothing there.
    #[error("the rootfs, or a layer of it, is missing: {} does not exist", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The mount point could not be made.
    #[error("cannot make the mount point {}", path.display())]
    MountPoint {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A mount failed.
    #[error("cannot mount {kind} from {source_name:?} at {}", path.display())]
    Mount {
        /// The file system's name.
        kind: String,
        /// What was to be mounted.
        source_name: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: Box<containerd_shim::Error>,
    },
    /// Its ids can't be mapped.
    #[error(
        "cannot map the ids of the rootfs {}: the kernel (5.19 for an overlay) and the file system \
         of its layers must have idmapped mounts",
        path.display()
    )]
    Map {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// There are no ids to map.
    #[error(
        "the rootfs {} asks for mapped ids, but the container has no user namespace",
        path.display()
    )]
    NoUserNamespace {
        /// Where.
        path: PathBuf,
    },
    /// What a dead shim has left could not be removed.
    #[error("cannot remove the mapped layers in {}", path.display())]
    Layers {
        /// The bundle.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The thread that mounts ended early.
    #[error("the thread that mounts the rootfs {} failed", path.display())]
    Thread {
        /// Where.
        path: PathBuf,
    },
    /// It could not be unmounted.
    #[error("cannot unmount the rootfs {}", path.display())]
    Unmount {
        /// Where.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

/// A mounted rootfs, which knows how to go away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    path: PathBuf,
    count: usize,
}

impl Mounted {
    /// Whatever may be mounted at `path`, by somebody who is gone.
    #[must_use]
    pub fn by_someone(path: PathBuf) -> Self {
        /// More mounts than any snapshotter stacks on one rootfs.
        const PLENTY: usize = 16;
        Self {
            path,
            count: PLENTY,
        }
    }

    /// Mounts `mounts` at `path`, one above the other. Without mounts the folder must be there.
    /// Those that ask for it show their files as those of the user namespace `users`.
    ///
    /// # Errors
    /// [`Error`]; what was mounted is unmounted again.
    pub fn new(
        path: PathBuf,
        mounts: &[RootfsMount],
        bundle: &Path,
        users: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Error> {
        if mounts.is_empty() {
            return if path.is_dir() {
                Ok(Self { path, count: 0 })
            } else {
                Err(Error::Missing { path })
            };
        }
        std::fs::create_dir_all(&path).map_err(|source| Error::MountPoint {
            path: path.clone(),
            source,
        })?;
        let mut mounted = Self { path, count: 0 };
        match mounted.mount_all(mounts, bundle, users) {
            Ok(()) => Ok(mounted),
            Err(error) => {
                if let Err(left) = mounted.unmount() {
                    log::warn!("{}", medley_task::error::sentence(&left));
                }
                Err(error)
            }
        }
    }

    fn mount_all(
        &mut self,
        mounts: &[RootfsMount],
        bundle: &Path,
        users: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        for mount in mounts {
            check_layers(mount)?;
            if !idmapped::is_wanted(mount) {
                self.mount(mount)?;
                continue;
            }
            let path = self.path.clone();
            let Some(users) = users else {
                return Err(Error::NoUserNamespace { path });
            };
            let mut plain = idmapped::plain(mount);
            if mount.kind == "overlay" {
                let layers = Layers::map(&mut plain, bundle, users)
                    .map_err(|source| Error::Map { path, source })?;
                self.mount(&plain)?;
                drop(layers);
            } else {
                self.mount(&plain)?;
                let target = self.path.join(mount.target.trim_start_matches('/'));
                self.count += 1;
                idmapped::cover(&target, users).map_err(|source| Error::Map { path, source })?;
            }
        }
        Ok(())
    }

    fn mount(&mut self, mount: &RootfsMount) -> Result<(), Error> {
        let target = self.path.join(mount.target.trim_start_matches('/'));
        // A mount that fails half-way, before it is read-only, is to be unmounted too.
        self.count += 1;
        // On a thread of its own: for an overlay of very many layers the call changes its thread's
        // working directory to keep the options short.
        let result = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let (kind, source) = (mount.kind.as_str(), mount.source.as_str());
                    mount_rootfs(Some(kind), Some(source), &mount.options, &target)
                })
                .join()
        });
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(Error::Mount {
                kind: mount.kind.clone(),
                source_name: mount.source.clone(),
                path: target,
                source: Box::new(source),
            }),
            Err(_) => Err(Error::Thread { path: target }),
        }
    }

    /// Unmounts what was mounted. May be called again.
    ///
    /// # Errors
    /// [`Error::Unmount`].
    pub fn unmount(&self) -> Result<(), Error> {
        for _ in 0..self.count {
            match rustix::mount::unmount(&self.path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
            {
                Ok(()) => {}
                // Not a mount point, or not there: unmounted already.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
                Err(errno) => {
                    return Err(Error::Unmount {
                        path: self.path.clone(),
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes sure that an overlay's first layer is there: without it the call below ends the whole
/// process, for options too long for one page.
fn check_layers(mount: &RootfsMount) -> Result<(), Error> {
    let layers = mount
        .options
        .iter()
        .find_map(|option| option.strip_prefix("lowerdir="));
    match layers
        .and_then(|layers| layers.split(':').next())
        .map(Path::new)
    {
        Some(layer) if layer.is_absolute() && !layer.is_dir() => Err(Error::Missing {
            path: layer.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Removes what a shim that died while it mounted a rootfs has left in its bundle.
///
/// # Errors
/// [`Error::Layers`].
pub fn clean_up(bundle: &Path) -> Result<(), Error> {
    idmapped::clean_up(bundle).map_err(|source| Error::Layers {
        path: bundle.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, Mounted};
    use std::path::Path;

    #[test]
    fn a_rootfs_that_is_neither_mounted_nor_there_is_named() {
        let error =
            Mounted::new("/nonexistent/rootfs".into(), &[], Path::new("/"), None).unwrap_err();
        assert!(matches!(error, Error::Missing { .. }));
        assert!(error.to_string().contains("/nonexistent/rootfs"));
    }

    #[test]
    fn a_folder_without_mounts_is_used_as_it_is() {
        let mounted = Mounted::new(std::env::temp_dir(), &[], Path::new("/"), None).unwrap();
        mounted.unmount().unwrap();
    }
}
