//! In init: the container's file system, made of its rootfs and of what its spec mounts there.
//!
//! It does what libcontainer's init does, of which the rest is used, by a third of its calls: paths are
//! followed by the kernel alone (`openat2`, with the rootfs as `/`), and what is mounted from the node is
//! a clone that the helper has taken hold of, put where it belongs.

mod dev;
mod mount;
mod paths;
mod sysctl;
mod terminal;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use medley_sys::mount::MountClone;
use oci_spec::runtime::{LinuxDevice, Spec};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};

use self::mount::Mounted;
use self::paths::Masks;

/// Why it could not be made. The log has a line as libcontainer's, by which the shim tells it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot mount {} at {}", source_path.display(), at.display())]
    Source {
        source_path: PathBuf,
        at: PathBuf,
        source: io::Error,
    },
    #[error("cannot mount {}", at.display())]
    Mount { at: PathBuf, source: io::Error },
    #[error("cannot mount {}: {reason}", at.display())]
    Options { at: PathBuf, reason: String },
    #[error(
        "the mount destination {} lies in a volume, where a symlink leads to {place}: mount it elsewhere",
        at.display()
    )]
    Behind { at: PathBuf, place: &'static str },
    #[error("the rootfs propagation {0:?} is none")]
    Propagation(String),
    #[error("cannot make the rootfs the root of init")]
    Root(#[source] io::Error),
    #[error("cannot make {}", path.display())]
    Dev { path: PathBuf, source: io::Error },
    #[error("cannot open /dev/null in the container")]
    Null(#[source] io::Error),
    #[error(transparent)]
    Console(crate::helper::console::Error),
    #[error("cannot {0} the container's terminal")]
    Terminal(&'static str, #[source] io::Error),
    #[error("cannot make {} read-only", path.display())]
    ReadOnly { path: PathBuf, source: io::Error },
    #[error("cannot mask {}", path.display())]
    Mask { path: PathBuf, source: io::Error },
    #[error("cannot mount a procfs for the sysctls of the container")]
    Procfs(#[source] io::Error),
    #[error("cannot set the sysctl {name}")]
    Sysctl { name: String, source: io::Error },
}

/// What a spec asks for, taken out of it.
pub(super) struct Filesystem {
    rootfs: MountClone,
    mounts: Vec<Mounted>,
    devices: Vec<LinuxDevice>,
    rest: Rest,
}

/// One whose mounts are all there, and that is not the root of this process yet.
pub(super) struct Filled {
    rootfs: OwnedFd,
    /// What becomes read-only in the end.
    filled: Vec<(PathBuf, OwnedFd)>,
    rest: Rest,
}

/// What is done once it is the root.
struct Rest {
    masked: Vec<String>,
    read_only: Vec<String>,
    is_read_only: bool,
    sysctls: HashMap<String, String>,
    propagation: Propagation,
}

/// `linux.rootfsPropagation`.
#[derive(Clone, Copy)]
struct Propagation {
    /// That of all mounts when init begins.
    first: MountPropagationFlags,
    /// That of the root in the end, if it is another.
    last: Option<MountPropagationFlags>,
}

impl Propagation {
    fn of(spec: &Spec) -> Result<Self, Error> {
        let linux = spec.linux().as_ref();
        let word = linux.and_then(|linux| linux.rootfs_propagation().as_deref());
        let (first, last) = match word {
            Some("shared") => (
                MountPropagationFlags::SHARED,
                Some(MountPropagationFlags::SHARED),
            ),
            Some("private") => (MountPropagationFlags::PRIVATE, None),
            Some("unbindable") => (
                MountPropagationFlags::DOWNSTREAM,
                Some(MountPropagationFlags::UNBINDABLE),
            ),
            Some("slave" | "") | None => (MountPropagationFlags::DOWNSTREAM, None),
            Some(other) => return Err(Error::Propagation(other.to_owned())),
        };
        Ok(Self { first, last })
    }
}

impl Filesystem {
    /// In the helper: takes hold of the rootfs and of what is mounted from the node, and takes what it
    /// makes out of the spec.
    pub(super) fn take(spec: &mut Spec, rootfs: &Path) -> Result<Self, Error> {
        let propagation = Propagation::of(spec)?;
        let held = MountClone::of(rootfs, true).and_then(|held| {
            held.set_propagation(propagation.first, true)?;
            if propagation.last == Some(MountPropagationFlags::SHARED) {
                // What is mounted there until then is the container's alone.
                held.set_propagation(MountPropagationFlags::PRIVATE, false)?;
            }
            Ok(held)
        });
        let rootfs = held.map_err(|source| Error::Mount {
            at: rootfs.to_owned(),
            source,
        })?;
        let asked = spec.mounts().as_deref().unwrap_or_default();
        let mounts = asked.iter().enumerate();
        let mounts = mounts.map(|(number, mount)| {
            let before = asked.get(..number).unwrap_or_default();
            Mounted::hold(mount, propagation.first, before)
        });
        let mounts = mounts.collect::<Result<_, _>>()?;
        spec.set_mounts(None);
        let root = spec.root().as_ref();
        let is_read_only = root.and_then(oci_spec::runtime::Root::readonly);
        let mut filesystem = Self {
            rootfs,
            mounts,
            devices: Vec::new(),
            rest: Rest {
                masked: Vec::new(),
                read_only: Vec::new(),
                is_read_only: is_read_only.unwrap_or(false),
                sysctls: HashMap::new(),
                propagation,
            },
        };
        if let Some(linux) = spec.linux_mut() {
            filesystem.devices = dev::devices(linux.devices_mut().take());
            let rest = &mut filesystem.rest;
            rest.masked = linux.masked_paths_mut().take().unwrap_or_default();
            rest.read_only = linux.readonly_paths_mut().take().unwrap_or_default();
            rest.sysctls = linux.sysctl_mut().take().unwrap_or_default();
        }
        Ok(filesystem)
    }

    /// In init, in a mount namespace of its own: makes it. `at` is where the rootfs is in there, if there is
    /// something.
    pub(super) fn fill(self, at: Option<&Path>) -> Result<Filled, Error> {
        let rootfs = self.rootfs.into_fd();
        let failed = |errno: Errno| Error::Root(errno.into());
        if at.is_some() {
            // Nothing that is mounted from here on is for the node.
            let received = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", received).map_err(failed)?;
        }
        let at = at.unwrap_or(Path::new("/"));
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&rootfs, "", CWD, at, flags).map_err(failed)?;
        let mut filled = Vec::new();
        for mount in self.mounts {
            filled.extend(mount.put(rootfs.as_fd())?);
        }
        dev::make(rootfs.as_fd(), &self.devices)?;
        Ok(Filled {
            rootfs,
            filled,
            rest: self.rest,
        })
    }
}

impl Filled {
    /// Has this process be in its root, by the node's path.
    pub(super) fn be_here(&self) -> Result<(), Error> {
        rustix::process::fchdir(&self.rootfs).map_err(|errno| Error::Root(errno.into()))
    }

    /// Makes it the root of this process. Of the descriptors in `stdio` the node's `/dev/null` becomes the
    /// container's; a terminal, which is asked for at `console`, takes the place of this process's own.
    pub(super) fn become_it(
        self,
        stdio: &mut [OwnedFd],
        console: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        let root = self.rootfs.as_fd();
        let rest = self.rest;
        pivot(root).map_err(|errno| Error::Root(errno.into()))?;
        if let Some(propagation) = rest.propagation.last {
            rustix::mount::mount_change("/", propagation)
                .map_err(|errno| Error::Root(errno.into()))?;
        }
        let null = dev::null(stdio)?;
        if let Some(console) = console {
            terminal::make(root, console)?;
        }
        sysctl::set(&rest.sysctls)?;
        let read_only = |path: &Path, mount: BorrowedFd<'_>| {
            let made = medley_sys::mount::make_read_only(mount);
            made.map_err(|source| Error::ReadOnly {
                path: path.to_owned(),
                source,
            })
        };
        for (path, mount) in &self.filled {
            read_only(path, mount.as_fd())?;
        }
        if rest.is_read_only {
            read_only(Path::new("/"), root)?;
        }
        for path in &rest.read_only {
            paths::make_read_only(root, Path::new(path))?;
        }
        let mut masks = Masks::of(root, null.as_fd());
        for path in &rest.masked {
            masks.put(Path::new(path))?;
        }
        Ok(())
    }
}

/// Makes the directory `root`, of what is mounted over all else, the root of this process, and leaves all
/// else.
fn pivot(root: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::process::fchdir(root)?;
    // What was the root lies over the new one then.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}
