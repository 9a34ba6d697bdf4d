//! What is written down of a container for the day on which its shim has died.
//!
//! What is about to be made is on record before it is made, and so is the shim that makes it: a shim may
//! be killed at any moment, and `recover` then unmakes what the record names and no more.

use std::fs;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::about::About;
use super::error::Error;
use super::recorded_process::RecordedProcess;
use super::rootfs::Mounted;
use medley_cgroup::Cgroup;
use medley_cgroup::compilers;

/// What is going to be made.
const PLAN: &str = "container.json";

/// What was made. A file of its own: a shim that dies while it writes it leaves the other whole.
const INIT: &str = "init.json";

/// What commands of the command line have to know; none of a shim's container.
const ABOUT: &str = "about.json";

/// What is needed to unmake a container that is being made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Planned {
    /// Who makes it.
    pub(super) shim: RecordedProcess,
    /// Where it will be. All of it is the container's own: no process was in there before.
    pub(super) cgroup: Cgroup,
    /// What is mounted of its rootfs, and by no other.
    pub(super) rootfs: Mounted,
    /// What the cgroups of its compilers are called, and of no other container's.
    #[serde(default)]
    pub(super) compilers: Option<String>,
}

/// What is needed besides, once it has an init.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) init: RecordedProcess,
    /// Where it is in fact.
    pub(super) cgroup: Cgroup,
}

/// Makes a container's directory, with the record of what is going to be made.
pub(super) fn begin(
    dir: &Path,
    (id, shim): (&str, RecordedProcess),
    cgroup: Cgroup,
    rootfs: Mounted,
) -> Result<(), Error> {
    fs::create_dir_all(dir).map_err(|source| Error::Dir {
        path: dir.to_owned(),
        source,
    })?;
    let planned = Planned {
        shim,
        cgroup,
        rootfs,
        compilers: Some(compilers::name(id, shim.pid())),
    };
    write(&dir.join(PLAN), &planned)
}

/// Adds init to the record.
pub(super) fn add_init(dir: &Path, pid: i32, cgroup: &Cgroup) -> Result<(), Error> {
    let made = Made {
        init: RecordedProcess::of(pid),
        cgroup: cgroup.clone(),
    };
    write(&dir.join(INIT), &made)
}

/// Writes down what commands that come later have to know.
pub(super) fn write_about(dir: &Path, about: &About) -> Result<(), Error> {
    write(&dir.join(ABOUT), about)
}

/// What such a command has written.
pub(super) fn read_about(dir: &Path) -> Option<About> {
    read(&dir.join(ABOUT))
}

/// A reader finds the record whole, or none.
fn write(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, serde_json::to_vec(record)?)?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| Error::Dir {
        path: path.to_owned(),
        source,
    })
}

/// What was written there. A record that is not whole was never acted on.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// What was going to be made in a container's directory, and what was made.
pub(super) fn read_all(dir: &Path) -> (Option<Planned>, Option<Made>) {
    (read(&dir.join(PLAN)), read(&dir.join(INIT)))
}
