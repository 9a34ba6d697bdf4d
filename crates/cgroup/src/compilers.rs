//! Where compilers are counted, and what limits them.
//!
//! A pod pays for the compilers of its containers where it can: they are in a cgroup of their own
//! below the pod's, so that its limits, its weight and its figures are theirs. A limit that is meant
//! for a program that runs may be far too small for its compiler, so the others are in a cgroup of
//! the node's that all of them share, with limits of its own. Neither is where containerd is.
//!
//! On the unified hierarchy a process can only be where nothing is below: not in the pod's cgroup
//! itself. A container's own cgroup is not there yet when its code is compiled.

mod pod_limits;

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::cgroup::{Cgroup, CgroupDir, has_controller};
use crate::error::Error;
use crate::mount::MOUNT;
use crate::processes::{PROCS, collect_pids, is_gone};

use pod_limits::Limited;
pub use pod_limits::{HitLimit, Need};

/// The node's cgroup for the compilers of pods that can't pay.
const OF_NODE: &str = "medley-compilers";

/// The controllers that a compiler is put under. Of the others of cgroup v1, cpuset takes no process
/// before it is set up, and the rest counts nothing that a compiler does.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "cpuacct", "pids"];

/// How many tasks one pod's compilers may have, or all that share the node's cgroup.
const MAX_TASKS: u64 = 4096;

/// How often a cgroup that another compiler's shim removes at the same time is made again.
const TRIES: u32 = 16;

/// How long a cgroup whose last process was reaped may take to be free.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the cgroups of the compilers of container `id` are called, which are made by the shim, or by
/// the command, with this pid.
#[must_use]
pub fn name(id: &str, shim: i32) -> String {
    format!("medley-compiler-{id}-{shim}")
}

/// The cgroups that the compilers of one container may be in.
#[derive(Debug)]
pub struct Compilers {
    /// Below the container's pod's, if it is of one.
    pod: Option<Cgroup>,
    /// Below the node's own.
    node: Cgroup,
}

/// Where one compiler is.
#[derive(Debug)]
pub struct Placed {
    cgroup: Cgroup,
    /// Whether it is its pod's.
    pub by_pod: bool,
    /// What limits its memory.
    limited: Limited,
}

impl Compilers {
    /// Those of a container of a pod, whose own cgroup is `container`.
    #[must_use]
    pub fn of_pod(container: &Cgroup, name: &str) -> Self {
        let pod = Cgroup {
            unified: container.unified,
            dirs: counted(container)
                .filter_map(|dir| below_parent(dir, container.unified, name))
                .collect(),
        };
        Self {
            pod: Some(pod).filter(|pod| !pod.dirs.is_empty()),
            ..Self::of_node(name)
        }
    }

    /// Those of a container, or a command, that is in no pod.
    #[must_use]
    pub fn of_node(name: &str) -> Self {
        let path = Path::new("/").join(OF_NODE).join(name);
        let mut node = Cgroup::planned(Some(&path), "", false);
        node.dirs = counted(&node).cloned().collect();
        Self { pod: None, node }
    }

    /// Puts process `pid`, which has only one thread, where it is to compile. `None` if that can't be
    /// done, and it stays where it is.
    #[must_use]
    pub fn place(&self, pid: i32, need: Need) -> Option<Placed> {
        let pod = self.pod.as_ref().filter(|pod| pod_limits::fit(pod, need));
        let both = pod.map(|pod| (pod, true)).into_iter();
        let mut both = both.chain([(&self.node, false)]);
        let placed = both.find_map(|(cgroup, by_pod)| {
            let entered = enter(cgroup, by_pod, pid);
            if let Err(error) = &entered {
                log::warn!(
                    "a compiler does not count where it should: {}",
                    medley_types::sentence(error)
                );
            }
            entered.ok().map(|()| Placed {
                limited: Limited::of(cgroup),
                cgroup: cgroup.clone(),
                by_pod,
            })
        });
        if let Some(pod) = pod.filter(|_| placed.as_ref().is_none_or(|placed| !placed.by_pod)) {
            // What was made of it before it failed.
            for dir in &pod.dirs {
                fs::remove_dir(&dir.path).ok();
            }
        }
        placed
    }

