//! In init: the container's file system, made of its rootfs and of what its spec mounts there.
//!
//! It does what libcontainer's init does, of which the rest is used, by a third of its calls: paths are
//! followed by the kernel alone (`openat2`, with the rootfs as `/`), and what is mounted from the node is
//! a clone that the helper has taken hold of, put where it belongs.

mod dev;
mod mount;
mod paths;
mod sysctl;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use medley_sys::mount::MountClone;
use oci_spec::runtime::{LinuxDevice, Spec};
use rustix::fs::CWD;
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
            masked: Vec::new(),
            read_only: Vec::new(),
            is_read_only: is_read_only.unwrap_or(false),
            sysctls: HashMap::new(),
            propagation,
        };
        if let Some(linux) = spec.linux_mut() {
            filesystem.devices = dev::devices(linux.devices_mut().take());
            filesystem.masked = linux.masked_paths_mut().take().unwrap_or_default();
            filesystem.read_only = linux.readonly_paths_mut().take().unwrap_or_default();
            filesystem.sysctls = linux.sysctl_mut().take().unwrap_or_default();
        }
        Ok(filesystem)
    }

    /// In init, in a mount namespace with nothing in it: makes it, and makes it the root of this process.
    /// Of the descriptors in `stdio` the node's `/dev/null` becomes the container's.
    pub(super) fn enter(self, stdio: &mut [OwnedFd]) -> Result<(), Error> {
        let rootfs = self.rootfs.into_fd();
        let root = rootfs.as_fd();
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(root, "", CWD, "/", flags)
            .map_err(|errno| Error::Root(errno.into()))?;
        let mut filled = Vec::new();
        for mount in self.mounts {
            filled.extend(mount.put(root)?);
        }
        dev::make(root, &self.devices)?;
        pivot(root).map_err(|errno| Error::Root(errno.into()))?;
        if let Some(propagation) = self.propagation.last {
            rustix::mount::mount_change("/", propagation)
                .map_err(|errno| Error::Root(errno.into()))?;
        }
        let null = dev::null(stdio)?;
        sysctl::set(&self.sysctls)?;
        let read_only = |path: &Path, mount: BorrowedFd<'_>| {
            let made = medley_sys::mount::make_read_only(mount);
            made.map_err(|source| Error::ReadOnly {
                path: path.to_owned(),
                source,
            })
        };
        for (path, mount) in &filled {
            read_only(path, mount.as_fd())?;
        }
        if self.is_read_only {
            read_only(Path::new("/"), root)?;
        }
        for path in &self.read_only {
            paths::make_read_only(root, Path::new(path))?;
        }
        let mut masks = Masks::of(root, null.as_fd());
        for path in &self.masked {
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
