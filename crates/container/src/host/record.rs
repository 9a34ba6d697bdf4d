//! What is kept beside a container for the day on which its shim has died.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Error, STATE};
use crate::cgroup::Cgroup;
use crate::rootfs::Mounted;
use crate::spec;

const FILE: &str = "container.json";

/// Enough to kill and remove a container without its shim.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    cgroup: Cgroup,
    rootfs: PathBuf,
}

/// Writes the record into a container's folder.
pub(super) fn write(folder: &Path, pid: i32, cgroup: &Cgroup, rootfs: &Path) -> Result<(), Error> {
    let record = Record {
        pid,
        cgroup: cgroup.clone(),
        rootfs: rootfs.to_owned(),
    };
    let path = folder.join(FILE);
    let write = || -> io::Result<()> { fs::write(&path, serde_json::to_vec(&record)?) };
    write().map_err(|source| Error::Folder {
        path: path.clone(),
        source,
    })
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

/// Kills and removes the container of `bundle`, whose shim is gone, and gives init's pid if it
/// was known. Does nothing to a bundle whose container was never made.
///
/// # Errors
/// [`Error`] with the first thing that could not be removed; the others are removed all the same.
pub fn clean_up(bundle: &Path) -> Result<Option<i32>, Error> {
    let folder = bundle.join(STATE);
    let record: Option<Record> = fs::read(folder.join(FILE))
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let (pid, cgroup, rootfs) = match record {
        Some(record) => (Some(record.pid), record.cgroup, record.rootfs),
        None => {
            // The shim died within Create: the spec says where things would be. Without our
            // folder, whoever is in that cgroup is somebody else's.
            let spec = spec::load(bundle)?;
            let path = spec
                .linux()
                .as_ref()
                .and_then(|linux| linux.cgroups_path().clone());
            let path = path.filter(|_| folder.is_dir()).unwrap_or_default();
            let cgroup = Cgroup::at(&path);
            (None, cgroup, spec::rootfs(bundle, &spec))
        }
    };
    let cgroup = cgroup.remove();
    let rootfs = Mounted::by_someone(rootfs).unmount();
    let folder = remove(&folder);
    cgroup?;
    rootfs?;
    folder?;
    Ok(pid)
}
