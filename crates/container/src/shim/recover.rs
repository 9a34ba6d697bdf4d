//! What is kept beside a container for the day on which its shim has died.
//!
//! What is about to be made is on record before it is made, and so is who makes it: a shim may be
//! killed at any moment, and the clean-up then unmakes what the record names and no more.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::recorded_process::Known;
use super::{Error, STATE, resctrl};
use crate::shim::rootfs::{self, Mounted};
use medley_cgroup::Cgroup;
use medley_cgroup::compilers::{self, Compilers};

/// What is going to be made.
const PLAN: &str = "container.json";

/// What was made. A file of its own: a shim that dies while it writes it leaves the other whole.
const INIT: &str = "init.json";

/// What is needed to unmake a container that is being made.
#[derive(Debug, Serialize, Deserialize)]
struct Planned {
    /// Who makes it.
    shim: Known,
    /// Where it will be. All of it is the container's own: no process was in there before.
    cgroup: Cgroup,
    /// What is mounted of its rootfs, and by nobody else.
    rootfs: Mounted,
    /// What the cgroups of its compilers are called, and of nobody else's.
    #[serde(default)]
    compilers: Option<String>,
}

/// What is needed besides, once it has an init.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    init: Known,
    /// Where it is in fact.
    cgroup: Cgroup,
}

/// Makes a container's folder, with the record of what is going to be made.
pub(super) fn begin(
    folder: &Path,
    (id, shim): (&str, Known),
    cgroup: Cgroup,
    rootfs: Mounted,
) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Folder {
        path: folder.to_owned(),
        source,
    })?;
    let planned = Planned {
        shim,
        cgroup,
        rootfs,
        compilers: Some(compilers::name(id, shim.pid())),
    };
    write(&folder.join(PLAN), &planned)
}

/// Adds init to the record.
pub(super) fn add_init(folder: &Path, pid: i32, cgroup: &Cgroup) -> Result<(), Error> {
    let made = Made {
        init: Known::of(pid),
        cgroup: cgroup.clone(),
    };
    write(&folder.join(INIT), &made)
}

fn write(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let write = || -> io::Result<()> { fs::write(path, serde_json::to_vec(record)?) };
    write().map_err(|source| Error::Folder {
        path: path.to_owned(),
        source,
    })
}

/// What was written there. A record that is not whole was never acted on.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Removes a container's folder.
pub(super) fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::Folder {
            path: folder.to_owned(),
            source,
        }),
    }
}

/// Kills and removes the container of `bundle` and gives init's pid if it was known. What a shim
/// that is gone had under way is ended first, unless `shim_is_alive`. Does nothing to a bundle whose
/// container was never begun.
///
/// # Errors
/// [`Error`] with the first thing that could not be removed; the others are removed all the same.
pub fn clean_up(bundle: &Path, shim_is_alive: bool) -> Result<Option<i32>, Error> {
    // containerd may call for a bundle twice at the same time.
    let _lock = match fs::File::open(bundle) {
        Ok(bundle) => rustix::fs::flock(&bundle, FlockOperation::LockExclusive).map(|()| bundle),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::Folder {
                path: bundle.to_owned(),
                source: error,
            });
        }
    };
    let folder = bundle.join(STATE);
    let planned: Option<Planned> = read(&folder.join(PLAN));
    let made: Option<Made> = read(&folder.join(INIT));
    if let Some(planned) = planned.as_ref().filter(|_| !shim_is_alive) {
        planned.shim.end_helpers();
    }
    let pid = made.as_ref().map(|made| made.init.pid());
    if let Some(made) = &made {
        // Should it be in no cgroup of its own.
        made.init.kill();
    }
    let compilers = planned.as_ref().map_or(Ok(()), remove_compilers);
    let (cgroup, rootfs) = match planned {
        Some(planned) => (Some(planned.cgroup), Some(planned.rootfs)),
        None => (None, None),
    };
    let layers = rootfs::clean_up(bundle);
    // That of init first: only its record says where systemd put it.
    let cgroups = made.map(|made| made.cgroup).into_iter().chain(cgroup);
    let cgroups: Vec<_> = cgroups.map(|cgroup| cgroup.remove()).collect();
    let unmounted = rootfs.map_or(Ok(()), |rootfs| rootfs.unmount());
    resctrl::clean_up(&folder);
    let folder = remove(&folder);
    cgroups.into_iter().collect::<Result<(), _>>()?;
    compilers?;
    layers?;
    unmounted?;
    folder?;
    Ok(pid)
}

/// Removes what is left of the cgroups that a container's compilers were in.
fn remove_compilers(planned: &Planned) -> Result<(), medley_cgroup::Error> {
    let name = planned.compilers.as_deref();
    name.map_or(Ok(()), |name| {
        Compilers::of_pod(&planned.cgroup, name).remove()
    })
}
