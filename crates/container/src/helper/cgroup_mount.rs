//! In the helper: the hierarchies of cgroup v1 in a container, each as of the container's own cgroup.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use medley_sys::mount::{self, MountClone};
use rustix::fs::Mode;
use rustix::io::Errno;

use medley_cgroup::MOUNT;

use super::inside::{self, Inside};
use super::mounted;
use crate::protocol::CgroupMount;

/// Who may do what in the folder of a hierarchy, before it is mounted there.
const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// Why the cgroups are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot mount the container's cgroups")]
    Inside(#[from] inside::Error),
    #[error("the cgroups of init, process {init}, cannot be read")]
    Read { init: i32, source: io::Error },
    #[error("the container cannot be entered")]
    Enter(#[source] io::Error),
    #[error("the cgroup {} cannot be mounted at {}", from.display(), at.display())]
    Mount {
        from: PathBuf,
        at: PathBuf,
        source: io::Error,
    },
    #[error("there is no tmpfs to mount them in at {}", at.display())]
    NoTmpfs { at: PathBuf, source: io::Error },
}

/// A hierarchy.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    /// As its folder is called: its controllers, or the name that it was given.
    name: String,
    /// The cgroup of a process in it.
    path: PathBuf,
}

/// Mounts them where `mounts` say, each of which is a tmpfs by now.
pub(crate) fn make(inside: &Inside<'_>, init: i32, mounts: &[CgroupMount]) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    let read = |of: &str| fs::read_to_string(format!("/proc/{of}/cgroup"));
    let failed = |source| Error::Read { init, source };
    let own = hierarchies(&read(&init.to_string()).map_err(failed)?);
    // Of a node that is a container itself.
    let root = hierarchies(&read("1").map_err(failed)?);
    let made = inside.run(|alone, process| {
        process.must_live().map_err(Error::Enter)?;
        let mut clones = Vec::new();
        for mount in mounts {
            clones.push((mount, clone_all(&own, &root, mount)?));
        }
        inside::become_its_root(alone, process).map_err(Error::Enter)?;
        rustix::process::umask(Mode::empty());
        clones
            .into_iter()
            .try_for_each(|(mount, clones)| fill(mount, clones))
    });
    Ok(made?)
}

fn hierarchies(text: &str) -> Vec<Hierarchy> {
    let hierarchy = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        (id != "0").then(|| Hierarchy {
            name: controllers.trim_start_matches("name=").to_owned(),
            path: path.into(),
        })
    };
    text.lines().filter_map(hierarchy).collect()
}

/// The folder of a cgroup on the node, and whether it is the container's own.
fn folder(own: &Hierarchy, root: &[Hierarchy]) -> Option<(PathBuf, bool)> {
    let mount = Path::new(MOUNT).join(&own.name);
    let below = |path: &Path| mount.join(path.strip_prefix("/").unwrap_or(path));
    let root = root.iter().find(|root| root.name == own.name);
    let stripped = root.and_then(|root| own.path.strip_prefix(&root.path).ok());
    let candidates = [Some(own.path.as_path()), stripped];
    let mut candidates = candidates.into_iter().flatten();
    let folder = candidates.find_map(|path| {
        let folder = below(path);
        folder.is_dir().then_some(folder)
    })?;
    let is_own = folder != mount;
    Some((folder, is_own))
}

/// A clone of each hierarchy's mount, from the container's cgroup on.
fn clone_all(
    own: &[Hierarchy],
    root: &[Hierarchy],
    mount: &CgroupMount,
) -> Result<Vec<(String, MountClone)>, Error> {
    let mut clones = Vec::new();
    for hierarchy in own {
        let Some((folder, is_own)) = folder(hierarchy, root) else {
            log::debug!(
                "the hierarchy {} is not mounted on the node",
                hierarchy.name
            );
            continue;
        };
        // All cgroups of the node are in sight where the container has none: not to be written to.
        let read_only = mount.read_only || !is_own;
        let clone = MountClone::of(&folder, true).and_then(|clone| {
            clone.confine(read_only)?;
            clone.set_propagation(rustix::mount::MountPropagationFlags::DOWNSTREAM, true)?;
            Ok(clone)
        });
        let clone = clone.map_err(|source| Error::Mount {
            from: folder,
            at: mount.at.clone(),
            source,
        })?;
        clones.push((hierarchy.name.clone(), clone));
    }
    Ok(clones)
}

/// In the container's mount namespace: mounts the hierarchies in the tmpfs.
fn fill(mount: &CgroupMount, clones: Vec<(String, MountClone)>) -> Result<(), Error> {
    let missing = |source| Error::NoTmpfs {
        at: mount.at.clone(),
        source,
    };
    let tmpfs = mounted::tmpfs(&mount.at).map_err(missing)?;
    for (name, clone) in clones {
        let put = || {
            rustix::fs::mkdirat(&tmpfs, &name, FOLDER)?;
            let at = mounted::folder_in(&tmpfs, Path::new(&name))?;
            clone.attach_on(at.as_fd())?;
            // A hierarchy of two controllers has the name of each.
            for link in name.split(',').filter(|link| *link != name) {
                match rustix::fs::symlinkat(&name, &tmpfs, link) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            Ok(())
        };
        put().map_err(|source| Error::Mount {
            from: PathBuf::from(&name),
            at: mount.at.clone(),
            source,
        })?;
    }
    if mount.read_only {
        mount::make_read_only(tmpfs.as_fd()).map_err(missing)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Hierarchy, folder, hierarchies};

    #[test]
    fn the_hierarchies_of_the_first_version_are_told() {
        let text = "9:name=systemd:/a\n4:cpu,cpuacct:/b/c:d\n0::/e\n";
        let hierarchy = |name: &str, path: &str| Hierarchy {
            name: name.into(),
            path: path.into(),
        };
        let expected = [
            hierarchy("systemd", "/a"),
            hierarchy("cpu,cpuacct", "/b/c:d"),
        ];
        assert_eq!(hierarchies(text), expected);
    }

    #[test]
    fn what_is_not_mounted_has_no_folder() {
        let own = hierarchies("4:no-such-controller:/a\n");
        assert_eq!(folder(&own[0], &own), None);
    }
}
