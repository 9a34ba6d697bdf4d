//! Create, by a command.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::SystemTime;

use medley_io::{ContainerStdio, Stdio};
use medley_sys::pidfd::PidFd;
use medley_types::Cancel;
use rustix::fs::{FileType, FlockOperation, Mode, OFlags};

use super::commands::Commands;
use super::record::STATUS;
use super::state_dir::StateDir;
use crate::shim::about::About;
use crate::shim::create::{Maker, create_for};
use crate::shim::error::Error;
use crate::shim::live_container::LiveContainer;
use crate::shim::planned_cgroup::PlannedCgroup;
use crate::shim::settings::{CreateRequest, Settings};
use crate::shim::streams::Streams;
use crate::shim::{recover, state_file};
use crate::spec::{self, ContainerSpec, Features};

/// A container to make.
#[derive(Debug)]
pub struct NewContainer {
    pub id: String,
    /// An absolute path.
    pub bundle: PathBuf,
    pub settings: Settings,
    /// Variables that its process gets besides.
    pub env: Vec<String>,
    /// What its program has as descriptors 3 and up.
    pub passed: Vec<OwnedFd>,
}

/// A container whose init waits to be started.
#[derive(Debug)]
pub struct Created {
    pub container: LiveContainer,
    /// The master of its terminal, if its spec asks for one.
    pub terminal: Option<OwnedFd>,
}

impl Commands {
    /// Makes a container in `dir`, which is its own. Its process has the calling process's stdio, or a
    /// terminal. The calling process must be a subreaper: init becomes its child.
    ///
    /// # Errors
    /// [`Error`]; nothing of the container is left then, its directory included.
    pub fn create(&self, dir: &StateDir, new: NewContainer) -> Result<Created, Error> {
        let made = self.create_in(dir, new);
        if made.is_err()
            && let Err(left) = recover::remove(dir.path())
        {
            log::warn!("{}", medley_types::sentence(&left));
        }
        made
    }

    fn create_in(&self, dir: &StateDir, new: NewContainer) -> Result<Created, Error> {
        medley_cgroup::prepare_for_move();
        let terminal = spec::wants_terminal(&new.bundle)?;
        let status = status(dir).map_err(|source| Error::Dir {
            path: dir.path().join(STATUS),
            source,
        })?;
        let mut streams = InheritedStreams {
            dir,
            bundle: new.bundle.clone(),
            env: new.env,
            default_cgroup: default_cgroup(&new.id, new.settings.systemd_cgroup),
            terminal,
            master: None,
        };
        let request = CreateRequest {
            id: new.id,
            bundle: new.bundle,
            rootfs: Vec::new(),
            stdio: Stdio {
                terminal,
                ..Stdio::default()
            },
            settings: new.settings,
            cancel: Cancel::default(),
        };
        let maker = Maker {
            dir: dir.path().to_owned(),
            streams: &mut streams,
            status: status.as_fd(),
            alive: None,
            passed: new.passed.iter().map(AsFd::as_fd).collect(),
        };
        let (container, _) = create_for(&self.context, None, request, maker)?;
        Ok(Created {
            container,
            terminal: streams.master,
        })
    }
}

impl Created {
    /// Its init.
    #[must_use]
    pub fn init(&self) -> &PidFd {
        self.container.init()
    }
}

/// The cgroup of a container whose spec names none, as runc has it.
fn default_cgroup(id: &str, systemd: Option<bool>) -> PathBuf {
    if systemd == Some(true) {
        format!("system.slice:medley:{id}").into()
    } else {
        format!("/{id}").into()
    }
}

/// Makes the status pipe, and gives its writing end with the lock that says that the program does not run
/// yet.
pub(super) fn status(dir: &StateDir) -> std::io::Result<OwnedFd> {
    let path = dir.path().join(STATUS);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &path,
        FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )?;
    // A writing end alone waits for a reader.
    let both = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let writer = rustix::fs::open(&path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    drop(both);
    rustix::fs::flock(&writer, FlockOperation::LockExclusive)?;
    Ok(writer)
}

/// The calling process's own stdio.
struct InheritedStreams<'a> {
    dir: &'a StateDir,
    bundle: PathBuf,
    env: Vec<String>,
    /// The cgroup of a container whose spec names none.
    default_cgroup: PathBuf,
    terminal: bool,
    master: Option<OwnedFd>,
}

impl Streams for InheritedStreams<'_> {
    fn adapt(&mut self, spec: &mut ContainerSpec) {
        spec.as_runc_reads_it(&self.bundle);
        spec.add_env(&self.env);
        spec.default_cgroup(&self.default_cgroup);
    }

    fn open(&mut self, uid: u32) -> Result<ContainerStdio, Error> {
        inherited(self.terminal, uid)
    }

    fn decided(
        &mut self,
        request: &CreateRequest,
        spec: &ContainerSpec,
        cgroup: &PlannedCgroup,
        is_wasm: bool,
    ) -> Result<(), Error> {
        let about = About {
            id: request.id.clone(),
            bundle: request.bundle.clone(),
            rootfs: spec::rootfs(&request.bundle, &spec.oci),
            oci_version: spec.oci.version().clone(),
            annotations: spec.oci.annotations().clone().unwrap_or_default(),
            created: SystemTime::now(),
            is_wasm,
            in_pod: cgroup.in_pod,
            settings: request.settings.clone(),
            features: Features::of(&spec.oci),
        };
        state_file::write_about(self.dir.path(), &about)
    }

    fn connect(&mut self, master: OwnedFd) -> Result<(), Error> {
        self.master = Some(master);
        Ok(())
    }
}

/// Our own stdio for a process of the user `uid`, or nothing for one that gets a terminal.
pub(super) fn inherited(terminal: bool, uid: u32) -> Result<ContainerStdio, Error> {
    let ends = if terminal {
        medley_io::nowhere()?
    } else {
        medley_io::inherited(uid)?
    };
    Ok(ends)
}
