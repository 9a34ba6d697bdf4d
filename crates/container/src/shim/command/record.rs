//! What is on record of a container, and what can be told of it by that.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use medley_sys::pidfd::PidFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::commands::Commands;
use super::state_dir::{StateDir, is_held};
use crate::shim::about::About;
use crate::shim::error::Error;
use crate::shim::live_container::LiveContainer;
use crate::shim::recorded_process::RecordedProcess;
use crate::shim::rootfs::Mounted;
use crate::shim::state_file::{self, Made, Planned};
use crate::shim::{hooks, recover};
use crate::spec::Features;
use medley_cgroup::Cgroup;

/// The pipe by which init tells how its start went. Init holds a lock on it until its program runs.
pub(super) const STATUS: &str = "exec.fifo";

/// The states of the OCI runtime spec, and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    /// As tools read it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A container as it is on record.
#[derive(Debug)]
pub struct Record {
    dir: PathBuf,
    about: Option<About>,
    planned: Option<Planned>,
    made: Option<Made>,
}

impl Record {
    /// Reads what is on record in `dir`; `None` if there is no such container.
    #[must_use]
    pub fn read(dir: &Path) -> Option<Self> {
        if !dir.is_dir() {
            return None;
        }
        let (planned, made) = state_file::read_all(dir);
        Some(Self {
            dir: dir.to_owned(),
            about: state_file::read_about(dir),
            planned,
            made,
        })
    }

    /// What was said of it when it was made; `None` if it did not come so far.
    #[must_use]
    pub fn about(&self) -> Option<&About> {
        self.about.as_ref()
    }

    /// Init's pid, be init alive or not.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.made.as_ref().map(|made| made.init.pid())
    }

    /// When it was begun: for one of which nothing was said yet.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        let changed = std::fs::metadata(&self.dir).and_then(|dir| dir.modified());
        changed.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Init, if it lives: a process that ended and was not reaped yet does not.
    #[must_use]
    pub fn init(&self) -> Option<PidFd> {
        let init = self.made.as_ref()?.init.open()?;
        init.is_alive().ok()?.then_some(init)
    }

    /// The container's state now.
    #[must_use]
    pub fn status(&self) -> Status {
        let Some(made) = &self.made else {
            return if is_held(&self.dir) {
                Status::Creating
            } else {
                Status::Stopped
            };
        };
        if self.init().is_none() {
            Status::Stopped
        } else if waits_for_start(&self.dir) {
            Status::Created
        } else if made.cgroup.is_frozen() {
            Status::Paused
        } else {
            Status::Running
        }
    }

    /// The container's cgroup, if it is known.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        let planned = || self.planned.as_ref().map(|planned| &planned.cgroup);
        let made = self.made.as_ref().map(|made| &made.cgroup);
        made.or_else(planned)
    }

    /// Whether other containers are in its pid namespace, or the node is: its processes outlive its init.
    #[must_use]
    pub fn shares_pids(&self) -> bool {
        let about = self.about.as_ref();
        about.is_some_and(|about| !about.features.own_pid_namespace)
    }

    /// Opens the container, if its init lives.
    ///
    /// # Errors
    /// [`Error::ProcessEnded`].
    pub fn open(self, commands: &Commands) -> Result<LiveContainer, Error> {
        let pid = self.pid().unwrap_or_default();
        let ended = || Error::ProcessEnded {
            pid,
            source: Errno::SRCH.into(),
        };
        let init = self.init().ok_or_else(ended)?;
        let (about, made) = self.about.zip(self.made).ok_or_else(ended)?;
        Ok(LiveContainer {
            context: Arc::clone(&commands.context),
            dir: self.dir,
            id: about.id,
            bundle: about.bundle,
            is_wasm: about.is_wasm,
            settings: about.settings,
            init,
            cgroup: made.cgroup,
            in_pod: about.in_pod,
            rootfs: Mounted::planned(about.rootfs, &[]),
            features: about.features,
        })
    }

    /// Has the command end that is making the container, if one is.
    pub fn end_creation(&self) {
        if let Some(planned) = &self.planned
            && self.made.is_none()
        {
            planned.shim.kill();
        }
    }

    /// Ends every process of the container, removes all that is left of it, and tells its poststop hooks.
    ///
    /// # Errors
    /// [`Error`] with the first thing that could not be removed; its directory stays then.
    pub fn remove(&self, dir: StateDir) -> Result<(), Error> {
        if let Some(planned) = &self.planned {
            self.end_helpers(&planned.shim);
        }
        if let Some(made) = &self.made {
            made.init.kill();
        }
        recover::remove_cgroups(self.planned.as_ref(), self.made.as_ref())?;
        if let Some(features) = self.about.as_ref().map(|about| about.features) {
            self.after_its_end(features);
        }
        dir.remove()
    }

    /// A creation that ended early may have left a helper, or what that has cloned.
    fn end_helpers(&self, maker: &RecordedProcess) {
        if self.made.is_none() {
            maker.end_helpers();
        }
    }

    fn after_its_end(&self, features: Features) {
        if features.poststop_hooks
            && self.made.is_some()
            && let Some(about) = &self.about
            && let Err(error) = hooks::run(&self.dir.join(&about.id), None, hooks::Moment::Poststop)
        {
            // The OCI runtime spec has a poststop hook that fails logged, no more.
            log::warn!("{}", medley_types::sentence(&error));
        }
        if features.resctrl {
            crate::shim::resctrl::remove_group(&self.dir);
        }
    }
}

