//! In init: its namespaces, but for those of users, of time and of pids, which a clone begins in; the names
//! of its machine, and its supplementary groups, for which libcontainer makes a procfs of its own to see
//! whether it may set them. Without a user namespace it may.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use medley_sys::clone::SingleThreaded;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::thread::{Gid, LinkNameSpaceType, UnshareFlags};

/// Why they could not be made. The log has a line as libcontainer's, by which the shim tells it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot open the namespace {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot enter a {kind} namespace")]
    Join { kind: String, source: io::Error },
    #[error("cannot make a {kind} namespace")]
    Make { kind: String, source: io::Error },
    #[error("cannot set the {0}")]
    Name(&'static str, #[source] io::Error),
    #[error("cannot set the supplementary groups")]
    Groups(#[source] io::Error),
}

/// What of them a spec asks for.
pub(super) struct Surroundings {
    joined: Vec<(LinuxNamespace, File)>,
    own: Vec<LinuxNamespace>,
    hostname: Option<String>,
    domainname: Option<String>,
    groups: Vec<Gid>,
}

impl Surroundings {
    /// In the helper: takes hold of those that are joined, and leaves of the spec's namespaces only that
    /// of pids.
    pub(super) fn take(spec: &mut Spec) -> Result<Self, Error> {
        let mut surroundings = Self {
            joined: Vec::new(),
            own: Vec::new(),
            hostname: spec.hostname().clone(),
            domainname: spec.domainname().clone(),
            groups: Vec::new(),
        };
        if let Some(process) = spec.process_mut() {
            let groups = process.user_mut().additional_gids_mut().take();
            surroundings.groups = groups.into_iter().flatten().map(Gid::from_raw).collect();
        }
        let linux = spec.linux_mut().as_mut();
        let namespaces = linux.and_then(|linux| linux.namespaces_mut().as_mut());
        for namespace in namespaces.iter().flat_map(|all| all.iter()) {
            match (namespace.typ(), namespace.path()) {
                (LinuxNamespaceType::Pid, _) => {}
                (_, None) => surroundings.own.push(namespace.clone()),
                (_, Some(path)) => {
                    let file = File::open(path).and_then(|file| super::among_namespaces(&file));
                    let file = file.map_err(|source| Error::Open {
                        path: path.clone(),
                        source,
                    })?;
                    surroundings.joined.push((namespace.clone(), file));
                }
            }
        }
        if let Some(namespaces) = namespaces {
            namespaces.retain(|namespace| namespace.typ() == LinuxNamespaceType::Pid);
        }
        Ok(surroundings)
    }

    /// In init: enters them, with a copy of the mount namespace `empty`, or else of its own, and names the
    /// machine.
    pub(super) fn enter(
        &self,
        alone: &SingleThreaded,
        empty: Option<BorrowedFd<'_>>,
    ) -> Result<(), Error> {
        for (namespace, file) in &self.joined {
            let kind = join_flag(namespace.typ());
            let joined = rustix::thread::move_into_link_name_space(file.as_fd(), kind);
            joined.map_err(|errno| {
                log::error!("failed to set namespace namespace={namespace:?}: {errno}");
                let kind = namespace.typ().to_string();
                let source = errno.into();
                Error::Join { kind, source }
            })?;
        }
        self.make(alone, empty)?;
        let is_named = |namespace: &LinuxNamespace| namespace.typ() == LinuxNamespaceType::Uts;
        if self.own.iter().any(is_named) {
            self.name()?;
        }
        if self.groups.is_empty() {
            return Ok(());
        }
        rustix::thread::set_thread_groups(&self.groups).map_err(|errno| {
            log::error!("failed to set groups: {errno}");
            Error::Groups(errno.into())
        })
    }

    fn make(&self, alone: &SingleThreaded, empty: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let mount = |source| Error::Make {
            kind: LinuxNamespaceType::Mount.to_string(),
            source,
        };
        if let Some(empty) = empty {
            rustix::thread::move_into_link_name_space(empty, Some(LinkNameSpaceType::Mount))
                .map_err(|errno| mount(errno.into()))?;
        }
        let flags = self.own.iter().map(|own| own_flag(own.typ()));
        if alone.unshare(flags.collect()).is_ok() {
            return Ok(());
        }
        // One by one, to tell which it is.
        for namespace in &self.own {
            alone.unshare(own_flag(namespace.typ())).map_err(|source| {
                log::error!("failed to unshare namespace namespace={namespace:?}: {source}");
                let kind = namespace.typ().to_string();
                Error::Make { kind, source }
            })?;
        }
        Ok(())
    }

    fn name(&self) -> Result<(), Error> {
        if let Some(name) = &self.hostname {
            rustix::system::sethostname(name.as_bytes()).map_err(|errno| {
                log::error!("failed to set hostname hostname={name:?}: {errno}");
                Error::Name("hostname", errno.into())
            })?;
        }
        if let Some(name) = &self.domainname {
            rustix::system::setdomainname(name.as_bytes()).map_err(|errno| {
                log::error!("failed to set domainname domainname={name:?}: {errno}");
                Error::Name("domainname", errno.into())
            })?;
        }
        Ok(())
    }
}

fn join_flag(kind: LinuxNamespaceType) -> Option<LinkNameSpaceType> {
    Some(match kind {
        LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Pid | LinuxNamespaceType::User | LinuxNamespaceType::Time => {
            return None;
        }
    })
}

fn own_flag(kind: LinuxNamespaceType) -> UnshareFlags {
    match kind {
        LinuxNamespaceType::Mount => UnshareFlags::NEWNS,
        LinuxNamespaceType::Cgroup => UnshareFlags::NEWCGROUP,
        LinuxNamespaceType::Uts => UnshareFlags::NEWUTS,
        LinuxNamespaceType::Ipc => UnshareFlags::NEWIPC,
        LinuxNamespaceType::Network => UnshareFlags::NEWNET,
        LinuxNamespaceType::Pid | LinuxNamespaceType::User | LinuxNamespaceType::Time => {
            UnshareFlags::empty()
        }
    }
}
