//! A container's cgroup, as the shim needs it: who is in it, what it uses, its end.
//!
//! Making it is libcontainer's work. What comes after is done here, by path, because libcgroups
//! looks every controller up in `/proc/self/mountinfo` for each call: on a node with thousands
//! of mounts that is most of a delete's time. The paths are asked of the kernel once, right after
//! init was made, which also tells where systemd put it.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use medley_sys::pidfd::PidFd;
use medley_task::metrics::{CgroupVersion, Metrics};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::cgroup_metrics;

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// How long processes that were sent SIGKILL may take to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pause between two looks at a cgroup that is not empty yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Why a cgroup could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel does not say where a process is.
    #[error("cannot read the cgroups of process {pid}")]
    Locate {
        /// Its pid.
        pid: i32,
        /// The system's word.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// A folder could not be removed.
    #[error("cannot remove the cgroup {}", path.display())]
    Remove {
        /// The folder.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Somebody else is in it.
    #[error(
        "the cgroup {} holds {count} processes already: a container needs one of its own",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// Processes are still there.
    #[error("{count} processes are still in the cgroup {} {timeout:?} after SIGKILL", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// How many.
        count: usize,
        /// How long was waited.
        timeout: Duration,
    },
}

/// The folders of one container's cgroup: one on the unified hierarchy, one for each controller
/// otherwise. All are the container's own, none is shared with the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    unified: bool,
    folders: Vec<Folder>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Folder {
    /// The controllers, as the kernel lists them: `cpu,cpuacct`. Empty on the unified hierarchy.
    controllers: String,
    path: PathBuf,
}

impl Cgroup {
    /// The cgroup of process `pid`, less the parts that it shares with us.
    ///
    /// # Errors
    /// [`Error::Locate`].
    pub fn of_process(pid: i32) -> Result<Self, Error> {
        let read = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup"));
        let locate = |source| Error::Locate { pid, source };
        let ours = read("self").map_err(locate)?;
        let theirs = read(&pid.to_string()).map_err(locate)?;
        Ok(Self::parse(&theirs, &ours, is_unified()))
    }

    /// Where libcontainer puts container `id` with this `cgroupsPath`, as far as it is there: for a
    /// container whose init can't be asked, not yet or not any more.
    #[must_use]
    pub fn at(path: Option<&Path>, id: &str) -> Self {
        let unified = is_unified();
        // libcontainer's own default.
        let default = PathBuf::from(format!(":youki:{id}"));
        let path = path.unwrap_or(&default);
        let scope = if unified { systemd_scope(path) } else { None };
        let path = scope.as_deref().unwrap_or(path);
        let relative = path.strip_prefix("/").unwrap_or(path);
        if relative
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
        {
            return Self {
                unified,
                folders: Vec::new(),
            };
        }
        let mut folders = Vec::new();
        if relative.as_os_str().is_empty() {
            return Self { unified, folders };
        }
        if unified {
            folders.push(Folder {
                controllers: String::new(),
                path: Path::new(MOUNT).join(relative),
            });
        } else {
            for entry in fs::read_dir(MOUNT).into_iter().flatten().flatten() {
                let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
                let path = entry.path().join(relative);
                if !is_link && path.is_dir() {
                    let controllers = entry.file_name().to_string_lossy().into_owned();
                    folders.push(Folder { controllers, path });
                }
            }
        }
        folders.retain(|folder| folder.path.is_dir());
        Self { unified, folders }
    }

    fn parse(theirs: &str, ours: &str, unified: bool) -> Self {
        let mut folders: Vec<Folder> = theirs
            .lines()
            .filter(|line| !ours.lines().any(|our| our == *line))
            .filter_map(|line| {
                let mut parts = line.splitn(3, ':');
                let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
                let relative = path.strip_prefix('/').filter(|path| !path.is_empty())?;
                let mount = match (id, unified) {
                    ("0", true) => PathBuf::from(MOUNT),
                    ("0", false) => Path::new(MOUNT).join("unified"),
                    _ => Path::new(MOUNT).join(controllers.trim_start_matches("name=")),
                };
                Some(Folder {
                    controllers: controllers.to_owned(),
                    path: mount.join(relative),
                })
            })
            .collect();
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        folders.dedup();
        Self { unified, folders }
    }

