//! A container's cgroup at its beginning: made by the shim, joined by init.
//!
//! libcontainer would look each controller of cgroup v1 up in `/proc/self/mountinfo`, which grows with
//! the node, and knows of no hierarchy without a controller. So what systemd does not make is made
//! here, where runc makes it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use medley_sys::device_filter::Rule;
use medley_sys::{child, kernel_file, user_namespace};
use oci_spec::runtime::LinuxNetwork;
use rustix::fs::{Mode, OFlags};

use crate::cgroup::{Cgroup, CgroupDir};
use crate::device_files;
use crate::error::Error;
use crate::files::words;
use crate::mount::MOUNT;
use crate::processes::PROCS;
use crate::update::put;

/// The file of cgroup v1 with a cgroup's threads.
const THREADS: &str = "tasks";

/// The controllers of cgroup v1. A hierarchy that has none of them only groups processes: systemd's
/// own, the unified one of a hybrid node, or one by a name.
const CONTROLLERS: [&str; 14] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "misc",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];

/// What a container's cgroup is given on cgroup v2, where the node has it.
const ENABLED: [&str; 6] = ["cpu", "cpuset", "hugetlb", "io", "memory", "pids"];

/// What a cgroup of `cpuset` has to have before a process can be in it.
const SETS: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

impl Cgroup {
    /// Makes it, with the devices that it may use, where the cgroups are of v1: on v2 these are no file.
    ///
    /// # Errors
    /// [`Error::Make`], [`Error::Read`], or [`Error::Write`]; [`Error::NoneOfItsOwn`] and
    /// [`Error::NoDevices`] where its devices could not be limited, [`Error::NoController`] for another one
    /// that its network asks for.
    pub(crate) fn make(
        &self,
        devices: &[Rule],
        network: Option<&LinuxNetwork>,
    ) -> Result<(), Error> {
        if self.dirs.is_empty() {
            return Err(Error::NoneOfItsOwn);
        }
        if self.unified {
            let made = self.dirs.iter().try_for_each(|dir| make_v2(&dir.path));
            return made.or_else(|error| pass_if_not_ours(error, user_namespace::is_first()));
        }
        // In a user namespace the kernel lets it make no device.
        let limits_devices = |dir: &CgroupDir| has(dir, "devices") && is_hierarchy(dir);
        if !devices.is_empty()
            && !self.dirs.iter().any(limits_devices)
            && user_namespace::is_first()
        {
            return Err(Error::NoDevices);
        }
        let requested = |requested: bool, name: &'static str| requested.then_some(name);
        let requested = network.into_iter().flat_map(|network| {
            let has_priorities = network.priorities().iter().flatten().next().is_some();
            [
                requested(network.class_id().is_some(), "net_cls"),
                requested(has_priorities, "net_prio"),
            ]
        });
        for name in requested.flatten() {
            if !self
                .dirs
                .iter()
                .any(|dir| has(dir, name) && is_hierarchy(dir))
            {
                return Err(Error::NoController { name });
            }
        }
        for dir in &self.dirs {
            let made = self.make_v1(dir, devices, network);
            match made {
                Err(error) if !limits(dir) => {
                    // It limits nothing.
                    log::debug!("{}", medley_types::sentence(&error));
                }
                made => made?,
            }
        }
        Ok(())
    }

