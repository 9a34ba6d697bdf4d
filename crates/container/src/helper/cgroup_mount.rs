//! In the helper: the hierarchies of cgroup v1 in a container, each from the container's own cgroup on.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use medley_sys::mount::{self, MountClone};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::inside::{self, EnteredContainer};
use super::mounted;
use crate::protocol::CgroupMount;

/// Who may do what in the directory of a hierarchy, before it is mounted there.
const DIR: Mode = Mode::from_raw_mode(0o755);

/// Why the cgroups are not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot mount the container's cgroups")]
    EnteredContainer(#[from] inside::Error),
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

/// A cgroup on the node.
#[derive(Debug, PartialEq, Eq)]
struct Cgroup {
    /// As the directory of its hierarchy is called: the controllers, or the name that it was given.
    name: String,
    dir: PathBuf,
    /// Whether it is the container's, and not what all of the node is in.
    is_own: bool,
}

/// Mounts them where `mounts` say, each of which is a tmpfs by now.
pub(crate) fn make(inside: &EnteredContainer<'_>, mounts: &[CgroupMount]) -> Result<(), Error> {
    if mounts.is_empty() {
        return Ok(());
    }
    let init = inside.pid();
    let text = fs::read_to_string(format!("/proc/{init}/cgroup"));
    let cgroups = cgroups_v1(&text.map_err(|source| Error::Read { init, source })?);
    let made = inside.run(|alone, process| {
        process.must_live().map_err(Error::Enter)?;
        let mut clones = Vec::new();
        for mount in mounts {
            clones.push((mount, clone_all(&cgroups, mount)?));
        }
        inside::become_its_root(alone, process).map_err(Error::Enter)?;
        rustix::process::umask(Mode::empty());
        clones
            .into_iter()
            .try_for_each(|(mount, clones)| fill(mount, clones))
    });
    Ok(made?)
}

/// The cgroups of cgroup v1 in the text of init's `/proc/<pid>/cgroup`, each with the name of its
/// hierarchy. What is not mounted on the node has none.
fn cgroups_v1(text: &str) -> Vec<Cgroup> {
    let mut cgroups = Vec::new();
    for hierarchy in medley_cgroup::hierarchies(text) {
        let dir = hierarchy.dir();
        if hierarchy.is_unified() {
            continue;
        }
        let name = hierarchy.name().to_owned();
        if dir.is_dir() {
            let is_own = dir != hierarchy.mount;
            cgroups.push(Cgroup { name, dir, is_own });
        } else {
            log::debug!("the hierarchy {name} is not mounted on the node");
        }
    }
    cgroups
}

/// A clone of each hierarchy's mount, from the container's cgroup on.
fn clone_all(cgroups: &[Cgroup], mount: &CgroupMount) -> Result<Vec<(String, MountClone)>, Error> {
    let mut clones = Vec::new();
    for cgroup in cgroups {
        // All cgroups of the node are in sight where the container has none: not to be written to.
        let read_only = mount.read_only || !cgroup.is_own;
        let clone = MountClone::of(&cgroup.dir, true).and_then(|clone| {
            clone.confine(read_only)?;
            clone.set_propagation(rustix::mount::MountPropagationFlags::DOWNSTREAM, true)?;
            Ok(clone)
        });
        let clone = clone.map_err(|source| Error::Mount {
            from: cgroup.dir.clone(),
            at: mount.at.clone(),
            source,
        })?;
        clones.push((cgroup.name.clone(), clone));
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
            rustix::fs::mkdirat(&tmpfs, &name, DIR)?;
            let at = mounted::dir_in(&tmpfs, Path::new(&name))?;
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
    use super::cgroups_v1;

    #[test]
    fn what_is_not_mounted_has_no_dir() {
        assert_eq!(cgroups_v1("4:no-such-controller:/a\n0::/\n"), []);
    }

    #[test]
    fn cgroups_of_v1_have_the_names_of_their_hierarchies() {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let names: Vec<_> = cgroups_v1(&text).into_iter().map(|it| it.name).collect();
        for line in text.lines().filter(|line| !line.starts_with("0::")) {
            let name = line.split(':').nth(1).unwrap();
            let name = name.trim_start_matches("name=");
            let is_mounted = std::path::Path::new(medley_cgroup::MOUNT)
                .join(name)
                .is_dir();
            assert_eq!(names.iter().any(|it| it == name), is_mounted, "{line}");
        }
    }
}
