//! What the node's security modules confine a process by: AppArmor's profiles, SELinux's labels.
//! Both come into force with an exec, which a guest never has: its process changes to them by
//! itself, right before the guest begins.
//!
//! All is written through a descriptor of the node's procfs that was opened before the container's
//! root was entered, and each file is checked to be procfs's: an image can bring a /proc of its own.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Process;
use rustix::fs::{FsWord, Mode, OFlags};
use serde::{Deserialize, Serialize};

/// Where selinuxfs is mounted on a node that has it.
const SELINUX: [&str; 2] = ["/sys/fs/selinux", "/selinux"];

/// `SELINUX_MAGIC` of `<linux/magic.h>`.
const SELINUX_MAGIC: FsWord = 0xf97c_ff8c_u32 as FsWord;

/// The label of the kernel's own processes, which every process has until a policy is loaded.
const NO_POLICY: &[u8] = b"kernel";

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no AppArmor.
    #[error(
        "the AppArmor profile {profile:?} is asked for on a node where AppArmor is not enabled"
    )]
    NoAppArmor { profile: String },
    /// There is no SELinux.
    #[error(
        "the SELinux label {label:?} is asked for by {field} on a node where SELinux is disabled or \
         not supported; leave it out, or enable SELinux"
    )]
    NoSelinux {
        label: String,
        /// Where in the spec.
        field: &'static str,
    },
    /// The node's procfs can't be used.
    #[error("cannot use /proc to confine the process")]
    Procfs(#[source] io::Error),
    /// The profile is refused.
    #[error("cannot set the AppArmor profile {profile:?}, which has to be loaded on this node")]
    Profile { profile: String, source: io::Error },
    /// The label is refused.
    #[error("cannot set the SELinux label {label:?}, which this node's policy has to allow")]
    Label { label: String, source: io::Error },
}

/// What a process is to be confined by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Labels {
    /// AppArmor's profile.
    pub(crate) apparmor: Option<String>,
    /// SELinux's label.
    pub(crate) selinux: Option<String>,
}

impl Labels {
    /// Those that a process asks for.
    pub(crate) fn of(process: &Process) -> Self {
        let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
        Self {
            apparmor: given(process.apparmor_profile()),
            selinux: given(process.selinux_label()),
        }
    }

    /// SELinux's alone, where libcontainer sees to AppArmor's.
    pub(crate) fn without_apparmor(self) -> Self {
        Self {
            apparmor: None,
            ..self
        }
    }
}

/// Refuses a label where there is no SELinux, as runc does.
pub(crate) fn check_selinux(label: Option<&str>, field: &'static str) -> Result<(), Error> {
    match label {
        Some(label) if !is_selinux_enabled() => Err(Error::NoSelinux {
            label: label.to_owned(),
            field,
        }),
        _ => Ok(()),
    }
}

/// Refuses an AppArmor profile on a node without AppArmor.
pub(crate) fn check_apparmor(profile: Option<&str>) -> Result<(), Error> {
    match profile {
        Some(profile) if !libcontainer::apparmor::is_enabled().unwrap_or(false) => {
            let profile = profile.to_owned();
            Err(Error::NoAppArmor { profile })
        }
        _ => Ok(()),
    }
}

/// Whether SELinux is there and has a policy.
fn is_selinux_enabled() -> bool {
    let mounted = SELINUX
        .iter()
        .any(|path| rustix::fs::statfs(*path).is_ok_and(|found| found.f_type == SELINUX_MAGIC));
    mounted
        && std::fs::read("/proc/self/attr/current")
            .is_ok_and(|label| label.strip_suffix(b"\0").unwrap_or(&label) != NO_POLICY)
}

/// Labels for this process, or for the process that a clone of this one becomes, in which there
/// may be no procfs.
pub(crate) struct Confinement {
    labels: Labels,
    procfs: OwnedFd,
}