    fn make_v1(
        &self,
        dir: &CgroupDir,
        devices: &[Rule],
        network: Option<&LinuxNetwork>,
    ) -> Result<(), Error> {
        if !is_hierarchy(dir) {
            return Ok(());
        }
        let mount = Path::new(MOUNT).join(&dir.controllers);
        make_dir(&dir.path)?;
        for controller in dir.controllers.split(',') {
            match controller {
                "cpuset" => inherit_sets(&mount, &dir.path)?,
                "devices" => device_files::restrict(&dir.path, devices)?,
                "net_cls" => {
                    if let Some(class) = network.and_then(LinuxNetwork::class_id) {
                        write(&dir.path, "net_cls.classid", &class.to_string())?;
                    }
                }
                "net_prio" => {
                    let priorities = network.and_then(|it| it.priorities().as_ref());
                    for priority in priorities.into_iter().flatten() {
                        let line = format!("{} {}", priority.name(), priority.priority());
                        write(&dir.path, "net_prio.ifpriomap", &line)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Its directory on the unified hierarchy, which a process can begin in.
    #[must_use]
    pub fn unified_dir(&self) -> Option<OwnedFd> {
        let dir = self.dirs.iter().find(|dir| self.is_unified(dir))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(&dir.path, flags, Mode::empty()).ok()
    }

    /// The way for a clone into the unified hierarchy that lies beside those of cgroup v1. Opened while the
    /// node's files are in sight.
    #[must_use]
    pub fn hybrid_entry(&self) -> Option<UnifiedEntry> {
        let dir = self.unified_dir().filter(|_| !self.unified)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let procs = rustix::fs::openat(&dir, PROCS, flags, Mode::empty()).ok()?;
        Some(UnifiedEntry { dir, procs })
    }

    pub(crate) fn is_unified(&self, dir: &CgroupDir) -> bool {
        self.unified || matches!(dir.controllers.as_str(), "" | "unified")
    }

    /// Moves the calling process into it, which was made for it. The process has one thread, and
    /// `is_placed` where that is on the unified hierarchy.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn enter(&self, is_placed: bool) -> Result<(), Error> {
        let rest = self
            .dirs
            .iter()
            .filter(|dir| !(is_placed && self.is_unified(dir)));
        for dir in rest {
            match self.enter_one(dir) {
                Ok(()) => {}
                Err((path, error)) if !self.unified && !limits(dir) => {
                    log::debug!("not in the cgroup by {}: {error}", path.display());
                }
                // No hierarchy, which `make` saw as well.
                Err(_) if !self.unified && !is_hierarchy(dir) => {}
                Err((path, source)) => {
                    let error = Error::Join { path, source };
                    pass_if_not_ours(error, !self.unified || user_namespace::is_first())?;
                }
            }
        }
        Ok(())
    }

    /// Moves the calling process, which has one thread, into one of its directories.
    ///
    /// cgroup v1 has a file for threads, and a thread that moves itself waits for no other: a process
    /// waits until every processor of the node has been seen, some 10 ms.
    pub(crate) fn enter_one(&self, dir: &CgroupDir) -> Result<(), (PathBuf, io::Error)> {
        let file = if self.is_unified(dir) { PROCS } else { THREADS };
        let path = dir.path.join(file);
        put(&path, "0").map_err(|error| (path, error))
    }
}

/// The way into a cgroup of the unified hierarchy.
#[derive(Debug)]
pub struct UnifiedEntry {
    dir: OwnedFd,
    procs: OwnedFd,
}

impl UnifiedEntry {
    /// Its directory, for a process to begin in.
    #[must_use]
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Moves the calling process there, a clone, unless it has begun there, and closes the way, which
    /// leads to the node's cgroups. The hierarchy limits nothing where there are those of cgroup v1.
    pub fn enter(&self, is_placed: bool) {
        if !is_placed && let Err(errno) = rustix::io::write(&self.procs, b"0") {
            log::warn!("not in the container's cgroup on the unified hierarchy: {errno}");
        }
        child::close_fds(&[self.dir.as_fd(), self.procs.as_fd()]);
    }
}

/// Whether a hierarchy of cgroup v1 has a controller.
fn limits(dir: &CgroupDir) -> bool {
    CONTROLLERS.iter().any(|controller| has(dir, controller))
}

/// Whether a hierarchy of cgroup v1 has this controller.
fn has(dir: &CgroupDir, controller: &str) -> bool {
    dir.controllers.split(',').any(|name| name == controller)
}

/// Whether it is mounted, and no dir that only looks like it: a hierarchy's root has this file.
fn is_hierarchy(dir: &CgroupDir) -> bool {
    let mount = Path::new(MOUNT).join(&dir.controllers);
    mount.join(PROCS).is_file()
}

fn make_dir(dir: &Path) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|source| Error::Make {
        path: dir.to_owned(),
        source,
    })
}

fn write(dir: &Path, file: &str, value: &str) -> Result<(), Error> {
    let path = dir.join(file);
    put(&path, value).map_err(|source| Error::Write {
        path,
        value: value.to_owned(),
        source,
    })
}

/// Has every new cgroup on the way to `dir` have the processors and the memory of the one above it: none
/// of its own would take no process.
fn inherit_sets(mount: &Path, dir: &Path) -> Result<(), Error> {
    let mut way: Vec<&Path> = dir.ancestors().take_while(|at| *at != mount).collect();
    way.reverse();
    for file in SETS {
        let read = |at: &Path| {
            let path = at.join(file);
            kernel_file::read(&path).map_err(|source| Error::Read { path, source })
        };
        // The usual one has it, from the last container beside it.
        let (mut missing, mut above) = (Vec::new(), String::new());
        for at in way.iter().rev().copied().chain([mount]) {
            above = read(at)?;
            if at == mount || !above.trim().is_empty() {
                break;
            }
            missing.push(at);
        }
        for at in missing.iter().rev() {
            write(at, file, above.trim())?;
        }
    }
    Ok(())
}

/// Makes `dir` on the unified hierarchy, and enables what there is in all above it, as far as it can be:
/// what a limit lacks in the end is told by name when it is set.
fn make_v2(dir: &Path) -> Result<(), Error> {
    let mount = Path::new(MOUNT);
    let mut above: Vec<&Path> = dir
        .ancestors()
        .skip(1)
        .take_while(|at| at.starts_with(mount))
        .collect();
    above.reverse();
    for at in above {
        if at != mount {
            make_dir(at)?;
        }
        enable(at);
    }
    make_dir(dir)
}

fn enable(at: &Path) {
    const FILE: &str = "cgroup.subtree_control";
    let enabled = words(at, FILE);
    let offered = words(at, "cgroup.controllers");
    let missing: Vec<String> = ENABLED
        .iter()
        .filter(|name| offered.iter().any(|it| it == *name))
        .filter(|name| !enabled.iter().any(|it| it == *name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() || put(&at.join(FILE), &missing.join(" ")).is_ok() {
        return;
    }
    // Each by itself: one that is refused takes the others with it.
    for name in &missing {
        if let Err(error) = put(&at.join(FILE), name) {
            log::debug!("{name} is not enabled in {}: {error}", at.display());
        }
    }
}

/// On a node that is a container itself the cgroups may not be ours to write to. The container is where
/// the shim is then.
fn pass_if_not_ours(error: Error, is_whole_node: bool) -> Result<(), Error> {
    let denied = match &error {
        Error::Make { source, .. } | Error::Write { source, .. } | Error::Join { source, .. } => {
            let kinds = [
                io::ErrorKind::PermissionDenied,
                io::ErrorKind::ReadOnlyFilesystem,
            ];
            kinds.contains(&source.kind())
        }
        _ => false,
    };
    if denied && !is_whole_node {
        log::warn!(
            "{}; it goes on where the shim is",
            medley_types::sentence(&error)
        );
        return Ok(());
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::{Cgroup, Error, inherit_sets, limits, pass_if_not_ours};
    use crate::cgroup::CgroupDir;

    #[test]
    fn what_nothing_would_do_is_not_passed_over() {
        let cgroup = |dirs: Vec<CgroupDir>| Cgroup {
            unified: false,
            dirs,
        };
        let error = cgroup(Vec::new()).make(&[], None).unwrap_err();
        assert!(matches!(error, Error::NoneOfItsOwn), "{error}");
        let elsewhere = cgroup(vec![CgroupDir {
            controllers: "of-no-node".into(),
            path: "/nonexistent/it".into(),
        }]);
        let network = serde_json::from_str(r#"{"classID": 5}"#).unwrap();
        let error = elsewhere.make(&[], Some(&network)).unwrap_err();
        assert!(
            matches!(error, Error::NoController { name: "net_cls" }),
            "{error}"
        );
        elsewhere.make(&[], None).unwrap();
    }

    #[test]
    fn new_cgroups_have_the_processors_of_those_above() {
        let mount = tempfile::tempdir().unwrap();
        let (above, own) = (mount.path().join("k8s.io"), mount.path().join("k8s.io/it"));
        std::fs::create_dir_all(&own).unwrap();
        let write = |at: &std::path::Path, text: &str| {
            for file in super::SETS {
                std::fs::write(at.join(file), text).unwrap();
            }
        };
        write(mount.path(), "0-1\n");
        write(&above, "\n");
        write(&own, "");
        inherit_sets(mount.path(), &own).unwrap();
        for file in super::SETS {
            assert_eq!(std::fs::read_to_string(above.join(file)).unwrap(), "0-1");
            assert_eq!(std::fs::read_to_string(own.join(file)).unwrap(), "0-1");
        }
        // What has its own keeps it, and hands it down.
        write(&above, "1");
        write(&own, "\n");
        inherit_sets(mount.path(), &own).unwrap();
        assert_eq!(
            std::fs::read_to_string(own.join("cpuset.cpus")).unwrap(),
            "1"
        );
    }

    #[test]
    fn only_hierarchies_without_a_controller_limit_nothing() {
        let is_limit = |controllers: &str| {
            limits(&CgroupDir {
                controllers: controllers.into(),
                path: "/x".into(),
            })
        };
        assert!(is_limit("cpu,cpuacct") && is_limit("memory") && is_limit("net_cls,net_prio"));
        assert!(!is_limit("systemd") && !is_limit("unified") && !is_limit("elogind"));
    }

    #[test]
    fn cgroups_that_are_not_ours_are_left_in_a_user_namespace_alone() {
        let error = |kind: std::io::ErrorKind| Error::Make {
            path: "/x".into(),
            source: kind.into(),
        };
        let read_only = std::io::ErrorKind::ReadOnlyFilesystem;
        assert!(pass_if_not_ours(error(read_only), false).is_ok());
        assert!(pass_if_not_ours(error(read_only), true).is_err());
        assert!(pass_if_not_ours(error(std::io::ErrorKind::StorageFull), false).is_err());
    }
}
