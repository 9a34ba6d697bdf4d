//! What is kept beside a container for the day on which its shim has died.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use medley_sys::pidfd::PidFd;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{Error, STATE};
use crate::cgroup::Cgroup;
use crate::rootfs::{self, Mounted};
use crate::spec;

const FILE: &str = "container.json";

/// Enough to kill and remove a container without its shim.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pid: i32,
    /// Init's start, in ticks since boot: no other process with its pid has the same.
    started: Option<u64>,
    cgroup: Cgroup,
    rootfs: PathBuf,
}

/// Writes the record into a container's folder.
pub(super) fn write(folder: &Path, pid: i32, cgroup: &Cgroup, rootfs: &Path) -> Result<(), Error> {
    let record = Record {
        pid,
        started: start_of(pid),
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
        Some(record) => {
            kill_init(record.pid, record.started);
            (Some(record.pid), record.cgroup, record.rootfs)
        }
        None => {
            // The shim died within Create: the spec says where things would be. Without our
            // folder, whoever is in that cgroup is somebody else's.
            let spec = spec::load(bundle)?;
            let linux = spec.linux().as_ref();
            let path = linux.and_then(|linux| linux.cgroups_path().clone());
            let id = bundle.file_name().unwrap_or_default().to_string_lossy();
            let nobody = Some(Path::new("/"));
            let path = if folder.is_dir() {
                path.as_deref()
            } else {
                nobody
            };
            let cgroup = Cgroup::at(path, &id);
            (None, cgroup, spec::rootfs(bundle, &spec))
        }
    };
    let layers = rootfs::clean_up(bundle);
    let cgroup = cgroup.remove();
    let unmounted = Mounted::by_someone(rootfs).unmount();
    let folder = remove(&folder);
    cgroup?;
    layers?;
    unmounted?;
    folder?;
    Ok(pid)
}

/// Kills init, should it be in no cgroup of its own.
fn kill_init(pid: i32, started: Option<u64>) {
    if started.is_some() && start_of(pid) == started {
        let killed = PidFd::open(pid).and_then(|init| init.signal(Signal::KILL.as_raw()));
        if let Err(error) = killed {
            log::debug!("init, process {pid}, is not killed: {error}");
        }
    }
}

/// When a process started, in ticks since boot.
fn start_of(pid: i32) -> Option<u64> {
    /// Its place in `/proc/<pid>/stat`, counted from what follows the name in parentheses.
    const STARTTIME: usize = 19;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(STARTTIME)?.parse().ok()
}