/// Opens the pipe by which init tells how its start went.
pub(super) fn open_status(dir: &Path) -> std::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let status: OwnedFd = rustix::fs::open(dir.join(STATUS), flags, Mode::empty())?;
    Ok(status.into())
}

/// Whether the program of the container does not run yet: init holds its lock.
fn waits_for_start(dir: &Path) -> bool {
    let Ok(status) = open_status(dir) else {
        return false;
    };
    let tried = rustix::fs::flock(&status, FlockOperation::NonBlockingLockShared);
    matches!(tried, Err(Errno::WOULDBLOCK))
}

#[cfg(test)]
mod tests {
    use super::{Record, Status};
    use crate::shim::command::StateDir;
    use crate::shim::command::create::status;
    use crate::shim::recorded_process::RecordedProcess;
    use crate::shim::rootfs::Mounted;
    use crate::shim::state_file;
    use medley_cgroup::Cgroup;

    fn state(dir: &StateDir) -> Status {
        Record::read(dir.path()).unwrap().status()
    }

    #[test]
    fn the_state_is_told_from_what_lives_and_what_is_held() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::make(root.path(), "id").unwrap();
        assert_eq!(state(&dir), Status::Creating);
        let cgroup = Cgroup::planned(None, "medley-record", false);
        let rootfs = Mounted::planned("/nonexistent".into(), &[]);
        let own = RecordedProcess::own();
        state_file::begin(dir.path(), ("id", own), cgroup.clone(), rootfs).unwrap();
        assert_eq!(state(&dir), Status::Creating);
        let held_by_init = status(&dir).unwrap();
        state_file::add_init(dir.path(), own.pid(), &cgroup).unwrap();
        assert_eq!(state(&dir), Status::Created);
        // Its program is executed.
        drop(held_by_init);
        assert_eq!(state(&dir), Status::Running);
        state_file::add_init(dir.path(), i32::MAX, &cgroup).unwrap();
        assert_eq!(state(&dir), Status::Stopped);
    }

    #[test]
    fn what_no_command_works_on_and_has_no_init_is_over() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::make(root.path(), "id").unwrap();
        let path = dir.path().to_owned();
        drop(dir);
        let record = Record::read(&path).unwrap();
        assert_eq!(record.status(), Status::Stopped);
        assert!(record.about().is_none() && record.pid().is_none());
        record
            .remove(StateDir::lock(&path).unwrap().unwrap())
            .unwrap();
        assert!(Record::read(&path).is_none());
    }
}