    /// Removes them with what is in there.
    ///
    /// # Errors
    /// [`Error::Occupied`] or [`Error::Remove`].
    pub fn remove(&self) -> Result<(), Error> {
        let pod = self.pod.as_ref().map_or(Ok(()), Cgroup::remove);
        let node = self.node.remove();
        remove_above(&self.node);
        pod.and(node)
    }
}

impl Placed {
    /// The limit that the compiler, which has ended, was killed for, if one was.
    #[must_use]
    pub fn killed_for(&self) -> Option<HitLimit> {
        self.limited.killed_for()
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        for dir in &self.cgroup.dirs {
            if let Err(error) = leave(&dir.path) {
                log::warn!("{}", medley_types::sentence(&error));
            }
        }
        if !self.by_pod {
            remove_above(&self.cgroup);
        }
    }
}

/// Those of a cgroup's dirs that count what a compiler takes.
fn counted(cgroup: &Cgroup) -> impl Iterator<Item = &CgroupDir> {
    cgroup
        .dirs
        .iter()
        .filter(|dir| cgroup.unified || CONTROLLERS.iter().any(|name| has_controller(dir, name)))
}

/// The dir `name` beside a container's own; none beside those of all other containers.
fn below_parent(dir: &CgroupDir, unified: bool, name: &str) -> Option<CgroupDir> {
    let parent = dir.path.parent()?;
    let hierarchy = if unified {
        Path::new(MOUNT).to_owned()
    } else {
        Path::new(MOUNT).join(parent.strip_prefix(MOUNT).ok()?.components().next()?)
    };
    (parent != hierarchy).then(|| CgroupDir {
        controllers: dir.controllers.clone(),
        path: parent.join(name),
    })
}

/// Makes a cgroup, with its limits, and puts a process into it.
fn enter(cgroup: &Cgroup, by_pod: bool, pid: i32) -> Result<(), Error> {
    cgroup.dirs.iter().try_for_each(|dir| {
        let mut tries = 0;
        loop {
            let entered = make(&dir.path, cgroup.unified, by_pod)
                .and_then(|()| write(&dir.path.join(PROCS), &pid.to_string()));
            tries += 1;
            match entered {
                // The shim of another compiler has just removed what it takes for its own.
                Err(Error::Write { source, .. } | Error::Make { source, .. })
                    if is_gone(&source) && tries < TRIES => {}
                entered => return entered,
            }
        }
    })
}

fn make(leaf: &Path, unified: bool, by_pod: bool) -> Result<(), Error> {
    let made = |path: &Path| match fs::create_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(Error::Make {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    };
    if by_pod {
        // The pod's own is there already, or the pod is not counted.
        made(leaf)?;
        limit(leaf, unified);
        return Ok(());
    }
    if let Some(shared) = leaf.parent() {
        if let Some(root) = shared.parent().filter(|_| unified) {
            pass_on(root);
        }
        made(shared)?;
        limit(shared, unified);
        if unified {
            pass_on(shared);
        }
        sweep(shared);
    }
    made(leaf)
}

/// Removes what a command that was killed has left below the node's cgroup. One in use stays, and
/// one that is just about to be is made again.
fn sweep(shared: &Path) {
    for entry in fs::read_dir(shared).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Err(error) = fs::remove_dir(entry.path())
        {
            log::debug!("{} stays: {error}", entry.path().display());
        }
    }
}

