//! Where a container's cgroup is.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use medley_sys::kernel_file;

use crate::cgroup::{Cgroup, CgroupDir};
use crate::error::Error;
use crate::hierarchies;
use crate::mount::{MOUNT, is_v2};

impl Cgroup {
    /// The cgroup of process `pid`, less the parts that it shares with us.
    ///
    /// # Errors
    /// [`Error::Locate`].
    pub fn of_process(pid: i32) -> Result<Self, Error> {
        let read = |pid: &str| kernel_file::read(format!("/proc/{pid}/cgroup"));
        let locate = |source| Error::Locate { pid, source };
        let ours = read("self").map_err(locate)?;
        let theirs = read(&pid.to_string()).map_err(locate)?;
        Ok(Self::parse(&theirs, &ours, is_v2()))
    }

    /// Its directory, on a node with pure cgroup v2.
    pub fn v2_dir(&self) -> Option<&Path> {
        let dir = self.dirs.first().filter(|_| self.unified)?;
        Some(&dir.path)
    }

    /// Where libcontainer puts container `id` with this `cgroupsPath`, as far as it is there: for a
    /// container whose init can't be asked, not yet or not any more.
    #[must_use]
    pub fn at(path: Option<&Path>, id: &str) -> Self {
        let mut cgroup = Self::planned(path, id, false);
        cgroup.dirs.retain(|dir| dir.path.is_dir());
        cgroup
    }

    /// Where libcontainer is going to put container `id` with this `cgroupsPath`, whether or not
    /// anything is there yet. With `systemd` it names a scope.
    #[must_use]
    pub fn planned(path: Option<&Path>, id: &str, systemd: bool) -> Self {
        let unified = is_v2();
        let mut dirs = Vec::new();
        let Some(relative) = relative(path, id, systemd) else {
            return Self { unified, dirs };
        };
        if unified {
            dirs.push(CgroupDir {
                controllers: String::new(),
                path: Path::new(MOUNT).join(relative),
            });
        } else {
            for entry in fs::read_dir(MOUNT).into_iter().flatten().flatten() {
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let path = entry.path().join(&relative);
                if !is_link {
                    let controllers = entry.file_name().to_string_lossy().into_owned();
                    dirs.push(CgroupDir { controllers, path });
                }
            }
        }
        Self { unified, dirs }
    }

    /// The parent of the cgroups of a pod's containers, as the kubelet names it: a path, or a slice
    /// of systemd's. It is empty if it is not there.
    #[must_use]
    pub fn of_pod(parent: &str) -> Self {
        match slice_path(parent) {
            Some(slice) => Self::at(Some(&slice), ""),
            None if parent.is_empty() => Self::at(Some(Path::new("/")), ""),
            None => Self::at(Some(Path::new(parent)), ""),
        }
    }

    /// What of `theirs`, the text of a `/proc/<pid>/cgroup`, is not in `ours` as well. The root of
    /// what is mounted is never a container's own.
    pub(crate) fn parse(theirs: &str, ours: &str, unified: bool) -> Self {
        let is_ours = |line: &&str| ours.lines().any(|our| our == *line);
        let own = theirs.lines().filter(|line| !is_ours(line));
        let own: String = own.flat_map(|line| [line, "\n"]).collect();
        let mut dirs: Vec<CgroupDir> = hierarchies::parse(&own, unified)
            .into_iter()
            .filter(|hierarchy| !hierarchy.path.as_os_str().is_empty())
            .map(|hierarchy| CgroupDir {
                path: hierarchy.dir(),
                controllers: hierarchy.controllers,
            })
            .collect();
        dirs.sort_by(|a, b| a.path.cmp(&b.path));
        dirs.dedup();
        Self { unified, dirs }
    }

    /// Its directory for a controller, and those above it up to what is mounted. All of cgroup v2's
    /// controllers have the same ones.
    pub(crate) fn levels(&self, controller: &str) -> impl Iterator<Item = &Path> {
        let own = if self.unified {
            self.v2_dir()
        } else {
            self.v1_dir(controller)
        };
        let mount = Path::new(MOUNT);
        // A node that is a container itself has limits at the top of what is mounted.
        own.into_iter()
            .flat_map(Path::ancestors)
            .take_while(move |at| at.starts_with(mount) && (self.unified || *at != mount))
    }

    /// One of its directories, all of them being its own; the root of what is mounted if it has none.
    fn any_dir_or_root(&self) -> PathBuf {
        let root = if self.unified {
            PathBuf::from(MOUNT)
        } else {
            Path::new(MOUNT).join("unified")
        };
        self.dirs.first().map_or(root, |dir| dir.path.clone())
    }
}

/// Where libcontainer puts container `id` with this `cgroupsPath`, below the root of a hierarchy.
/// None if that is the root itself, or leads out of it.
/// With `systemd` it names a scope.
pub(super) fn relative(path: Option<&Path>, id: &str, systemd: bool) -> Option<PathBuf> {
    // libcontainer's own default.
    let default = PathBuf::from(format!(":youki:{id}"));
    let path = path.unwrap_or(&default);
    let scope = if systemd { systemd_scope(path) } else { None };
    let path = scope.as_deref().unwrap_or(path);
    let relative = path.strip_prefix("/").unwrap_or(path);
    let stays = |part| matches!(part, Component::Normal(_));
    let below = relative.components().all(stays) && !relative.as_os_str().is_empty();
    below.then(|| relative.to_owned())
}

