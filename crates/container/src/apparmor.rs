//! AppArmor's profiles. One comes into force with an exec, which a guest never has: its process
//! changes to its profile by itself, right before the guest begins.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags};

/// Why a profile could not be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "the AppArmor profile {profile:?} is asked for on a node where AppArmor is not enabled"
    )]
    Disabled { profile: String },
    #[error("cannot open /proc for AppArmor")]
    Procfs(#[source] io::Error),
    #[error("cannot set the AppArmor profile {profile:?}, which has to be loaded on this node")]
    Set { profile: String, source: io::Error },
}

/// The profile that a process is to have.
pub(crate) fn profile(process: &Process) -> Option<&str> {
    let profile = process.apparmor_profile().as_deref();
    profile.filter(|profile| !profile.is_empty())
}

/// Sets the profile that this thread, and what it clones, has from its next exec on.
pub(crate) fn set_on_exec(profile: &str) -> Result<(), Error> {
    Confinement::open(profile)?.set_on_exec()
}

/// A profile for the process that a clone of this one becomes, in which there may be no procfs.
pub(crate) struct Confinement {
    profile: String,
    procfs: OwnedFd,
}

impl Confinement {
    /// Takes hold of the node's procfs.
    pub(crate) fn open(profile: &str) -> Result<Self, Error> {
        let profile = profile.to_owned();
        if !libcontainer::apparmor::is_enabled().unwrap_or(false) {
            return Err(Error::Disabled { profile });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let procfs = rustix::fs::open("/proc", flags, Mode::empty())
            .map_err(|errno| Error::Procfs(errno.into()))?;
        Ok(Self { profile, procfs })
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Set {
            profile: self.profile.clone(),
            source,
        }
    }

    /// Opens a file by which this thread tells what is to become of its profile.
    fn attribute(&self, name: &str) -> Result<File, Error> {
        let path = format!("thread-self/attr/apparmor/{name}");
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(self.procfs.as_fd(), path, flags, Mode::empty())
            .map(File::from)
            .map_err(|errno| self.error(errno.into()))
    }

    /// The kernel refuses a profile that it does not have.
    fn set_on_exec(&self) -> Result<(), Error> {
        let order = format!("exec {}", self.profile);
        self.attribute("exec")?
            .write_all(order.as_bytes())
            .map_err(|source| self.error(source))
    }

    /// In the process itself, while Create can still fail: what is executed has the profile from
    /// here on, and [`Ready::enter`] is all that is left to do. Lets go of procfs.
    pub(crate) fn prepare(self) -> Result<Ready, Error> {
        self.set_on_exec()?;
        let current = self.attribute("current")?;
        let Self { profile, .. } = self;
        Ok(Ready { profile, current })
    }
}

/// A profile that its process may change to. Works in the thread that prepared it alone.
pub(crate) struct Ready {
    profile: String,
    current: File,
}

impl Ready {
    /// Puts the profile in force, for this thread and all that it makes.
    pub(crate) fn enter(self) -> Result<(), Error> {
        let Self {
            profile,
            mut current,
        } = self;
        let order = format!("changeprofile {profile}");
        current
            .write_all(order.as_bytes())
            .map_err(|source| Error::Set { profile, source })
    }
}
