//! The rootfs: mounting what containerd's snapshotter names, and unmounting it.

pub(crate) mod cwd;
mod idmapped;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use containerd_shim::mount::mount_rootfs;
use medley_sys::in_root;
use medley_sys::mount::MountClone;
use medley_types::RootfsMount;
use rustix::fs::OFlags;
use rustix::mount::UnmountFlags;
use serde::{Deserialize, Serialize};

use super::bundle_layout::STAGE;
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
    MountPoint { path: PathBuf, source: io::Error },
    /// A mount failed.
    #[error("cannot mount {kind} from {source_name:?} at {}", path.display())]
    Mount {
        /// The file system's name.
        kind: String,
        /// What was to be mounted.
        source_name: String,
        path: PathBuf,
        source: Box<containerd_shim::Error>,
    },
    /// Its ids can't be mapped.
    #[error(
        "cannot map the ids of the rootfs {}: the kernel (5.19 for an overlay) and the file system \
         of its layers must have idmapped mounts",
        path.display()
    )]
    Map { path: PathBuf, source: io::Error },
    /// There are no ids to map.
    #[error(
        "the rootfs {} asks for mapped ids, but the container has no user namespace",
        path.display()
    )]
    NoUserNamespace { path: PathBuf },
    /// A mount below it could not be made.
    #[error(
        "cannot mount at {} of the rootfs {}: the directory has to be there",
        target.display(), path.display()
    )]
    Target {
        /// Where in the rootfs.
        target: PathBuf,
        path: PathBuf,
        source: io::Error,
    },
    /// What a dead shim has left could not be removed.
    #[error("cannot remove what was mounted for the rootfs in {}", path.display())]
    Layers { path: PathBuf, source: io::Error },
    /// The thread that mounts ended early.
    #[error("the thread that mounts the rootfs {} failed", path.display())]
    Thread { path: PathBuf },
    /// It could not be unmounted.
    #[error("cannot unmount the rootfs {}", path.display())]
    Unmount { path: PathBuf, source: io::Error },
}

/// A rootfs, and what was mounted of it here, which knows how to go away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mounted {
    path: PathBuf,
    /// How many mounts lie on it, one above the other.
    count: usize,
    /// Mounts below it, where none lies on it.
    below: Vec<PathBuf>,
    /// Whether its file system may outlive its mount for a moment.
    #[serde(default)]
    may_linger: bool,
}

impl Mounted {
    /// A rootfs that others have mounted, or that needs no mount.
    fn as_it_is(path: PathBuf) -> Self {
        Self {
            path,
            count: 0,
            below: Vec::new(),
            may_linger: false,
        }
    }

    /// What will be mounted: for the record, before it is.
    #[must_use]
    pub fn planned(path: PathBuf, mounts: &[RootfsMount]) -> Self {
        let mut planned = Self::as_it_is(path);
        for mount in mounts {
            planned.count_in(mount);
        }
        planned
    }

    fn count_in(&mut self, mount: &RootfsMount) {
        self.may_linger = self.count == 0 && self.below.is_empty() && lets_go_of_its_layers(mount);
        match target(mount) {
            None => {
                self.count += 1;
                // The copy with mapped ids on top of it.
                self.count += usize::from(mount.kind != "overlay" && idmapped::is_wanted(mount));
            }
            // It goes with what it lies on.
            Some(_) if self.count > 0 => {}
            Some(target) => self.below.push(target.to_owned()),
        }
    }

