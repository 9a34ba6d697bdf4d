//! In the container: the sysctls of its namespaces.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::path::Path;

use medley_sys::in_root;
use medley_sys::mount::{Attributes, MountClone};
use rustix::fs::OFlags;

use super::Error;

/// Sets them, by a procfs that nothing of the container's is mounted over.
pub(super) fn set(all: &HashMap<String, String>) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let confined = Attributes::NO_SUID | Attributes::NO_DEVICES | Attributes::NO_PROGRAMS;
    let procfs = MountClone::new("proc", Path::new("proc"), &[], confined);
    let procfs = procfs.map_err(Error::Procfs)?;
    for (name, value) in all {
        let failed = |source| Error::Sysctl {
            name: name.clone(),
            source,
        };
        let mut file = open(procfs.as_fd(), name).map_err(|source| {
            log::error!("failed to initialize container process: open subpath in procfs: {source}");
            failed(source)
        })?;
        file.write_all(value.as_bytes()).map_err(|source| {
            log::error!("failed to set sysctl {name}={value}: {source}");
            failed(source)
        })?;
    }
    Ok(())
}

fn open(procfs: BorrowedFd<'_>, name: &str) -> io::Result<File> {
    let path = Path::new("/sys").join(name.replace('.', "/"));
    let file = in_root::open_no_links(procfs, &path, OFlags::WRONLY)?;
    Ok(file.into())
}
