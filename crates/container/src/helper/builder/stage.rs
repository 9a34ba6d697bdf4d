//! In the helper: the mount namespace that init begins in. It is a copy of an empty one
//! ([`medley_sys::empty_mounts`]), with only what the container mounts from, so that a start takes no
//! longer on a node with thousands of mounts.
//!
//! What a spec mounts from is taken hold of here, with the node's names. That a component of a path is made
//! a link meanwhile changes nothing any more. Most file systems are made by [`Filesystem`]; where
//! libcontainer makes one, init finds what it mounts from by names of its own.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::process::channel::{ChannelError, InitReceiver, MainSender};
use medley_sys::clone::SingleThreaded;
use medley_sys::mount::MountClone;
use medley_sys::{empty_mounts, user_namespace};
use oci_spec::runtime::{ContainerState, Hook, LinuxNamespaceType, Mount, Spec, State};
use rustix::fs::FileType;

use super::filesystem::{self, Filesystem};
use super::surroundings::{self, Surroundings};
use crate::hooks::{self, HookFailed, Moment};
use crate::spec::{has_option, is_bind};

/// Where init finds what is mounted from.
const SOURCES: &str = "/sources";

/// Where init finds its rootfs.
const ROOTFS: &str = "/rootfs";

/// What libcontainer mounts from nothing of the node's.
const FROM_NOTHING: [&str; 5] = ["devpts", "mqueue", "proc", "sysfs", "tmpfs"];

/// Where others keep mount namespaces: snapd.
const KEPT_BY_OTHERS: [&str; 1] = ["/run/snapd/ns"];

/// What of the node libcontainer looks into besides.
const PROC: &str = "/proc";

