//! The user namespace of a container, and the mounts that show their files as its own.
//!
//! libcontainer makes such a namespace only together with a cgroup of systemd's, and maps no
//! mount's ids. So a helper makes the namespace, libcontainer enters it by its path as it does a
//! pod's, and the helper that makes the container maps the mounts.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use super::error::Error;
use super::helper_client::Helpers;
use crate::protocol::{IdMappedMount, IdMappings, MakeUserNamespace};
use crate::shim::sandbox;
use crate::spec;

/// The mount options that ask for mapped ids, the second for what is mounted below too.
const OPTIONS: [&str; 2] = ["idmap", "ridmap"];

/// The user namespaces that one container needs, until it is made.
#[derive(Debug, Default)]
pub(super) struct UserNamespaces {
    /// The container's own, with its maps.
    own: Option<(OwnedFd, IdMappings)>,
    /// Whether libcontainer would have to make it.
    is_new: bool,
    /// Those of mounts that are mapped otherwise.
    others: Vec<OwnedFd>,
}

impl UserNamespaces {
    /// Opens or makes the namespace that the container is to be in, if it is one of its own.
    /// `shared` are those of its pod that the spec may name.
    pub(super) fn of(helpers: &Helpers, spec: &Spec, shared: &[OwnedFd]) -> Result<Self, Error> {
        let linux = spec.linux().as_ref();
        let all = linux.and_then(|linux| linux.namespaces().as_deref());
        let requested = all
            .unwrap_or_default()
            .iter()
            .find(|namespace| namespace.typ() == LinuxNamespaceType::User);
        let Some(requested) = requested else {
            return Ok(Self::default());
        };
        let maps = maps(
            linux.and_then(|linux| linux.uid_mappings().as_deref()),
            linux.and_then(|linux| linux.gid_mappings().as_deref()),
        );
        let (fd, is_new) = match requested.path() {
            Some(path) => match sandbox::named(path, shared) {
                Some(fd) => (fd.try_clone().map_err(Error::Spawn)?, false),
                None => (open(path)?, false),
            },
            None => (make(helpers, &maps)?, true),
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
    /// mounts to map, or of what only the node's root can reach, in `dir`. Whether the spec was changed is told too.
    pub(super) fn adapt(
        &mut self,
        helpers: &Helpers,
        spec: &mut Spec,
        dir: &Path,
    ) -> Result<(Vec<IdMappedMount>, bool), Error> {
        let mapped = self.adapt_mounts(helpers, spec, dir)?;
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
        helpers: &Helpers,
        spec: &mut Spec,
        dir: &Path,
    ) -> Result<Vec<IdMappedMount>, Error> {
        let mut mapped = Vec::new();
        let at = |count: usize| dir.join("mapped").join(count.to_string());
        for mount in spec.mounts_mut().iter_mut().flatten() {
            let options = mount.options().clone().unwrap_or_default();
            let asks = |requested: &str| options.iter().any(|option| option == requested);
            let requested = maps(
                mount.uid_mappings().as_deref(),
                mount.gid_mappings().as_deref(),
            );
            if requested.is_empty() && !OPTIONS.iter().any(|option| asks(option)) {
                let is_bound = spec::is_bind(mount) && self.own.is_some();
                let source = mount.source().clone().filter(|_| is_bound);
                if let Some(source) = source.filter(|source| is_hidden(source)) {
                    let at = at(mapped.len());
                    mount.set_source(Some(at.clone()));
                    mapped.push(IdMappedMount {
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
                return Err(Error::IdMappedMount { path: destination });
            };
            let namespace = match &self.own {
                Some((fd, own)) if requested.is_empty() || requested == *own => path_of(fd),
                None if requested.is_empty() => {
                    return Err(Error::IdMappedMount { path: destination });
                }
                _ => {
                    let fd = make(helpers, &requested)?;
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
            mapped.push(IdMappedMount {
                source,
                at,
                namespace: Some(namespace),
                recursive: asks("ridmap"),
            });
        }
        Ok(mapped)
    }
}

/// Whether a directory above a file, or a directory, lets only its owner pass: the root of a container
/// with a user namespace owns nothing on the node, and libcontainer looks for files as it.
fn is_hidden(path: &Path) -> bool {
    const MAY_PASS: u32 = 0o001;
    path.ancestors().skip(1).any(|dir| {
        let metadata = std::fs::metadata(dir);
        metadata.is_ok_and(|metadata| metadata.permissions().mode() & MAY_PASS == 0)
    })
}

/// Opens the namespaces that a container with a user namespace joins, which a user without rights on the node may not, and
/// names them in its spec as the helper will have them. None, if there are none.
pub(super) fn hold_namespaces(spec: &mut Spec) -> Result<Option<Vec<OwnedFd>>, Error> {
    let linux = spec.linux_mut().as_mut();
    let Some(all) = linux.and_then(|linux| linux.namespaces_mut().as_mut()) else {
        return Ok(None);
    };
    if !all.iter().any(|one| one.typ() == LinuxNamespaceType::User) {
        return Ok(None);
    }
    let mut held = Vec::new();
    for namespace in all {
        if let Some(path) = namespace.path().clone() {
            let fd = open(&path)?;
            namespace.set_path(Some(sandbox::path_of(held.len())));
            held.push(fd);
        }
    }
    Ok((!held.is_empty()).then_some(held))
}

/// The path of a handle of this process, for processes that it makes.
fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!(
        "/proc/{}/fd/{}",
        std::process::id(),
        fd.as_raw_fd()
    ))
}

fn maps(uids: Option<&[LinuxIdMapping]>, gids: Option<&[LinuxIdMapping]>) -> IdMappings {
    let lines = |maps: Option<&[LinuxIdMapping]>| {
        let lines = maps.unwrap_or_default().iter();
        lines
            .map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size()))
            .collect()
    };
    IdMappings {
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

fn make(helpers: &Helpers, mappings: &IdMappings) -> Result<OwnedFd, Error> {
    let mappings = mappings.clone();
    Ok(helpers.call(MakeUserNamespace { mappings })?.fd)
}
