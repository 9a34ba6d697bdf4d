//! Who is in a container's cgroup, and its end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use medley_sys::kernel_file;
use medley_sys::pidfd::PidFd;
use rustix::process::Signal;

use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::files::words;

/// The file with a cgroup's processes.
pub(super) const PROCS: &str = "cgroup.procs";

/// How long processes that were sent SIGKILL may take to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a cgroup of the first version is killed process by process before it is frozen for it.
const ROUNDS_BEFORE_FREEZE: u32 = 20;

/// Pause between two looks at a cgroup that is not empty yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Whether a cgroup of v2 gives controllers to those below it that let no process be beside them. Those
/// of threads do.
fn takes_no_process(dir: &Path) -> bool {
    const OF_THREADS: [&str; 4] = ["cpu", "cpuset", "perf_event", "pids"];
    let given = words(dir, "cgroup.subtree_control");
    given.iter().any(|it| !OF_THREADS.contains(&it.as_str()))
}

impl Cgroup {
    /// Makes sure that no process is in it, as it would die with the container, and that one can be, and
    /// go on.
    ///
    /// # Errors
    /// [`Error::Taken`], [`Error::NotLeaf`] or [`Error::Frozen`].
    pub fn check_vacant(&self) -> Result<(), Error> {
        for dir in &self.dirs {
            let mut pids = Vec::new();
            collect_pids(&dir.path, &mut pids)?;
            if !pids.is_empty() {
                return Err(Error::Taken {
                    path: dir.path.clone(),
                    count: pids.len(),
                });
            }
            if self.unified && takes_no_process(&dir.path) {
                let path = dir.path.clone();
                return Err(Error::NotLeaf { path });
            }
        }
        match self.frozen_dir() {
            Some(path) => Err(Error::Frozen {
                path: path.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Every process in it and below.
    ///
    /// # Errors
    /// [`Error::Read`], but for a cgroup that is gone: that one has none.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        let Some(dir) = self.dir("pids") else {
            return Ok(Vec::new());
        };
        let mut pids = Vec::new();
        collect_pids(&dir.path, &mut pids)?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Moves the calling process into it, which has one thread; on cgroup v1 all but where its clone is
    /// to [begin](Self::hybrid_entry).
    ///
    /// Below init's own cgroup may be others, made by a systemd in the container for example. The
    /// unified hierarchy takes processes only where nothing is below: the process goes to where
    /// `init` is then.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn join(&self, init: &PidFd) -> Result<(), Error> {
        for dir in self
            .dirs
            .iter()
            .filter(|dir| self.unified || !self.is_unified(dir))
        {
            let joined = match self.enter_one(dir) {
                Err((path, error))
                    if self.unified && error.kind() == io::ErrorKind::ResourceBusy =>
                {
                    let lower = Self::of_process(init.pid())?;
                    let lower = lower.dirs.first().map(|dir| dir.path.join(PROCS));
                    // It was init's, and not that of a process that has its pid by now.
                    let joined = lower.map_or(Err(error), |lower| {
                        init.must_live().and_then(|()| fs::write(lower, "0"))
                    });
                    joined.map_err(|error| (path, error))
                }
                joined => joined,
            };
            joined.map_err(|(path, source)| Error::Join { path, source })?;
        }
        Ok(())
    }

    /// Sends a signal to every process in it.
    ///
    /// # Errors
    /// [`Error::Read`] if it can't be read.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        if signal == Signal::KILL.as_raw() && self.kill_at_once() {
            return Ok(());
        }
        signal_listed(signal, || self.pids())?;
        if signal == Signal::KILL.as_raw() {
            self.thaw_for_kill();
        }
        Ok(())
    }

    /// The unified hierarchy's own way, which no fork escapes. False where there is none.
    fn kill_at_once(&self) -> bool {
        self.unified
            && self
                .dirs
                .iter()
                .any(|dir| fs::write(dir.path.join("cgroup.kill"), "1").is_ok())
    }

