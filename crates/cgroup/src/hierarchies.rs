//! `/proc/<pid>/cgroup`: the hierarchies of cgroups that a process is in, and where each is mounted.
//!
//! The kernel tells a cgroup's path from the root of the reader's cgroup namespace. What is mounted
//! need not begin there: in a container that is a node itself (Docker on cgroup v1, kind, k3d) the
//! mount often shows only the container's own cgroup, or more of the host than the namespace does.
//! `/proc/self/mountinfo` has the cgroup that a mount begins with, told from the same root, so that
//! the rest of the path is what lies below the mount.

use std::cell::OnceCell;
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::mount::{MOUNT, is_v2};

/// A process's place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// The controllers, as the kernel lists them: `cpu,cpuacct`, or `name=systemd` for one without.
    /// Empty for the unified hierarchy.
    pub controllers: String,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The process's cgroup, below the mount. Empty for the mount itself.
    pub path: PathBuf,
}

impl Hierarchy {
    /// The directory of the process's cgroup.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        join(&self.mount, &self.path)
    }

    /// Whether it is the unified hierarchy, that of cgroup v2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    /// What the directory that it is mounted on is called: its controllers, or the name that it was
    /// given.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.controllers.as_str() {
            "" => "unified",
            controllers => controllers.trim_start_matches("name="),
        }
    }
}

/// The hierarchies in the text of a `/proc/<pid>/cgroup`. One whose cgroup is out of sight is left
/// out.
#[must_use]
pub fn hierarchies(text: &str) -> Vec<Hierarchy> {
    parse(text, is_v2())
}

/// As [`hierarchies`], on a node that has pure cgroup v2 or not.
pub(crate) fn parse(text: &str, unified: bool) -> Vec<Hierarchy> {
    let mountinfo = OnceCell::new();
    let mountinfo = || {
        let read = || fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        mountinfo.get_or_init(read).as_str()
    };
    let hierarchy = |line: &str| {
        let (mut hierarchy, path) = mounted(line, unified)?;
        let root = || mount_root(mountinfo(), &hierarchy.mount);
        hierarchy.path = below_mount(&hierarchy.mount, path, root)?;
        Some(hierarchy)
    };
    text.lines().filter_map(hierarchy).collect()
}

/// The hierarchy of a line, and the process's cgroup in it as the kernel tells it.
fn mounted(line: &str, unified: bool) -> Option<(Hierarchy, &Path)> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    let mut hierarchy = Hierarchy {
        controllers: controllers.to_owned(),
        mount: PathBuf::from(MOUNT),
        path: PathBuf::new(),
    };
    if !unified || !hierarchy.is_unified() {
        hierarchy.mount = Path::new(MOUNT).join(hierarchy.name());
    }
    Some((hierarchy, Path::new(path)))
}

/// A cgroup's path below `mount`, by the kernel's `path`; `root` is what the mount begins with.
/// `None` if the mount does not show it.
fn below_mount(
    mount: &Path,
    path: &Path,
    root: impl FnOnce() -> Option<PathBuf>,
) -> Option<PathBuf> {
    let whole = path.strip_prefix("/").ok()?;
    let is_plain = whole
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    // The usual node: mountinfo, which may be long, need not be read.
    if is_plain && join(mount, whole).is_dir() {
        return Some(whole.to_owned());
    }
    let rest = root().and_then(|root| path.strip_prefix(root).ok().map(Path::to_owned));
    match rest {
        Some(rest)
            if rest
                .components()
                .all(|part| matches!(part, Component::Normal(_))) =>
        {
            Some(rest)
        }
        // Gone, or not mounted.
        _ => is_plain.then(|| whole.to_owned()),
    }
}

/// The cgroup that the mount on `mount` begins with, in the text of a `/proc/<pid>/mountinfo`.
fn mount_root(mountinfo: &str, mount: &Path) -> Option<PathBuf> {
    let root = |line: &str| {
        let mut words = line.split(' ').skip(3);
        let (root, at) = (words.next()?, words.next()?);
        (Path::new(at) == mount).then(|| PathBuf::from(root))
    };
    // The last one covers those before it.
    mountinfo.lines().filter_map(root).next_back()
}

/// Without a slash at the end for nothing.
fn join(mount: &Path, path: &Path) -> PathBuf {
    mount.components().chain(path.components()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Hierarchy, below_mount, mount_root, parse};
    use std::path::{Path, PathBuf};

    fn hierarchy(controllers: &str, mount: &str, path: &str) -> Hierarchy {
        Hierarchy {
            controllers: controllers.into(),
            mount: mount.into(),
            path: path.into(),
        }
    }

    #[test]
    fn each_line_is_a_hierarchy_with_its_mount() {
        let text = "9:name=none-such:/a\n4:no,such:/b/c:d\n0::/\nnot a line\n";
        let found = parse(text, false);
        let expected = [
            hierarchy("name=none-such", "/sys/fs/cgroup/none-such", "a"),
            hierarchy("no,such", "/sys/fs/cgroup/no,such", "b/c:d"),
            hierarchy("", "/sys/fs/cgroup/unified", ""),
        ];
        assert_eq!(found, expected);
        assert_eq!(found[2].dir(), Path::new("/sys/fs/cgroup/unified"));
        let [unified] = &parse("0::/a\n", true)[..] else {
            panic!("one hierarchy");
        };
        assert_eq!(unified.dir(), Path::new("/sys/fs/cgroup/a"));
    }

    #[test]
    fn what_a_mount_begins_with_is_not_below_it() {
        let mount = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(mount.path().join("k8s.io/it")).unwrap();
        let below = |path: &str, root: Option<&str>| {
            below_mount(mount.path(), Path::new(path), || root.map(PathBuf::from))
        };
        let it = Some(PathBuf::from("k8s.io/it"));
        // The hierarchy's own root, or that of the cgroup namespace.
        assert_eq!(below("/k8s.io/it", None), it);
        // Docker's node on cgroup v1: the mount begins with the node's cgroup.
        assert_eq!(below("/docker/node/k8s.io/it", Some("/docker/node")), it);
        assert_eq!(
            below("/docker/node", Some("/docker/node")),
            Some(PathBuf::new())
        );
        // A cgroup namespace, and the host's cgroups mounted: the way there leads up.
        assert_eq!(below("/../../k8s.io/it", Some("/../..")), it);
        assert_eq!(below("/../../k8s.io/it", Some("/..")), None);
        assert_eq!(below("/../k8s.io/it", None), None);
        // A cgroup that is gone.
        assert_eq!(below("/k8s.io/no", Some("/")), Some("k8s.io/no".into()));
    }

    #[test]
    fn the_uppermost_mount_tells_what_it_begins_with() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
            90 35 0:32 /docker/node /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let root = |mount: &str| mount_root(mountinfo, Path::new(mount));
        assert_eq!(root("/sys/fs/cgroup/memory"), Some("/docker/node".into()));
        assert_eq!(root("/sys/fs/cgroup"), Some("/".into()));
        assert_eq!(root("/sys/fs/cgroup/cpu"), None);
    }
}