    /// Makes sure that nobody is in it: whoever is would die with the container.
    ///
    /// # Errors
    /// [`Error::Taken`].
    pub fn check_vacant(&self) -> Result<(), Error> {
        for folder in &self.folders {
            let mut pids = Vec::new();
            collect_pids(&folder.path, &mut pids)?;
            if !pids.is_empty() {
                return Err(Error::Taken {
                    path: folder.path.clone(),
                    count: pids.len(),
                });
            }
        }
        Ok(())
    }

    /// Every process in it and below.
    ///
    /// # Errors
    /// [`Error::Read`], but for a cgroup that is gone: that one has none.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        let Some(folder) = self.folder("pids") else {
            return Ok(Vec::new());
        };
        let mut pids = Vec::new();
        collect_pids(&folder.path, &mut pids)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Sends a signal to every process in it.
    ///
    /// # Errors
    /// [`Error::Read`] if it can't be read.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        if signal == Signal::KILL.as_raw() && self.kill_at_once() {
            return Ok(());
        }
        for pid in self.pids()? {
            let Ok(pid) = i32::try_from(pid) else {
                continue;
            };
            // Gone since it was listed, if it can't be signalled.
            if let Err(error) = PidFd::open(pid).and_then(|process| process.signal(signal)) {
                log::debug!("signal {signal} to process {pid} of the cgroup not sent: {error}");
            }
        }
        Ok(())
    }

    /// The unified hierarchy's own way, which no fork escapes. False where there is none.
    fn kill_at_once(&self) -> bool {
        self.unified
            && self
                .folders
                .iter()
                .any(|folder| fs::write(folder.path.join("cgroup.kill"), "1").is_ok())
    }

    /// Kills what is left in it and waits until it is empty.
    ///
    /// # Errors
    /// [`Error::Occupied`] if something does not leave.
    pub fn empty(&self) -> Result<(), Error> {
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        loop {
            let pids = self.pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            self.signal_all(Signal::KILL.as_raw())?;
            if Instant::now() > deadline {
                return Err(Error::Occupied {
                    path: self
                        .folder("pids")
                        .map(|folder| folder.path.clone())
                        .unwrap_or_default(),
                    count: pids.len(),
                    timeout: LEAVE_TIMEOUT,
                });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Removes it, with all that the container made below it.
    ///
    /// # Errors
    /// [`Error::Occupied`] or [`Error::Remove`].
    pub fn remove(&self) -> Result<(), Error> {
        self.empty()?;
        self.folders
            .iter()
            .try_for_each(|folder| remove_tree(&folder.path))
    }

    /// What it uses now.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn metrics(&self) -> Result<Metrics, Error> {
        if self.unified {
            let path = self.folders.first().map(|folder| folder.path.as_path());
            cgroup_metrics::unified(path.unwrap_or(Path::new(MOUNT)))
        } else {
            cgroup_metrics::by_controller(&|name| self.folder_with(name))
        }
    }

    /// Which interface its figures have.
    #[must_use]
    pub fn version(&self) -> CgroupVersion {
        if self.unified {
            CgroupVersion::V2
        } else {
            CgroupVersion::V1
        }
    }

    /// One of its folders, all of them being its own; the root of what is mounted if it has none.
    fn any_folder_or_root(&self) -> PathBuf {
        let root = if self.unified {
            PathBuf::from(MOUNT)
        } else {
            Path::new(MOUNT).join("unified")
        };
        self.folders
            .first()
            .map_or(root, |folder| folder.path.clone())
    }

    /// The folder of this controller, or else any: every process is in all of them.
    fn folder(&self, controller: &str) -> Option<&Folder> {
        let exact = self
            .folders
            .iter()
            .find(|folder| has_controller(folder, controller));
        exact.or(self.folders.first())
    }

    fn folder_with(&self, controller: &str) -> Option<&Path> {
        let folder = self
            .folders
            .iter()
            .find(|folder| has_controller(folder, controller));
        folder.map(|folder| folder.path.as_path())
    }
}

/// Has the kernel get ready for a process to be moved into a cgroup, which the caller expects to
/// happen soon.
///
/// The first move after a while waits for an RCU grace period, some 10 ms, because the lock that
/// it takes favours forks; moves right after it do not wait. So a thread moves this process to
/// where it is, which changes nothing, while the container is still being prepared.
pub fn prepare_for_move() {
    let moved = std::thread::Builder::new().spawn(|| {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let folder = Cgroup::parse(&own, "", is_unified()).any_folder_or_root();
        let result = fs::write(folder.join("cgroup.procs"), std::process::id().to_string());
        if let Err(error) = result {
            log::debug!(
                "the move into a cgroup is not prepared: {}: {error}",
                folder.display()
            );
        }
    });
    if let Err(error) = moved {
        log::debug!("no thread to prepare the move into a cgroup: {error}");
    }
}

fn has_controller(folder: &Folder, controller: &str) -> bool {
    folder.controllers.split(',').any(|name| name == controller)
}

/// Where systemd puts what `slice:prefix:name` names: `a-b.slice` lies in `a.slice`.
fn systemd_scope(path: &Path) -> Option<PathBuf> {
    let text = path.to_str()?;
    let mut parts = text.split(':');
    let (slice, prefix, name) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || slice.is_empty() {
        return None;
    }
    let stem = slice.strip_suffix(".slice")?;
    let mut folder = PathBuf::new();
    for (end, _) in stem.match_indices('-') {
        folder.push(format!("{}.slice", &stem[..end]));
    }
    folder.push(slice);
    folder.push(format!("{prefix}-{name}.scope"));
    Some(folder)
}

/// Whether the unified hierarchy is all there is: pure cgroup v2.
fn is_unified() -> bool {
    /// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
    const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
    rustix::fs::statfs(MOUNT).is_ok_and(|stat| stat.f_type == CGROUP2)
}

fn collect_pids(folder: &Path, pids: &mut Vec<u32>) -> Result<(), Error> {
    let path = folder.join("cgroup.procs");
    match fs::read_to_string(&path) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(source) => return Err(Error::Read { path, source }),
    }
    subfolders(folder)
        .iter()
        .try_for_each(|below| collect_pids(below, pids))
}

