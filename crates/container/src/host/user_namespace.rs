//! The user namespace of a container, and the mounts that show their files as its own.
//!
//! libcontainer makes such a namespace only together with a cgroup of systemd's, and maps no
//! mount's ids. So a helper makes the namespace, libcontainer enters it by its path as it does a
//! pod's, and the helper that makes the container maps the mounts.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use super::{Error, Host, process};
use crate::pod;
use crate::protocol::{IdMapped, Maps, Reply, Request};

/// The mount options that ask for mapped ids, the second for what is mounted below too.
const OPTIONS: [&str; 2] = ["idmap", "ridmap"];

/// The user namespaces that one container needs, until it is made.
#[derive(Debug, Default)]
pub(super) struct UserNamespaces {
    /// The container's own, with its maps.
    own: Option<(OwnedFd, Maps)>,
    /// Whether libcontainer would have to make it.
    is_new: bool,
    /// Those of mounts that are mapped otherwise.
    others: Vec<OwnedFd>,
}

impl UserNamespaces {
    /// Opens or makes the namespace that the container is to be in, if it is one of its own.
    /// `shared` are those of its pod that the spec may name.
    pub(super) fn of(host: &Host, spec: &Spec, shared: &[OwnedFd]) -> Result<Self, Error> {
        let linux = spec.linux().as_ref();
        let all = linux.and_then(|linux| linux.namespaces().as_deref());
        let wanted = all
            .unwrap_or_default()
            .iter()
            .find(|namespace| namespace.typ() == LinuxNamespaceType::User);
        let Some(wanted) = wanted else {
            return Ok(Self::default());
        };
        let maps = maps(
            linux.and_then(|linux| linux.uid_mappings().as_deref()),
            linux.and_then(|linux| linux.gid_mappings().as_deref()),
        );
        let (fd, is_new) = match wanted.path() {
            Some(path) => match pod::named(path, shared) {
                Some(fd) => (fd.try_clone().map_err(Error::Spawn)?, false),
                None => (open(path)?, false),
            },
            None => (make(host, &maps)?, true),
        };
        Ok(Self {
            own: Some((fd, maps)),
            is_new,
            others: Vec::new(),
        })
    }

    /// A handle on the container's own.
    pub(super) fn own(&self) -> Option<BorrowedFd<'_>> {
        self.own.as_ref().map(|(fd, _)| fd.as_fd())
    }

    /// Takes out of the spec what libcontainer can't do, and gives what the helper is to do for it:
    /// mounts to map, or of what lies below `hidden`, in `folder`. Whether the spec was changed is told too.
    pub(super) fn adapt(
        &mut self,
        host: &Host,
        spec: &mut Spec,
        folder: &Path,
        hidden: Option<&Path>,
    ) -> Result<(Vec<IdMapped>, bool), Error> {
        let hidden = hidden.filter(|_| self.own.is_some());
        let mapped = self.adapt_mounts(host, spec, folder, hidden)?;
        let mut changed = !mapped.is_empty();
        if let Some((fd, _)) = self.own.as_ref().filter(|_| self.is_new)
            && let Some(linux) = spec.linux_mut()
            && let Some(all) = linux.namespaces_mut()
        {
            let user = all.iter_mut();
            for namespace in user.filter(|one| one.typ() == LinuxNamespaceType::User) {
                namespace.set_path(Some(path_of(fd)));
            }
            changed = true;
        }
        Ok((mapped, changed))
    }

    fn adapt_mounts(
        &mut self,
        host: &Host,
        spec: &mut Spec,
        folder: &Path,
        hidden: Option<&Path>,
    ) -> Result<Vec<IdMapped>, Error> {
        let mut mapped = Vec::new();
        let at = |count: usize| folder.join("mapped").join(count.to_string());
        for mount in spec.mounts_mut().iter_mut().flatten() {
            let options = mount.options().clone().unwrap_or_default();
            let asks = |wanted: &str| options.iter().any(|option| option == wanted);
            let wanted = maps(
                mount.uid_mappings().as_deref(),
                mount.gid_mappings().as_deref(),
            );
            if wanted.is_empty() && !OPTIONS.iter().any(|option| asks(option)) {
                // The container's root is nobody on the node, and may not pass the folders above it.
                let source = mount.source().clone();
                let is_hidden =
                    |source: &PathBuf| hidden.is_some_and(|hidden| source.starts_with(hidden));
                if let Some(source) = source.filter(is_hidden) {
                    let at = at(mapped.len());
                    mount.set_source(Some(at.clone()));
                    mapped.push(IdMapped {
                        source,
                        at,
                        namespace: None,
                        recursive: false,
                    });
                }
                continue;
            }
            let destination = mount.destination().clone();
            let Some(source) = mount.source().clone() else {
                return Err(Error::IdMapped { path: destination });
            };
            let namespace = match &self.own {
                Some((fd, own)) if wanted.is_empty() || wanted == *own => path_of(fd),
                None if wanted.is_empty() => return Err(Error::IdMapped { path: destination }),
                _ => {
                    let fd = make(host, &wanted)?;
                    let path = path_of(&fd);
                    self.others.push(fd);
                    path
                }
            };
            let at = at(mapped.len());
            mount.set_source(Some(at.clone()));
            mount.set_uid_mappings(None);
            mount.set_gid_mappings(None);
            let rest = options
                .iter()
                .filter(|one| !OPTIONS.contains(&one.as_str()));
            mount.set_options(Some(rest.cloned().collect()));
            mapped.push(IdMapped {
                source,
                at,
                namespace: Some(namespace),
                recursive: asks("ridmap"),
            });
        }
        Ok(mapped)
    }
}

/// The path of a handle of this process, for processes that it makes.
fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        fd.as_raw_fd()
    ))
}

fn maps(uids: Option<&[LinuxIdMapping]>, gids: Option<&[LinuxIdMapping]>) -> Maps {
    let lines = |maps: Option<&[LinuxIdMapping]>| {
        let lines = maps.unwrap_or_default().iter();
        lines
            .map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size()))
            .collect()
    };
    Maps {
        uids: lines(uids),
        gids: lines(gids),
    }
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let file = File::open(path).map_err(|source| Error::UserNamespace {
        path: path.to_owned(),
        source,
    })?;
    Ok(file.into())
}

fn make(host: &Host, maps: &Maps) -> Result<OwnedFd, Error> {
    let (reply, fds) = process::ask(host, &Request::UserNamespace(maps.clone()), &[])?;
    match (reply, fds.into_iter().next()) {
        (Reply::UserNamespace, Some(fd)) => Ok(fd),
        _ => Err(Error::NoAnswer {
            reason: "it made no user namespace".into(),
        }),
    }
}
