//! In a container's process: enter the working directory as the container's user.
//!
//! libcontainer enters it as root, who may enter what the user may not, and tries again as the user
//! where root gets EPERM. The file systems that keep root out, those of NFS and of FUSE, say EACCES.

use std::io;
use std::path::{Path, PathBuf};

/// Why it could not be entered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot enter the working directory {} inside the container", cwd.display())]
    Enter { cwd: PathBuf, source: io::Error },
    #[error("the working directory {} lies outside of the container", cwd.display())]
    Outside { cwd: PathBuf },
}

/// Enters it, and makes sure that it is in the container.
pub(crate) fn enter(cwd: &Path) -> Result<(), Error> {
    std::env::set_current_dir(cwd).map_err(|source| Error::Enter {
        cwd: cwd.to_owned(),
        source,
    })?;
    // A directory that can't be reached from the root has no path, or a relative one:
    // CVE-2024-21626.
    match std::env::current_dir() {
        Ok(path) if path.is_absolute() => Ok(()),
        _ => Err(Error::Outside {
            cwd: cwd.to_owned(),
        }),
    }
}
