//! A container that was made: Start, Kill, Delete, and what else the Task API asks of it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use medley_dispatch::Plan;
use medley_io::StdioHandles;
use medley_sys::children;
use medley_sys::pidfd::{ExitStatus, PidFd};
use medley_sys::trace;
use medley_types::metrics::Metrics;

use super::context::ShimContext;
use super::error::Error;
use super::hooks::Moment;
use super::reaper::reap_orphans;
use super::rootfs::Mounted;
use super::settings::Settings;
use super::status::await_started;
use super::{hooks, recover, resctrl};
use crate::spec::Features;
use medley_cgroup::{Cgroup, OomWatch, UpdateError};

/// A container that was made.
#[derive(Debug)]
pub struct Container {
    pub(super) context: Arc<ShimContext>,
    pub(super) id: String,
    pub(super) plan: Plan,
    pub(super) settings: Settings,
    pub(super) init: PidFd,
    pub(super) cgroup: Cgroup,
    /// Whether it is of a pod of Kubernetes'.
    pub(super) in_pod: bool,
    /// Absent if it can't be watched.
    pub(super) oom: Option<OomWatch>,
    pub(super) rootfs: Mounted,
    /// Our directory in the bundle.
    pub(super) dir: PathBuf,
    pub(super) features: Features,
    /// Read once, at start: empty when the program runs, or why it does not.
    pub(super) status: Mutex<Option<File>>,
    /// The shim's handles on the container's stdio.
    pub(super) stdio: StdioHandles,
}

impl Container {
    /// What runs it.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its init.
    #[must_use]
    pub fn init(&self) -> &PidFd {
        &self.init
    }

    /// The shim's handles on its stdio.
    #[must_use]
    pub fn stdio(&self) -> &StdioHandles {
        &self.stdio
    }

    /// Where libcontainer keeps this container's state.
    fn state(&self) -> PathBuf {
        self.dir.join(&self.id)
    }

    /// Lets init go on, and waits until its program runs.
    ///
    /// # Errors
    /// [`Error::NotStarted`] with init's own reason; [`Error::Notify`] if it is dead.
    pub fn start(&self) -> Result<(), Error> {
        let _whole = trace::span("Start");
        self.notify().map_err(|source| Error::Notify {
            pid: self.init.pid(),
            source,
        })?;
        let status = self
            .status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(status) = status {
            await_started(status, self.init.pid())?;
        }
        if self.features.poststart_hooks {
            self.run_hooks(Moment::Poststart)?;
        }
        Ok(())
    }

    /// libcontainer's own call for this changes the working directory of the whole process to
    /// keep the socket's path short. A path through a descriptor is short too.
    fn notify(&self) -> io::Result<()> {
        let state = File::open(self.state())?;
        let path = Path::new("/proc/self/fd")
            .join(state.as_fd().as_raw_fd().to_string())
            .join(libcontainer::notify_socket::NOTIFY_FILE);
        let mut socket = UnixStream::connect(path)?;
        io::Write::write_all(&mut socket, b"start container")?;
        socket.shutdown(std::net::Shutdown::Write)
    }

    /// Whether [`Self::try_reap`] never waits.
    #[must_use]
    pub fn reaping_is_quick(&self) -> bool {
        self.features.own_pid_namespace
    }

    /// Reaps init if it has ended, and takes with it what its end ends.
    ///
    /// # Errors
    /// Those of `waitid`.
    pub fn try_reap(&self) -> io::Result<Option<ExitStatus>> {
        let Some(ended) = children::reap(&self.init)? else {
            return Ok(None);
        };
        trace::mark("init has ended");
        // In a shared pid namespace the kernel does not kill what init leaves behind.
        if !self.features.own_pid_namespace
            && let Err(error) = self.cgroup.empty()
        {
            log::warn!("{}: {}", self.id, medley_types::sentence(&error));
        }
        // What is left in the pipes of its output stays there until delete, even if it is not read
        // just now: our reading ends keep it, and keep no reader from seeing the end.
        self.stdio.close_stdin();
        Ok(Some(ended))
    }

    /// Gives init up, whose end can't be watched: the next sweep that finds it dead reaps it.
    pub fn abandon(&self) {
        children::let_go(self.init.pid());
        reap_orphans();
    }

    /// Sends a signal to every process of the container.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be read.
    pub fn signal_all(&self, signal: i32) -> Result<(), Error> {
        // Init too, should it be in no cgroup of its own. It may be dead already.
        if let Err(error) = self.init.signal(signal) {
            log::debug!("{}: signal {signal} to init not sent: {error}", self.id);
        }
        Ok(self.cgroup.signal_all(signal)?)
    }

    /// Every process of the container. Init is one of them as long as it lives.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be read.
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        Ok(self.cgroup.pids()?)
    }

    /// What the container uses.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be read.
    pub fn metrics(&self) -> Result<Metrics, Error> {
        Ok(self.cgroup.metrics()?)
    }

    /// Refuses what needs a container that lives.
    pub(super) fn must_live(&self) -> Result<(), Error> {
        self.init.must_live().map_err(|source| Error::ProcessEnded {
            pid: self.init.pid(),
            source,
        })
    }

    /// Its bundle, where the spec is as containerd wrote it.
    pub(super) fn bundle(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    fn run_hooks(&self, moment: Moment) -> Result<(), Error> {
        hooks::run(&self.state(), &self.init, moment)
    }

    /// Removes everything that is left after init's end. May be called again.
    ///
    /// # Errors
    /// [`Error`] with what could not be removed.
    pub fn delete(&self) -> Result<(), Error> {
        let _whole = trace::span("Delete");
        let step = trace::span("remove the cgroup");
        self.cgroup.remove()?;
        drop(step);
        if self.features.poststop_hooks
            && let Err(error) = self.run_hooks(Moment::Poststop)
        {
            // The OCI runtime spec has a poststop hook that fails logged, no more.
            log::warn!("{}: {}", self.id, medley_types::sentence(&error));
        }
        let step = trace::span("unmount the rootfs");
        self.rootfs.unmount()?;
        drop(step);
        if self.features.resctrl {
            resctrl::remove_group(&self.dir);
        }
        recover::remove(&self.dir)
    }

    /// Stops every process where it stands.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be frozen; it is thawed then.
    pub fn pause(&self) -> Result<(), Error> {
        Ok(self.cgroup.freeze()?)
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// [`Error::Cgroup`] if it can't be thawed.
    pub fn resume(&self) -> Result<(), Error> {
        Ok(self.cgroup.thaw()?)
    }

    /// Sets limits. `resources` is the OCI runtime spec's `linux.resources`, as JSON.
    ///
    /// # Errors
    /// [`UpdateError`]; no limit is changed then.
    pub fn update(&self, resources: &[u8]) -> Result<(), UpdateError> {
        self.cgroup.update(resources)
    }

    /// Has a process that was sent SIGKILL receive it, should the container be frozen.
    pub fn thaw_for_kill(&self) {
        self.cgroup.thaw_for_kill();
    }

    /// What tells of processes killed for want of memory, if that can be known.
    #[must_use]
    pub fn oom_watch(&self) -> Option<&OomWatch> {
        self.oom.as_ref()
    }
}