/// Why it could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot mount {} at {}", source_path.display(), at.display())]
    Source {
        source_path: PathBuf,
        at: PathBuf,
        source: io::Error,
    },
    #[error("cannot open the namespace {}", path.display())]
    Namespace { path: PathBuf, source: io::Error },
    #[error("cannot leave the node's mount namespace")]
    Enter(#[source] io::Error),
    #[error(transparent)]
    Surroundings(#[from] surroundings::Error),
    #[error(transparent)]
    Filesystem(#[from] filesystem::Error),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error(transparent)]
    Hook(#[from] HookFailed),
    #[error("cannot put {} into init's mount namespace", at.display())]
    Attach { at: PathBuf, source: io::Error },
}

/// The mount namespace of which init begins in a copy, and what it does there.
pub(super) enum Stage {
    /// Init's namespaces and its file system, of which libcontainer has nothing to do.
    Whole(Box<Whole>),
    /// The empty one, and what libcontainer is to find there.
    Mounts(OwnedFd, Mounts),
}

pub(super) struct Whole {
    ground: Ground,
    surroundings: Surroundings,
    filesystem: Filesystem,
}

/// What init finds in its mount namespace.
enum Ground {
    Nothing(OwnedFd),
    /// The node's mounts, for hooks that find what they need by the node's paths, and that find the
    /// container where its rootfs is.
    Node {
        rootfs: PathBuf,
        create_container: Option<Vec<Hook>>,
    },
}

/// What init has to enter a stage with.
pub(super) struct Entry<'a> {
    pub(super) alone: &'a SingleThreaded,
    /// Its own.
    pub(super) stdio: &'a mut [OwnedFd],
    /// The socket that its terminal is sent to, if it has one.
    pub(super) console: Option<BorrowedFd<'a>>,
    /// What hooks are told.
    pub(super) state: &'a State,
    /// The helper, which runs hooks too.
    pub(super) helper: (&'a mut MainSender, &'a mut InitReceiver),
}

impl Stage {
    /// That of a container with this spec, out of which is taken what is done here. None if the container
    /// needs the node's mounts in sight, or no empty namespace can be had.
    pub(super) fn of(
        alone: &SingleThreaded,
        spec: &mut Spec,
        rootfs: &Path,
    ) -> Result<Option<Self>, Error> {
        if !is_enough(spec, rootfs) {
            return Ok(None);
        }
        if has_hooks_before(spec) {
            if needs_libcontainer(spec) {
                return Ok(None);
            }
            let hooks = spec.hooks().as_ref();
            let create_container = hooks.and_then(|hooks| hooks.create_container().clone());
            let ground = Ground::Node {
                rootfs: rootfs.to_owned(),
                create_container,
            };
            return Self::whole(ground, spec, rootfs).map(Some);
        }
        let empty = match empty_mounts::open(alone) {
            Ok(empty) => empty,
            Err(error) => {
                log::warn!("the container starts from the node's mounts: {error}");
                return Ok(None);
            }
        };
        if needs_libcontainer(spec) {
            let mounts = Mounts::of(spec, rootfs)?;
            return Ok(mounts.map(|mounts| Self::Mounts(empty, mounts)));
        }
        Self::whole(Ground::Nothing(empty), spec, rootfs).map(Some)
    }

    fn whole(ground: Ground, spec: &mut Spec, rootfs: &Path) -> Result<Self, Error> {
        let filesystem = Filesystem::take(spec, rootfs)?;
        let surroundings = Surroundings::take(spec)?;
        Ok(Self::Whole(Box::new(Whole {
            ground,
            surroundings,
            filesystem,
        })))
    }

    /// Where libcontainer finds the rootfs, if it makes the file system.
    pub(super) fn rootfs(&self) -> Option<&'static Path> {
        match self {
            Self::Whole(_) => None,
            Self::Mounts(..) => Some(Path::new(ROOTFS)),
        }
    }

    /// Whether init asks the helper for hooks while it enters.
    pub(super) fn asks_for_hooks(&self) -> bool {
        match self {
            Self::Whole(whole) => matches!(whole.ground, Ground::Node { .. }),
            Self::Mounts(..) => false,
        }
    }

    /// In init: leaves the node's mounts for these. Gives what is to be open until init has entered the
    /// namespaces that its spec names.
    pub(super) fn enter(self, entry: Entry<'_>) -> Result<Vec<File>, Error> {
        match self {
            Self::Whole(whole) => whole.enter(entry).map(|()| Vec::new()),
            Self::Mounts(empty, mounts) => {
                let entered = entry.alone.enter_empty_mounts(empty.as_fd());
                entered.map_err(Error::Enter)?;
                mounts.attach()
            }
        }
    }
}

impl Whole {
    fn enter(self, entry: Entry<'_>) -> Result<(), Error> {
        let Self {
            ground,
            surroundings,
            filesystem,
        } = self;
        let (state, (to_helper, from_helper)) = (entry.state, entry.helper);
        let (empty, rootfs, create_container) = match &ground {
            Ground::Nothing(empty) => (Some(empty.as_fd()), None, None),
            Ground::Node {
                rootfs,
                create_container,
            } => (None, Some(rootfs.as_path()), create_container.as_ref()),
        };
        surroundings.enter(entry.alone, empty)?;
        let root = filesystem.fill(rootfs)?;
        if rootfs.is_some() {
            to_helper.hook_request()?;
            from_helper.wait_for_hook_request_done()?;
            root.be_here()?;
            let own = rustix::process::getpid().as_raw_nonzero().get();
            let moment = Moment {
                name: "createContainer",
                state: &hooks::told(state, ContainerState::Creating, own),
                cwd: None,
                env: &[],
                in_container: false,
            };
            moment.run(create_container)?;
        }
        Ok(root.become_it(entry.stdio, entry.console)?)
    }
}

/// Whether init has something to do between its file system and its program that only libcontainer does
/// there.
fn needs_libcontainer(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|linux| linux.net_devices().as_ref());
    devices.is_some_and(|devices| !devices.is_empty())
}

/// Whether hooks run once the container's mounts are there, and before they are all that it has.
fn has_hooks_before(spec: &Spec) -> bool {
    #[allow(deprecated, reason = "they are run, and so looked for")]
    spec.hooks().as_ref().is_some_and(|hooks| {
        let before = [
            hooks.prestart(),
            hooks.create_runtime(),
            hooks.create_container(),
        ];
        before.into_iter().flatten().any(|some| !some.is_empty())
    })
}

