//! In the shim: a pod that no container stands for.
//!
//! What a pause container is otherwise for, its namespaces and its few files, the shim keeps: the
//! namespaces as open descriptors, so that they go with it in any case; the files in a directory
//! of the pod's bundle. Only containers that share a pid namespace need a process, its first one.
//!
//! containerd writes the specs of a pod's containers for the process that a pause container would
//! be, and is told that it is the shim: `/proc/<shim>/ns/ipc` in a spec is the pod's. What the pod
//! shares with the node is then right as it stands, and the rest is put right here.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use medley_sys::pidfd::PidFd;
use medley_types::metrics::Metrics;
use medley_types::sandbox::{SandboxRequest, Scope};
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::protocol::{FIRST_NAMESPACE, MakeSandbox, Namespace};
use crate::shim::bundle_layout::SANDBOX;
use crate::shim::error::{Error, SandboxError};
use crate::shim::helper_client::Helpers;
use medley_cgroup::Cgroup;

/// The pod's shared memory, below its directory.
const SHM: &str = "shm";

/// The files of a pod: the name in its directory, and where its containers see it.
const FILES: [(&str, &str); 3] = [
    ("hostname", "/etc/hostname"),
    ("hosts", "/etc/hosts"),
    ("resolv.conf", "/etc/resolv.conf"),
];

/// Where a helper, and its clones, have the pod's namespaces.
const HELPERS: &str = "/proc/self/fd";

/// Where containers see the shared memory.
const DEV_SHM: &str = "/dev/shm";

/// A pod.
#[derive(Debug)]
pub struct Sandbox {
    dir: PathBuf,
    request: SandboxRequest,
    /// The first process of its pid namespace, where its containers share one.
    holder: Option<PidFd>,
    /// Guards what it is made of; empty once it has ended.
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    namespaces: Vec<(Namespace, OwnedFd)>,
    /// Its end is the holder's, and with it that of every process in the pid namespace.
    _life: Option<io::PipeWriter>,
}

impl Sandbox {
    /// Makes the pod; on failure nothing of it is left.
    pub(super) fn new(helpers: &Helpers, request: SandboxRequest) -> Result<Self, Error> {
        let dir = request.bundle.join(SANDBOX);
        let made = Self::make(helpers, request, &dir);
        if made.is_err()
            && let Err(error) = remove(&dir)
        {
            log::warn!("{}", medley_types::sentence(&error));
        }
        made
    }

    fn make(helpers: &Helpers, request: SandboxRequest, dir: &Path) -> Result<Self, Error> {
        write_files(&request, dir)?;
        if request.ipc != Scope::Node {
            mount_shm(&dir.join(SHM))?;
        }
        let (held, holder) = namespaces(helpers, &request)?;
        Ok(Self {
            dir: dir.to_owned(),
            request,
            holder,
            held: Mutex::new(Some(held)),
        })
    }

    /// The first process of its pid namespace, if it has one. No caller reaps it: the shim
    /// does what it does with orphans.
    #[must_use]
    pub fn holder(&self) -> Option<&PidFd> {
        self.holder.as_ref()
    }