    /// Mounts `mounts` at `path`, one above the other. Without mounts the directory must be there.
    /// Those that ask for it show their files as those of the user namespace `users`. While the kernel
    /// mounts one, `meanwhile` is done.
    ///
    /// # Errors
    /// [`Error`]; what was mounted is unmounted again.
    pub fn new(
        path: PathBuf,
        mounts: &[RootfsMount],
        (bundle, users): (&Path, Option<BorrowedFd<'_>>),
        meanwhile: &mut dyn FnMut(),
    ) -> Result<Self, Error> {
        if mounts.is_empty() {
            return if path.is_dir() {
                Ok(Self::as_it_is(path))
            } else {
                Err(Error::Missing { path })
            };
        }
        std::fs::create_dir_all(&path).map_err(|source| Error::MountPoint {
            path: path.clone(),
            source,
        })?;
        let mut mounted = Self::as_it_is(path);
        match mounted.mount_all(mounts, (bundle, users), meanwhile) {
            Ok(()) => Ok(mounted),
            Err(error) => {
                if let Err(left) = mounted.unmount() {
                    log::warn!("{}", medley_types::sentence(&left));
                }
                Err(error)
            }
        }
    }

    fn mount_all(
        &mut self,
        mounts: &[RootfsMount],
        (bundle, users): (&Path, Option<BorrowedFd<'_>>),
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        for mount in mounts {
            check_layers(mount)?;
            // A mount that fails half-way, before it is read-only, is to be unmounted too.
            self.count_in(mount);
            match target(mount) {
                None => mount_at(mount, &self.path, (bundle, users), meanwhile)?,
                Some(target) => self.mount_below(mount, target, (bundle, users), meanwhile)?,
            }
        }
        Ok(())
    }

    /// Mounts where the image may have a say: a symlink in it leads nowhere but inside the rootfs.
    fn mount_below(
        &self,
        mount: &RootfsMount,
        target: &Path,
        (bundle, users): (&Path, Option<BorrowedFd<'_>>),
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(), Error> {
        let failed = |source| Error::Target {
            target: target.to_owned(),
            path: self.path.clone(),
            source,
        };
        let at = in_rootfs(&self.path, target).map_err(failed)?;
        let stage = bundle.join(STAGE);
        std::fs::create_dir_all(&stage).map_err(|source| Error::MountPoint {
            path: stage.clone(),
            source,
        })?;
        let moved = mount_at(mount, &stage, (bundle, users), meanwhile).and_then(|()| {
            let clone = MountClone::of(&stage, true);
            let moved = clone.and_then(|clone| clone.attach_on(at.as_fd()));
            moved.map_err(failed)
        });
        let removed = remove_stage(bundle);
        moved?;
        removed.map_err(failed)
    }

    /// As [`unmount`](Self::unmount), without waiting for the file system's end where nothing depends on
    /// it: the kernel writes an overlay's upper layer back first, which takes as long as the disk is busy.
    /// The end comes when what this gives is dropped.
    ///
    /// # Errors
    /// [`Error::Unmount`].
    pub fn leave(&self) -> Result<Option<OwnedFd>, Error> {
        let is_left = self.may_linger && self.count == 1;
        // What can't be held is unmounted in full.
        let held = is_left.then(|| in_root::root(&self.path).ok()).flatten();
        self.unmount()?;
        Ok(held)
    }

    /// Unmounts what was mounted. May be called again.
    ///
    /// # Errors
    /// [`Error::Unmount`].
    pub fn unmount(&self) -> Result<(), Error> {
        for target in self.below.iter().rev() {
            let unmounted = in_rootfs(&self.path, target).and_then(|at| unmount_of(at.as_fd()));
            match unmounted {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(Error::Unmount {
                        path: self.path.clone(),
                        source,
                    });
                }
            }
        }
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

/// Where below the rootfs a mount goes, if not on it.
fn target(mount: &RootfsMount) -> Option<&Path> {
    let target = mount.target.trim_start_matches('/');
    Some(Path::new(target)).filter(|_| !target.is_empty())
}

/// Whether the layers of a mount may be removed, or mounted again, while its file system is still about to
/// end: those of an overlay without an index, which would refuse a second mount of its upper layer, and with
/// none of its ids mapped. All else may be a device, or what a snapshotter has mounted for it.
fn lets_go_of_its_layers(mount: &RootfsMount) -> bool {
    mount.kind == "overlay"
        && target(mount).is_none()
        && mount.options.iter().any(|option| option == "index=off")
        && !idmapped::is_wanted(mount)
}

/// What `target` is with `root` as `/`.
fn in_rootfs(root: &Path, target: &Path) -> io::Result<OwnedFd> {
    Ok(in_root::open(in_root::root(root)?, target, OFlags::PATH)?)
}

/// Unmounts the mount whose root `at` is. It does nothing to any other file.
fn unmount_of(at: BorrowedFd<'_>) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", at.as_raw_fd());
    match rustix::mount::unmount(path, UnmountFlags::DETACH) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Mounts `mount` at a path that no image has a part in, with the ids that it asks for.
fn mount_at(
    mount: &RootfsMount,
    path: &Path,
    (bundle, users): (&Path, Option<BorrowedFd<'_>>),
    meanwhile: &mut dyn FnMut(),
) -> Result<(), Error> {
    if !idmapped::is_wanted(mount) {
        return mount_plain(mount, path, meanwhile);
    }
    let map = |source| Error::Map {
        path: path.to_owned(),
        source,
    };
    let Some(users) = users else {
        return Err(Error::NoUserNamespace {
            path: path.to_owned(),
        });
    };
    let mut plain = idmapped::plain(mount);
    if mount.kind == "overlay" {
        let layers = Layers::map(&mut plain, bundle, users).map_err(map)?;
        mount_plain(&plain, path, meanwhile)?;
        drop(layers);
        return Ok(());
    }
    mount_plain(&plain, path, meanwhile)?;
    idmapped::cover(path, users).map_err(map)
}

fn mount_plain(mount: &RootfsMount, path: &Path, meanwhile: &mut dyn FnMut()) -> Result<(), Error> {
    // On a thread of its own: for an overlay of very many layers the call changes its thread's
    // working directory to keep the options short.
    let result = std::thread::scope(|scope| {
        let mounting = scope.spawn(|| {
            let (kind, source) = (mount.kind.as_str(), mount.source.as_str());
            mount_rootfs(Some(kind), Some(source), &mount.options, path)
        });
        meanwhile();
        mounting.join()
    });
    match result {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(Error::Mount {
            kind: mount.kind.clone(),
            source_name: mount.source.clone(),
            path: path.to_owned(),
            source: Box::new(source),
        }),
        Err(_) => Err(Error::Thread {
            path: path.to_owned(),
        }),
    }
}

/// Unmounts what lies on the stage, at most a mount and its copy with mapped ids.
fn remove_stage(bundle: &Path) -> io::Result<()> {
    let stage = bundle.join(STAGE);
    if !stage.is_dir() {
        return Ok(());
    }
    loop {
        match rustix::mount::unmount(&stage, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    // Never more than the empty directory.
    std::fs::remove_dir(stage)
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
pub fn remove_after_crash(bundle: &Path) -> Result<(), Error> {
    let removed = idmapped::remove_after_crash(bundle).and(remove_stage(bundle));
    removed.map_err(|source| Error::Layers {
        path: bundle.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, Mounted};
    use medley_types::RootfsMount;
    use std::path::Path;

    #[test]
    fn a_rootfs_that_is_neither_mounted_nor_there_is_named() {
        let error = Mounted::new(
            "/nonexistent/rootfs".into(),
            &[],
            (Path::new("/"), None),
            &mut || (),
        )
        .unwrap_err();
        assert!(matches!(error, Error::Missing { .. }));
        assert!(error.to_string().contains("/nonexistent/rootfs"));
    }

    #[test]
    fn a_target_behind_a_link_lies_inside_the_rootfs() {
        let root = tempfile::tempdir().unwrap();
        let host = tempfile::tempdir().unwrap();
        let inside = root.path().join(host.path().strip_prefix("/").unwrap());
        std::fs::create_dir_all(&inside).unwrap();
        std::os::unix::fs::symlink(host.path(), root.path().join("link")).unwrap();
        let found = super::in_rootfs(root.path(), Path::new("link")).unwrap();
        let ino = |path: &Path| rustix::fs::stat(path).unwrap().st_ino;
        assert_eq!(rustix::fs::fstat(&found).unwrap().st_ino, ino(&inside));
        assert!(super::in_rootfs(root.path(), Path::new("link/missing")).is_err());
    }

    #[test]
    fn only_what_was_to_be_mounted_is_on_record() {
        let mount = |kind: &str, target: &str, options: &[&str]| RootfsMount {
            kind: kind.into(),
            source: kind.into(),
            target: target.into(),
            options: options.iter().map(|option| (*option).into()).collect(),
        };
        let mounts = [
            mount("bind", "/below", &[]),
            mount("overlay", "", &[]),
            mount("bind", "", &["uidmap=0:1:1"]),
            mount("tmpfs", "/above", &[]),
        ];
        let planned = Mounted::planned("/rootfs".into(), &mounts);
        assert_eq!((planned.count, planned.below), (3, vec!["below".into()]));
        assert_eq!(Mounted::planned("/rootfs".into(), &[]).count, 0);
    }

    #[test]
    fn only_an_overlay_without_an_index_may_outlive_its_mount() {
        let mount = |kind: &str, target: &str, options: &[&str]| RootfsMount {
            kind: kind.into(),
            source: kind.into(),
            target: target.into(),
            options: options.iter().map(|option| (*option).into()).collect(),
        };
        let may_linger = |mounts: &[RootfsMount]| Mounted::planned("/r".into(), mounts).may_linger;
        let overlay = || mount("overlay", "", &["index=off", "upperdir=/u"]);
        assert!(may_linger(&[overlay()]));
        assert!(!may_linger(&[]));
        assert!(!may_linger(&[mount("overlay", "", &["upperdir=/u"])]));
        assert!(!may_linger(&[mount("overlay", "", &["index=on"])]));
        assert!(!may_linger(&[mount("overlay", "/below", &["index=off"])]));
        assert!(!may_linger(&[mount(
            "overlay",
            "",
            &["index=off", "uidmap=0:1:1"]
        )]));
        assert!(!may_linger(&[mount("ext4", "", &["index=off"])]));
        assert!(!may_linger(&[mount("ext4", "", &[]), overlay()]));
        assert!(!may_linger(&[overlay(), mount("bind", "/below", &[])]));
    }

    #[test]
    fn a_dir_without_mounts_is_used_as_it_is() {
        let mounted = Mounted::new(
            std::env::temp_dir(),
            &[],
            (Path::new("/"), None),
            &mut || (),
        )
        .unwrap();
        assert!(mounted.leave().unwrap().is_none());
        mounted.unmount().unwrap();
    }
}
