//! A container with an init that can be told something: what its shim has of it, and each command of the
//! command line that opens it again.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medley_sys::pidfd::PidFd;
use medley_sys::trace;
use medley_types::metrics::Metrics;

use super::context::ShimContext;
use super::error::Error;
use super::hooks::{self, Moment};
use super::rootfs::Mounted;
use super::settings::Settings;
use super::{recover, resctrl};
use crate::spec::Features;
use medley_cgroup::{Cgroup, UpdateError};

/// A container that was made.
#[derive(Debug)]
pub struct LiveContainer {
    pub(super) context: Arc<ShimContext>,
    pub(super) id: String,
    /// Where the spec is as the caller wrote it.
    pub(super) bundle: PathBuf,
    /// Our directory.
    pub(super) dir: PathBuf,
    /// Whether an engine runs it.
    pub(super) is_wasm: bool,
    pub(super) settings: Settings,
    pub(super) init: PidFd,
    pub(super) cgroup: Cgroup,
    /// Whether it is of a pod of Kubernetes'.
    pub(super) in_pod: bool,
    pub(super) rootfs: Mounted,
    pub(super) features: Features,
}

impl LiveContainer {
    /// Its init.
    #[must_use]
    pub fn init(&self) -> &PidFd {
        &self.init
    }

    /// Its cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Where libcontainer keeps this container's state.
    fn state(&self) -> PathBuf {
        self.dir.join(&self.id)
    }

    /// libcontainer's own call for this changes the working directory of the whole process to
    /// keep the socket's path short. A path through a descriptor is short too.
    pub(super) fn notify(&self) -> io::Result<()> {
        let state = File::open(self.state())?;
        let path = Path::new("/proc/self/fd")
            .join(state.as_fd().as_raw_fd().to_string())
            .join(libcontainer::notify_socket::NOTIFY_FILE);
        let mut socket = UnixStream::connect(path)?;
        io::Write::write_all(&mut socket, b"start container")?;
        socket.shutdown(std::net::Shutdown::Write)
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

    /// Its bundle, where the spec is as the caller wrote it.
    pub(super) fn bundle(&self) -> &Path {
        &self.bundle
    }

    pub(super) fn run_hooks(&self, moment: Moment) -> Result<(), Error> {
        hooks::run(&self.state(), Some(&self.init), moment)
    }

    /// Removes everything that is left after init's end. May be called again. Where there is a rootfs whose
    /// file system the kernel has still to end, it does so when what this gives is dropped.
    ///
    /// # Errors
    /// [`Error`] with what could not be removed.
    pub fn delete(&self) -> Result<Option<OwnedFd>, Error> {
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
        let rootfs = self.rootfs.leave()?;
        drop(step);
        if self.features.resctrl {
            resctrl::remove_group(&self.dir);
        }
        recover::remove(&self.dir)?;
        Ok(rootfs)
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
}