    /// What all of its containers use together.
    ///
    /// # Errors
    /// [`Error::Sandbox`] where it has no cgroup, or [`Error::Cgroup`] if its cgroup can't be read.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        let parent = &self.request.cgroup_parent;
        let cgroup = Cgroup::of_pod(parent);
        if cgroup.is_empty() {
            let parent = parent.clone();
            return Err(SandboxError::NoCgroup { parent }.into());
        }
        Ok(cgroup.metrics()?)
    }

    /// Ends it: what is in its pid namespace dies, its namespaces go with their last user. May
    /// be called again.
    ///
    /// # Errors
    /// [`Error::Sandbox`] if a file of it stays.
    pub fn end(&self) -> Result<(), SandboxError> {
        drop(self.held().take());
        remove(&self.dir)
    }

    /// Makes a container of its namespaces and files out of `spec`, and gives the namespaces that
    /// go with it.
    pub(crate) fn adapt(&self, spec: &mut Spec) -> Result<Vec<OwnedFd>, SandboxError> {
        let held = self.held();
        let held = held.as_ref().ok_or(SandboxError::Stopped)?;
        let mut fds = Vec::new();
        let namespaces = spec.linux_mut().as_mut();
        let namespaces = namespaces.and_then(|linux| linux.namespaces_mut().as_mut());
        let mut has_own_ipc = false;
        for namespace in namespaces.into_iter().flatten() {
            let (kind, name) = match namespace.typ() {
                LinuxNamespaceType::Network => (Namespace::Network, "net"),
                LinuxNamespaceType::User => (Namespace::User, "user"),
                LinuxNamespaceType::Ipc => (Namespace::Ipc, "ipc"),
                LinuxNamespaceType::Uts => (Namespace::Uts, "uts"),
                LinuxNamespaceType::Pid => (Namespace::Pid, "pid"),
                LinuxNamespaceType::Mount
                | LinuxNamespaceType::Cgroup
                | LinuxNamespaceType::Time => continue,
            };
            has_own_ipc |= kind == Namespace::Ipc && namespace.path().is_none();
            let the_pods = PathBuf::from(format!("/proc/{}/ns/{name}", std::process::id()));
            let requested = held.namespaces.iter().find(|(of, _)| *of == kind);
            if let Some((_, fd)) =
                requested.filter(|_| namespace.path().as_ref() == Some(&the_pods))
            {
                // In the helper, as a number that is known by then: no other process can open it from
                // within the pod's user namespace.
                namespace.set_path(Some(path_of(fds.len())));
                fds.push(fd.try_clone().map_err(|source| SandboxError::Network {
                    path: the_pods,
                    source,
                })?);
            }
        }
        self.add_files(spec, has_own_ipc);
        Ok(fds)
    }

    /// Mounts the pod's files, but for those that the spec has something for.
    fn add_files(&self, spec: &mut Spec, has_own_ipc: bool) {
        let root = spec.root().as_ref();
        let read_only = root.and_then(oci_spec::runtime::Root::readonly) == Some(true);
        let mut mounts = spec.mounts().clone().unwrap_or_default();
        for (name, destination) in FILES {
            if !mounts
                .iter()
                .any(|mount| mount.destination() == Path::new(destination))
            {
                mounts.push(bind(&self.dir.join(name), destination, read_only));
            }
        }
        if self.request.ipc != Scope::Node && !has_own_ipc {
            let shared = bind(&self.dir.join(SHM), DEV_SHM, false);
            let at = mounts
                .iter()
                .position(|mount| mount.destination() == Path::new(DEV_SHM));
            match at {
                // containerd's default, which would be the container's own.
                Some(at) if mounts[at].typ().as_deref() == Some("tmpfs") => mounts[at] = shared,
                Some(_) => {}
                None => mounts.push(shared),
            }
        }
        spec.set_mounts(Some(mounts));
    }

    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        // An `Option` is whole after any panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what the pod of a bundle has left there, whose shim is gone.
///
/// # Errors
/// The file of it that stays, and why.
pub fn remove_after_crash(bundle: &Path) -> Result<(), SandboxError> {
    remove(&bundle.join(SANDBOX))
}

fn remove(dir: &Path) -> Result<(), SandboxError> {
    let shm = dir.join(SHM);
    match rustix::mount::unmount(&shm, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        // Not a mount point, or not there.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(errno) => {
            return Err(SandboxError::Remove {
                path: shm,
                source: errno.into(),
            });
        }
    }
    match fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SandboxError::Remove {
            path: dir.to_owned(),
            source,
        }),
    }
}

/// The names that the pod's containers know: their host's, other hosts', and whom to ask for more.
fn write_files(request: &SandboxRequest, dir: &Path) -> Result<(), SandboxError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SandboxError::Write { path, source }
    };
    fs::create_dir_all(dir).map_err(failed(dir))?;
    let write = |name: &str, text: Vec<u8>| {
        let path = dir.join(name);
        fs::write(&path, text).map_err(failed(&path))
    };
    let read = |path: &str| fs::read(path).map_err(failed(Path::new(path)));
    let hostname = hostname(request).map_err(failed(&dir.join("hostname")))?;
    write("hostname", format!("{hostname}\n").into_bytes())?;
    // A node may have neither.
    let of_the_node = |path: &str| {
        if Path::new(path).exists() {
            read(path)
        } else {
            Ok(Vec::new())
        }
    };
    write("hosts", of_the_node("/etc/hosts")?)?;
    let resolv = request.dns.resolv_conf();
    let resolv = if resolv.is_empty() {
        of_the_node("/etc/resolv.conf")?
    } else {
        resolv.into_bytes()
    };
    write("resolv.conf", resolv)
}