/// What libcontainer is to find in init's mount namespace.
pub(super) struct Mounts {
    mounts: Vec<(MountClone, PathBuf)>,
    /// Those that the spec names by then.
    namespaces: Vec<File>,
}

impl Mounts {
    /// Of a spec, whose sources get the names that init finds them by.
    fn of(spec: &mut Spec, rootfs: &Path) -> Result<Option<Self>, Error> {
        let proc = match clone(Path::new(PROC), Path::new(PROC), false) {
            Ok(proc) => proc,
            // What hides a part of it from this node must go on hiding it.
            Err(error) => {
                let text = medley_types::sentence(&error);
                log::debug!("the container starts from the node's mounts: {text}");
                return Ok(None);
            }
        };
        let mut mounts = vec![proc, clone(rootfs, Path::new(ROOTFS), true)?];
        let mut number = 0;
        for mount in spec.mounts_mut().iter_mut().flatten() {
            let Some(source) = mount.source().clone().filter(|_| is_bind(mount)) else {
                continue;
            };
            let at = Path::new(SOURCES).join(number.to_string());
            number += 1;
            let held = MountClone::of(&Path::new("/").join(&source), has_option(mount, &["rbind"]));
            let held = held.map_err(|error| Error::Source {
                source_path: source,
                at: mount.destination().clone(),
                source: error,
            })?;
            mount.set_source(Some(at.clone()));
            mounts.push((held, at));
        }
        let namespaces = name_namespaces(spec)?;
        Ok(Some(Self { mounts, namespaces }))
    }

    /// In init: puts them where it finds them.
    fn attach(self) -> Result<Vec<File>, Error> {
        for (mount, at) in self.mounts {
            let attached = mount_point(&mount, &at).and_then(|()| mount.attach(&at));
            attached.map_err(|source| Error::Attach { at, source })?;
        }
        Ok(self.namespaces)
    }
}

/// Opens the namespaces that a spec joins, which have no path in init's mount namespace, and names them as
/// init has them; the mount namespace too, which it is in by then and has libcontainer not copy again.
fn name_namespaces(spec: &mut Spec) -> Result<Vec<File>, Error> {
    let mut held = Vec::new();
    let linux = spec.linux_mut().as_mut();
    let namespaces = linux.and_then(|linux| linux.namespaces_mut().as_mut());
    for namespace in namespaces.into_iter().flatten() {
        if namespace.typ() == LinuxNamespaceType::Mount {
            namespace.set_path(Some("/proc/self/ns/mnt".into()));
            continue;
        }
        let Some(path) = namespace.path().clone() else {
            continue;
        };
        let file = File::open(&path).and_then(|file| super::among_namespaces(&file));
        let file = file.map_err(|source| Error::Namespace { path, source })?;
        let named = format!("/proc/self/fd/{}", file.as_raw_fd());
        namespace.set_path(Some(named.into()));
        held.push(file);
    }
    Ok(held)
}

fn clone(from: &Path, at: &Path, recursive: bool) -> Result<(MountClone, PathBuf), Error> {
    let held = MountClone::of(from, recursive).map_err(|source| Error::Source {
        source_path: from.to_owned(),
        at: at.to_owned(),
        source,
    })?;
    Ok((held, at.to_owned()))
}

/// A directory, or a file for a file.
fn mount_point(mount: &MountClone, at: &Path) -> io::Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(mount.as_fd())?.st_mode);
    if kind == FileType::Directory {
        return std::fs::create_dir_all(at);
    }
    if let Some(dir) = at.parent() {
        std::fs::create_dir_all(dir)?;
    }
    File::create(at).map(drop)
}

/// Whether a container has a mount namespace of its own, and mounts nothing that has to be found by a path
/// of the node's.
fn is_enough(spec: &Spec, rootfs: &Path) -> bool {
    let Some(linux) = spec.linux() else {
        return false;
    };
    let own = super::namespace(linux, LinuxNamespaceType::Mount);
    let mut mounts = spec.mounts().iter().flatten();
    own.is_some_and(|own| own.path().is_none())
        && linux.mount_label().is_none()
        && linux.intel_rdt().is_none()
        && mounts.all(|mount| {
            let kind = mount.typ().as_deref().unwrap_or_default();
            match is_bind(mount) {
                true => !holds_namespaces(mount) && !is_of_another(mount, rootfs),
                false => FROM_NOTHING.contains(&kind),
            }
        })
        // There devices are mounted from the node's, by their paths.
        && user_namespace::is_first()
}