/// Has the kernel get ready for a process to be moved into a cgroup of cgroup v2, which the caller
/// expects to happen soon.
///
/// The first move after a while waits for an RCU grace period, some 10 ms, because the lock that
/// it takes favours forks; moves right after it do not wait. So a thread moves this process to
/// where it is, which changes nothing, while the container is still being prepared.
///
/// One that is under way is for all: a second one would only stand in the way of what makes cgroups
/// meanwhile.
pub fn prepare_for_move() {
    static UNDER_WAY: AtomicBool = AtomicBool::new(false);
    if UNDER_WAY.swap(true, Ordering::Relaxed) {
        return;
    }
    let moved = std::thread::Builder::new().spawn(|| {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let dir = Cgroup::parse(&own, "", is_v2()).any_dir_or_root();
        let result = fs::write(dir.join("cgroup.procs"), std::process::id().to_string());
        if let Err(error) = result {
            log::debug!(
                "the move into a cgroup is not prepared: {}: {error}",
                dir.display()
            );
        }
        UNDER_WAY.store(false, Ordering::Relaxed);
    });
    if let Err(error) = moved {
        UNDER_WAY.store(false, Ordering::Relaxed);
        log::debug!("no thread to prepare the move into a cgroup: {error}");
    }
}

/// Where systemd puts what `slice:prefix:name` names: `a-b.slice` lies in `a.slice`.
fn systemd_scope(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let mut parts = text.split(':');
    let (slice, prefix, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    // As libcontainer and runc have it, where none is named.
    let slice = if slice.is_empty() {
        "system.slice"
    } else {
        slice
    };
    let mut dir = slice_path(slice)?;
    if name.ends_with(".slice") {
        dir.push(name);
    } else {
        dir.push(format!("{prefix}-{name}.scope"));
    }
    Some(dir)
}

/// Where systemd puts a slice.
fn slice_path(slice: &str) -> Option<PathBuf> {
    let stem = slice.strip_suffix(".slice")?;
    if stem.contains('/') {
        return None;
    }
    let mut dir = PathBuf::new();
    if stem == "-" {
        // The one that all others are in.
        return Some(dir);
    }
    for (end, _) in stem.match_indices('-') {
        dir.push(format!("{}.slice", &stem[..end]));
    }
    dir.push(slice);
    Some(dir)
}

/// Why systemd can't make cgroups here, if it can't.
pub fn no_systemd() -> Option<&'static str> {
    if !Path::new("/run/systemd/system").is_dir() {
        Some("it does not run on this node: configure the cgroup driver cgroupfs")
    } else if is_v2() {
        None
    } else {
        Some(
            "this node has cgroup v1, where only the cgroup driver cgroupfs is supported: \
             configure it, or boot with systemd.unified_cgroup_hierarchy=1",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Cgroup;

    const OURS: &str = "5:memory:/shims\n4:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";

    #[test]
    fn what_a_container_shares_with_the_shim_is_not_its_own() {
        let theirs = "5:memory:/k8s.io/abc\n4:cpu,cpuacct:/k8s.io/abc\n1:name=systemd:/\n0::/\n";
        let cgroup = Cgroup::parse(theirs, OURS, false);
        let paths: Vec<_> = cgroup
            .dirs
            .iter()
            .map(|f| f.path.to_str().unwrap())
            .collect();
        assert_eq!(
            paths,
            [
                "/sys/fs/cgroup/cpu,cpuacct/k8s.io/abc",
                "/sys/fs/cgroup/memory/k8s.io/abc"
            ]
        );
        assert!(cgroup.v1_dir("cpuacct").is_some());
        assert!(cgroup.v1_dir("pids").is_none());
    }

    #[test]
    fn the_unified_hierarchy_is_one_dir() {
        let cgroup = Cgroup::parse("0::/kubepods/pod1/abc\n", "0::/system.slice/c\n", true);
        assert_eq!(cgroup.dirs.len(), 1);
        assert_eq!(
            cgroup.dirs[0].path.to_str(),
            Some("/sys/fs/cgroup/kubepods/pod1/abc")
        );
    }

    #[test]
    fn the_root_cgroup_is_never_a_containers_own() {
        assert!(Cgroup::parse("0::/\n", "0::/a\n", true).dirs.is_empty());
        assert!(
            Cgroup::at(Some(std::path::Path::new("/")), "a")
                .dirs
                .is_empty()
        );
        assert!(
            Cgroup::at(Some(std::path::Path::new("/a/../..")), "a")
                .dirs
                .is_empty()
        );
    }

    #[test]
    fn a_systemd_scope_lies_in_its_slices() {
        let scope = super::systemd_scope(std::path::Path::new("kubepods-burstable.slice:cri:abc"));
        let path = "kubepods.slice/kubepods-burstable.slice/cri-abc.scope";
        assert_eq!(scope.as_deref(), Some(std::path::Path::new(path)));
        for (path, scope) in [
            (":docker:abc", Some("system.slice/docker-abc.scope")),
            ("-.slice:docker:abc", Some("docker-abc.scope")),
            ("a.slice:docker:b.slice", Some("a.slice/b.slice")),
            ("/k8s.io/abc", None),
        ] {
            let found = super::systemd_scope(std::path::Path::new(path));
            assert_eq!(found.as_deref(), scope.map(std::path::Path::new));
        }
    }
}