/// The name that the pod asks for, or else the node's.
fn hostname(request: &SandboxRequest) -> io::Result<String> {
    if request.hostname.is_empty() {
        let own = rustix::system::uname();
        Ok(own.nodename().to_string_lossy().into_owned())
    } else {
        Ok(request.hostname.clone())
    }
}

fn mount_shm(path: &Path) -> Result<(), SandboxError> {
    /// As in a pod with a pause container: 64 MiB, for every user.
    const OPTIONS: &std::ffi::CStr = c"mode=1777,size=65536k";
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = fs::create_dir_all(path)
        .and_then(|()| Ok(rustix::mount::mount("shm", path, "tmpfs", flags, OPTIONS)?));
    mounted.map_err(|source| SandboxError::Shm {
        path: path.to_owned(),
        source,
    })
}

/// Has a helper make the namespaces that are the pod's own.
fn namespaces(helpers: &Helpers, request: &SandboxRequest) -> Result<(Held, Option<PidFd>), Error> {
    let network = request.netns.as_ref().map(|path| {
        fs::File::open(path)
            .map(OwnedFd::from)
            .map_err(|source| SandboxError::Network {
                path: path.clone(),
                source,
            })
    });
    let network = network.transpose()?;
    let lifeline = match request.pid {
        Scope::Pod => Some(io::pipe().map_err(Error::Spawn)?),
        _ => None,
    };
    let made = helpers.call(MakeSandbox {
        network: network.as_ref().map(AsFd::as_fd),
        ipc: request.ipc != Scope::Node,
        // A pod in the node's network has the node's name, as one with a pause container has.
        hostname: match &network {
            Some(_) => Some(hostname(request).map_err(Error::Spawn)?),
            None => None,
        },
        holder_lifeline: lifeline.as_ref().map(|(reader, _)| reader.as_fd()),
        sysctls: request.sysctls.clone(),
        debug: helpers.debug(),
    })?;
    let holder = made.holder.map(|pid| {
        let holder = PidFd::open(pid).map_err(|source| Error::InitGone { pid, source });
        // From here on the handle tells its end, and any sweep may reap it.
        medley_sys::children::let_go(pid);
        holder
    });
    let mut namespaces = made.namespaces;
    namespaces.extend(network.map(|fd| (Namespace::Network, fd)));
    let held = Held {
        namespaces,
        _life: lifeline.map(|(_, writer)| writer),
    };
    Ok((held, holder.transpose()?))
}

fn bind(source: &Path, destination: &str, read_only: bool) -> Mount {
    let access = if read_only { "ro" } else { "rw" };
    let options = ["rbind", "rprivate", access].map(str::to_owned);
    let mut mount = Mount::default();
    mount
        .set_source(Some(source.to_owned()))
        .set_destination(destination.into())
        .set_typ(Some("bind".to_owned()))
        .set_options(Some(options.into()));
    mount
}

/// How a spec names the namespace that is the `index`th of those that its helper holds.
pub(crate) fn path_of(index: usize) -> PathBuf {
    let number = FIRST_NAMESPACE.saturating_add(u32::try_from(index).unwrap_or(0));
    Path::new(HELPERS).join(number.to_string())
}

/// The namespace of a pod that a spec names by `path`, after [`Sandbox::adapt`] has given it and
/// `shared`.
pub(crate) fn named<'s>(path: &Path, shared: &'s [OwnedFd]) -> Option<&'s OwnedFd> {
    let number: u32 = path.strip_prefix(HELPERS).ok()?.to_str()?.parse().ok()?;
    shared.get(usize::try_from(number.checked_sub(FIRST_NAMESPACE)?).ok()?)
}