/// Whether a mount shows what lies below the rootfs, where another mount may be by then.
fn is_of_another(mount: &Mount, rootfs: &Path) -> bool {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    source != rootfs && source.starts_with(rootfs)
}

/// Whether others' mount namespaces are kept below what a mount shows with all that is on it. The kernel
/// mounts none of them within one that is younger.
fn holds_namespaces(mount: &Mount) -> bool {
    let Some(source) = mount
        .source()
        .as_ref()
        .filter(|_| has_option(mount, &["rbind"]))
    else {
        return false;
    };
    let source = std::fs::canonicalize(Path::new("/").join(source)).unwrap_or_default();
    KEPT_BY_OTHERS.iter().any(|kept| {
        let kept = Path::new(kept);
        kept.starts_with(&source) && kept.exists()
    })
}

#[cfg(test)]
mod tests {
    use super::{has_hooks_before, name_namespaces};
    use oci_spec::runtime::Spec;
    use std::path::Path;

    fn is_enough(spec: &Spec) -> bool {
        super::is_enough(spec, Path::new("/srv/rootfs"))
    }

    fn spec(change: impl FnOnce(&mut serde_json::Value)) -> Spec {
        let mut json = serde_json::json!({
            "ociVersion": "1.1.0",
            "root": {"path": "rootfs"},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind"]},
            ],
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
        });
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_needs_paths_of_the_node_stays_among_its_mounts() {
        assert!(is_enough(&spec(|_| ())));
        assert!(!is_enough(&spec(
            |it| it["mounts"][0]["type"] = "overlay".into()
        )));
        assert!(!is_enough(&spec(
            |it| it["mounts"][0]["type"] = "cgroup".into()
        )));
        assert!(!is_enough(&spec(
            |it| it["linux"]["mountLabel"] = "l".into()
        )));
        assert!(!is_enough(&spec(
            |it| it["mounts"][1]["source"] = "/srv/rootfs/other".into()
        )));
        assert!(!is_enough(&spec(
            |it| it["linux"]["namespaces"] = serde_json::json!([])
        )));
        let joined = serde_json::json!([{"type": "mount", "path": "/proc/1/ns/mnt"}]);
        assert!(!is_enough(&spec(|it| it["linux"]["namespaces"] = joined)));
    }

    #[test]
    fn hooks_before_the_root_changes_have_the_nodes_paths() {
        let hooks =
            |kind: &str| spec(|it| it["hooks"] = serde_json::json!({kind: [{"path": "/h"}]}));
        for kind in ["prestart", "createRuntime", "createContainer"] {
            assert!(has_hooks_before(&hooks(kind)), "{kind}");
        }
        for kind in ["startContainer", "poststart", "poststop"] {
            assert!(!has_hooks_before(&hooks(kind)), "{kind}");
        }
    }

    #[test]
    fn namespaces_have_the_names_that_init_has_for_them() {
        let net = serde_json::json!({"type": "network", "path": "/proc/self/ns/net"});
        let mut spec = spec(|it| {
            it["linux"]["namespaces"].as_array_mut().unwrap().push(net);
        });
        let held = name_namespaces(&mut spec).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        let namespaces = linux.namespaces().as_ref().unwrap();
        let path = |at: usize| namespaces[at].path().clone();
        assert_eq!(path(0), Some("/proc/self/ns/mnt".into()));
        assert_eq!(path(1), None);
        let [file] = &held[..] else {
            panic!("one namespace is joined");
        };
        let ino = |path: &std::path::Path| rustix::fs::stat(path).unwrap().st_ino;
        assert_eq!(
            ino(&path(2).unwrap()),
            rustix::fs::fstat(file).unwrap().st_ino
        );
    }
}
