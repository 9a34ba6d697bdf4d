//! Who is in a container's cgroup, and its end.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use medley_sys::pidfd::PidFd;
use rustix::process::Signal;

use super::{Cgroup, Error};

/// The file with a cgroup's processes.
pub(super) const PROCS: &str = "cgroup.procs";

/// How long processes that were sent SIGKILL may take to leave.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a cgroup of the first version is killed process by process before it is frozen for it.
const PATIENT_ROUNDS: u32 = 20;

/// Pause between two looks at a cgroup that is not empty yet.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

impl Cgroup {
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

    /// Moves the calling process into it.
    ///
    /// Below init's own cgroup may be others, made by a systemd in the container for example. The
    /// unified hierarchy takes processes only where nothing is below: the process goes to where
    /// `init` is then.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn join(&self, init: &PidFd) -> Result<(), Error> {
        for folder in &self.folders {
            let path = folder.path.join(PROCS);
            let joined = match fs::write(&path, "0") {
                Err(error) if self.unified && error.kind() == io::ErrorKind::ResourceBusy => {
                    let lower = Self::of_process(init.pid())?;
                    let lower = lower.folders.first().map(|folder| folder.path.join(PROCS));
                    // It was init's, and not that of a process that has its pid by now.
                    lower.map_or(Err(error), |lower| {
                        init.must_live().and_then(|()| fs::write(lower, "0"))
                    })
                }
                joined => joined,
            };
            joined.map_err(|source| Error::Join { path, source })?;
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
            self.let_die();
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
        for round in 0_u32.. {
            let pids = self.pids()?;
            if pids.is_empty() {
                break;
            }
            // What makes processes faster than they are killed one by one is stopped before.
            if round >= PATIENT_ROUNDS
                && !self.unified
                && let Err(error) = self.freeze()
            {
                log::debug!("{}", medley_types::sentence(&error));
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
        Ok(())
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

pub(super) fn collect_pids(folder: &Path, pids: &mut Vec<u32>) -> Result<(), Error> {
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
pub(super) fn is_gone(error: &io::Error) -> bool {
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
                // Or one that a helper was moving in when it was killed: it is here, and not yet
                // where the others were looked for.
                signal_listed(Signal::KILL.as_raw(), || {
                    let mut pids = Vec::new();
                    collect_pids(folder, &mut pids)?;
                    Ok(pids)
                })?;
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