    /// Kills what is left in it and waits until it is empty.
    ///
    /// # Errors
    /// [`Error::Occupied`] if something does not leave.
    pub fn empty(&self) -> Result<(), Error> {
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        for round in 0_u32.. {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            // What makes processes faster than they are killed one by one is stopped before.
            if round >= ROUNDS_BEFORE_FREEZE
                && !self.unified
                && let Err(error) = self.freeze()
            {
                log::debug!("{}", medley_types::sentence(&error));
            }
            self.signal_all(Signal::KILL.as_raw())?;
            if Instant::now() > deadline {
                return Err(Error::Occupied {
                    path: self
                        .dir("pids")
                        .map(|dir| dir.path.clone())
                        .unwrap_or_default(),
                    count: pids.len(),
                    timeout: LEAVE_TIMEOUT,
                });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// Removes it, with all that the container made below it.
    ///
    /// # Errors
    /// [`Error::Occupied`] or [`Error::Remove`].
    pub fn remove(&self) -> Result<(), Error> {
        self.empty()?;
        self.dirs.iter().try_for_each(|dir| remove_tree(&dir.path))
    }
}

/// Signals every process that `list` gives.
fn signal_listed(signal: i32, list: impl Fn() -> Result<Vec<u32>, Error>) -> Result<(), Error> {
    let open = |pid| PidFd::open(i32::try_from(pid).ok()?).ok();
    let processes: Vec<_> = list()?
        .into_iter()
        .filter_map(|pid| Some((pid, open(pid)?)))
        .collect();
    if processes.is_empty() {
        return Ok(());
    }
    // A pid that is listed still, now that the process is held, is that of a process in there.
    let there = list()?;
    for (pid, process) in processes.iter().filter(|(pid, _)| there.contains(pid)) {
        // Gone since it was listed, if it can't be signalled.
        if let Err(error) = process.signal(signal) {
            log::debug!("signal {signal} to process {pid} of the cgroup not sent: {error}");
        }
    }
    Ok(())
}

pub(super) fn collect_pids(dir: &Path, pids: &mut Vec<u32>) -> Result<(), Error> {
    let path = dir.join("cgroup.procs");
    match kernel_file::read(&path) {
        Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
        Err(error) if is_gone(&error) => return Ok(()),
        Err(source) => return Err(Error::Read { path, source }),
    }
    child_dirs(dir)
        .iter()
        .try_for_each(|below| collect_pids(below, pids))
}

/// A cgroup that was removed reads as ENOENT, or as ENODEV through an open file.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
        // A threaded cgroup of the container's making, whose processes its parent lists.
        || error.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
}

fn child_dirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(dir: &Path) -> Result<(), Error> {
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(source) => {
                // Dirs below of the container's making; or a process that has died and not
                // left yet, for which there is nothing to wait on.
                let below = child_dirs(dir);
                below.iter().try_for_each(|below| remove_tree(below))?;
                // Or one that a helper was moving in when it was killed: it is here, and not yet
                // where the others were looked for.
                signal_listed(Signal::KILL.as_raw(), || {
                    let mut pids = Vec::new();
                    collect_pids(dir, &mut pids)?;
                    Ok(pids)
                })?;
                if Instant::now() > deadline {
                    return Err(Error::Remove {
                        path: dir.to_owned(),
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
    use crate::Error;
    use crate::cgroup::{Cgroup, CgroupDir};

    #[test]
    fn a_cgroup_in_use_or_with_controllers_below_is_not_vacant() {
        let dir = tempfile::tempdir().unwrap();
        let cgroup = Cgroup {
            unified: true,
            dirs: vec![CgroupDir {
                controllers: String::new(),
                path: dir.path().to_owned(),
            }],
        };
        cgroup.check_vacant().unwrap();
        let control = dir.path().join("cgroup.subtree_control");
        std::fs::write(&control, "memory pids\n").unwrap();
        let error = cgroup.check_vacant().unwrap_err();
        assert!(matches!(error, Error::NotLeaf { .. }), "{error}");
        // Controllers that let processes be where they are given on.
        for given in ["\n", "cpu pids\n"] {
            std::fs::write(&control, given).unwrap();
            cgroup.check_vacant().unwrap();
        }
        let freeze = dir.path().join("cgroup.freeze");
        std::fs::write(&freeze, "1\n").unwrap();
        let error = cgroup.check_vacant().unwrap_err();
        assert!(matches!(error, Error::Frozen { .. }), "{error}");
        std::fs::write(&freeze, "0\n").unwrap();
        cgroup.check_vacant().unwrap();
        std::fs::write(dir.path().join("cgroup.procs"), "7\n").unwrap();
        let error = cgroup.check_vacant().unwrap_err();
        assert!(matches!(error, Error::Taken { count: 1, .. }), "{error}");
    }
}