impl Confinement {
    /// Takes hold of the node's procfs; nothing if there is no label.
    pub(crate) fn open(labels: Labels) -> Result<Option<Self>, Error> {
        if labels == Labels::default() {
            return Ok(None);
        }
        check_apparmor(labels.apparmor.as_deref())?;
        check_selinux(labels.selinux.as_deref(), "process.selinuxLabel")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let procfs = rustix::fs::open("/proc", flags, Mode::empty())
            .map_err(|errno| Error::Procfs(errno.into()))?;
        Ok(Some(Self { labels, procfs }))
    }

    /// Opens a file by which this thread tells what it is to be confined by.
    fn attribute(&self, name: &str) -> io::Result<File> {
        let path = Path::new("thread-self/attr").join(name);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.procfs.as_fd(), path, flags, Mode::empty())?;
        if rustix::fs::fstatfs(&file)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
            return Err(io::Error::other("what is mounted at /proc is not procfs"));
        }
        Ok(file.into())
    }

    /// Has what this thread and its clones execute next be confined. The kernel refuses a label
    /// that it does not know.
    pub(crate) fn set_on_exec(&self) -> Result<(), Error> {
        let write = |name: &str, order: &str| self.attribute(name)?.write_all(order.as_bytes());
        if let Some(profile) = &self.labels.apparmor {
            write("apparmor/exec", &format!("exec {profile}"))
                .map_err(|source| profile_error(profile, source))?;
        }
        if let Some(label) = &self.labels.selinux {
            write("exec", label).map_err(|source| label_error(label, source))?;
        }
        Ok(())
    }

    /// Labels the keyrings that this thread makes, until it is told otherwise.
    pub(crate) fn label_keyrings(&self, on: bool) -> Result<(), Error> {
        let Some(label) = &self.labels.selinux else {
            return Ok(());
        };
        let text = if on { label.as_bytes() } else { b"\n" };
        let written = self
            .attribute("keycreate")
            .and_then(|mut file| file.write_all(text));
        written.map_err(|source| label_error(label, source))
    }

    /// In the process itself, while Create can still fail: what is executed is confined from here
    /// on, and [`Ready::enter`] is all that is left to do for a guest. Lets go of procfs.
    pub(crate) fn prepare(self) -> Result<Ready, Error> {
        self.set_on_exec()?;
        let profile = match &self.labels.apparmor {
            Some(profile) => {
                let current = self.attribute("apparmor/current");
                let current = current.map_err(|source| profile_error(profile, source))?;
                Some((profile.clone(), current))
            }
            None => None,
        };
        let label = match &self.labels.selinux {
            Some(label) => {
                let current = self.attribute("current");
                let current = current.map_err(|source| label_error(label, source))?;
                Some((label.clone(), current))
            }
            None => None,
        };
        Ok(Ready { profile, label })
    }
}

/// Labels that the process may change to. Works in the thread that prepared it alone.
#[derive(Default)]
pub(crate) struct Ready {
    profile: Option<(String, File)>,
    label: Option<(String, File)>,
}

impl Ready {
    /// Puts them in force, for this thread and all that it makes.
    pub(crate) fn enter(self) -> Result<(), Error> {
        let Self { profile, label } = self;
        if let Some((profile, mut current)) = profile {
            let order = format!("changeprofile {profile}");
            current
                .write_all(order.as_bytes())
                .map_err(|source| profile_error(&profile, source))?;
        }
        if let Some((label, mut current)) = label {
            current
                .write_all(label.as_bytes())
                .map_err(|source| label_error(&label, source))?;
        }
        Ok(())
    }
}

fn profile_error(profile: &str, source: io::Error) -> Error {
    Error::Profile {
        profile: profile.to_owned(),
        source,
    }
}

fn label_error(label: &str, source: io::Error) -> Error {
    Error::Label {
        label: label.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::{Labels, check_selinux};

    #[test]
    fn an_empty_label_is_none() {
        let process = serde_json::from_str(
            r#"{"user":{"uid":0,"gid":0},"cwd":"/","selinuxLabel":"","apparmorProfile":"p"}"#,
        )
        .unwrap();
        let labels = Labels::of(&process);
        assert_eq!(labels.apparmor.as_deref(), Some("p"));
        assert_eq!(labels.without_apparmor(), Labels::default());
        assert!(check_selinux(None, "process.selinuxLabel").is_ok());
    }
}