/// A cgroup that was removed reads as ENOENT, or as ENODEV through an open file.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
        // A threaded cgroup of the container's making, whose processes its parent lists.
        || error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(folder: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    loop {
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(source) => {
                // Subfolders of the container's making; or a process that has died and not
                // left yet, for which there is nothing to wait on.
                let below = subfolders(folder);
                below.iter().try_for_each(|below| remove_tree(below))?;
                if Instant::now() > deadline {
                    return Err(Error::Remove {
                        path: folder.to_owned(),
                        source,
                    });
                }
                if below.is_empty() {
                    std::thread::sleep(LOOK_AGAIN);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cgroup;

    const OURS: &str = "5:memory:/shims\n4:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n";

    #[test]
    fn only_what_the_container_does_not_share_with_the_shim_is_its_own() {
        let theirs = "5:memory:/k8s.io/abc\n4:cpu,cpuacct:/k8s.io/abc\n1:name=systemd:/\n0::/\n";
        let cgroup = Cgroup::parse(theirs, OURS, false);
        let paths: Vec<_> = cgroup
            .folders
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
        assert!(cgroup.folder_with("cpuacct").is_some());
        assert!(cgroup.folder_with("pids").is_none());
    }

    #[test]
    fn the_unified_hierarchy_is_one_folder() {
        let cgroup = Cgroup::parse("0::/kubepods/pod1/abc\n", "0::/system.slice/c\n", true);
        assert_eq!(cgroup.folders.len(), 1);
        assert_eq!(
            cgroup.folders[0].path.to_str(),
            Some("/sys/fs/cgroup/kubepods/pod1/abc")
        );
    }

    #[test]
    fn the_root_cgroup_is_never_a_containers_own() {
        assert!(Cgroup::parse("0::/\n", "0::/a\n", true).folders.is_empty());
        assert!(
            Cgroup::at(Some(std::path::Path::new("/")), "a")
                .folders
                .is_empty()
        );
        assert!(
            Cgroup::at(Some(std::path::Path::new("/a/../..")), "a")
                .folders
                .is_empty()
        );
    }

    #[test]
    fn a_systemd_scope_lies_in_its_slices() {
        let scope = super::systemd_scope(std::path::Path::new("kubepods-burstable.slice:cri:abc"));
        let path = "kubepods.slice/kubepods-burstable.slice/cri-abc.scope";
        assert_eq!(scope.as_deref(), Some(std::path::Path::new(path)));
        assert_eq!(
            super::systemd_scope(std::path::Path::new("/k8s.io/abc")),
            None
        );
    }
}