/// Sets limits that are the node's concern. What a node's kernel does not count it does not limit.
fn limit(at: &Path, unified: bool) {
    let (memory, tasks) = if unified {
        ("memory.max", "pids.max")
    } else {
        ("memory.limit_in_bytes", "pids.max")
    };
    for (file, max) in [(memory, half_of_the_node()), (tasks, Some(MAX_TASKS))] {
        let path = at.join(file);
        if let Some(max) = max.filter(|_| path.exists())
            && let Err(error) = write(&path, &max.to_string())
        {
            log::debug!("{}", medley_types::sentence(&error));
        }
    }
}

/// Half of the machine's memory, in bytes.
fn half_of_the_node() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024 / 2)
}

/// Has the unified hierarchy count for itself what is below.
fn pass_on(at: &Path) {
    for controller in ["+memory", "+cpu", "+pids"] {
        if let Err(error) = write(&at.join("cgroup.subtree_control"), controller) {
            log::debug!("{}", medley_types::sentence(&error));
        }
    }
}

/// Removes a cgroup that a process was in, unless another is.
fn leave(leaf: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    loop {
        match fs::remove_dir(leaf) {
            Err(source) if !is_gone(&source) => {
                let mut others = Vec::new();
                collect_pids(leaf, &mut others)?;
                if !others.is_empty() {
                    return Ok(());
                }
                if Instant::now() > deadline {
                    return Err(Error::Remove {
                        path: leaf.to_owned(),
                        source,
                    });
                }
                // A thread of it that is just ending; there is nothing to wait on.
                std::thread::sleep(Duration::from_millis(1));
            }
            _ => return Ok(()),
        }
    }
}

/// Removes the node's cgroup unless another compiler is in it.
fn remove_above(leaf: &Cgroup) {
    for shared in leaf.dirs.iter().filter_map(|it| it.path.parent()) {
        if let Err(error) = fs::remove_dir(shared)
            && !is_gone(&error)
        {
            log::debug!("{} stays: {error}", shared.display());
        }
    }
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(|source| Error::Write {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{Compilers, below_parent};
    use crate::cgroup::{Cgroup, CgroupDir};

    fn container(unified: bool, paths: &[(&str, &str)]) -> Cgroup {
        let dirs = paths.iter().map(|(controllers, path)| CgroupDir {
            controllers: (*controllers).to_owned(),
            path: path.into(),
        });
        Cgroup {
            unified,
            dirs: dirs.collect(),
        }
    }

    fn paths(cgroup: &Cgroup) -> Vec<&str> {
        let paths = cgroup.dirs.iter();
        paths.map(|dir| dir.path.to_str().unwrap()).collect()
    }

    #[test]
    fn a_pods_compilers_are_beside_its_containers() {
        let v2 = container(true, &[("", "/sys/fs/cgroup/kubepods/pod1/abc")]);
        let compilers = Compilers::of_pod(&v2, "medley-compiler-abc");
        assert_eq!(
            paths(&compilers.pod.unwrap()),
            ["/sys/fs/cgroup/kubepods/pod1/medley-compiler-abc"]
        );
        let v1 = container(
            false,
            &[
                ("cpuset", "/sys/fs/cgroup/cpuset/kubepods/pod1/abc"),
                ("memory", "/sys/fs/cgroup/memory/kubepods/pod1/abc"),
                (
                    "cpu,cpuacct",
                    "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/abc",
                ),
            ],
        );
        let compilers = Compilers::of_pod(&v1, "x");
        assert_eq!(
            paths(&compilers.pod.unwrap()),
            [
                "/sys/fs/cgroup/memory/kubepods/pod1/x",
                "/sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/x"
            ]
        );
        assert!(Compilers::of_node("x").pod.is_none());
    }

    #[test]
    fn what_all_containers_share_is_no_pod() {
        let dir = |path: &str| CgroupDir {
            controllers: String::new(),
            path: path.into(),
        };
        assert!(below_parent(&dir("/sys/fs/cgroup/abc"), true, "x").is_none());
        assert!(below_parent(&dir("/sys/fs/cgroup/memory/abc"), false, "x").is_none());
        assert!(below_parent(&dir("/sys/fs/cgroup/a/abc"), true, "x").is_some());
    }
}
