//! The directory of a container below `--root`, and the lock on it.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::shim::error::Error;
use crate::shim::recover;

/// A container's directory, which is held by one command at a time.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Locked as long as it is open.
    _lock: File,
}

/// A container that is there already.
#[derive(Debug, thiserror::Error)]
pub enum Exists {
    #[error("container with given ID already exists")]
    Exists,
    #[error("cannot make the directory {}", path.display())]
    Make { path: PathBuf, source: io::Error },
}

impl StateDir {
    /// Makes the directory of a container that is not there yet.
    ///
    /// # Errors
    /// [`Exists`].
    pub fn make(root: &Path, id: &str) -> Result<Self, Exists> {
        // What is mounted for a container's root is reached by a path below.
        const MODE: u32 = 0o711;
        let path = root.join(id);
        let failed = |path: &Path, source| Exists::Make {
            path: path.to_owned(),
            source,
        };
        let mut builder = DirBuilder::new();
        builder.mode(MODE).recursive(true);
        builder
            .create(root)
            .map_err(|source| failed(root, source))?;
        builder.recursive(false);
        builder.create(&path).map_err(|source| {
            if source.kind() == io::ErrorKind::AlreadyExists {
                Exists::Exists
            } else {
                failed(&path, source)
            }
        })?;
        match Self::lock(&path) {
            Ok(Some(dir)) => Ok(dir),
            // Deleted in the instant in between.
            Ok(None) => Err(failed(&path, Errno::NOENT.into())),
            Err(source) => Err(failed(&path, source)),
        }
    }

    /// Waits until no other command works on the container, and keeps others from it. `None` if there is
    /// no such container, or none any more.
    ///
    /// # Errors
    /// Those of opening and locking the directory.
    pub fn lock(path: &Path) -> io::Result<Option<Self>> {
        Self::lock_with(path, FlockOperation::LockExclusive)
    }

    /// As [`Self::lock`], without waiting.
    ///
    /// # Errors
    /// `EWOULDBLOCK` while another command works on it.
    pub fn try_lock(path: &Path) -> io::Result<Option<Self>> {
        Self::lock_with(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_with(path: &Path, operation: FlockOperation) -> io::Result<Option<Self>> {
        let lock = match File::open(path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, operation))?;
        // Whoever held it may have removed it, and a further one may have made it again.
        let ours = rustix::fs::fstat(&lock)?;
        let there = match rustix::fs::stat(path) {
            Ok(there) => (there.st_dev, there.st_ino),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        Ok((there == (ours.st_dev, ours.st_ino)).then(|| Self {
            path: path.to_owned(),
            _lock: lock,
        }))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all that is in it.
    ///
    /// # Errors
    /// [`Error::Dir`].
    pub fn remove(self) -> Result<(), Error> {
        recover::remove(&self.path)
    }
}

/// Whether a command works on the container in `path`.
pub(super) fn is_held(path: &Path) -> bool {
    let held = |dir: File| {
        let tried = rustix::fs::flock(&dir, FlockOperation::NonBlockingLockShared);
        matches!(tried, Err(Errno::WOULDBLOCK))
    };
    fs::File::open(path).is_ok_and(held)
}

#[cfg(test)]
mod tests {
    use super::{Exists, StateDir, is_held};

    #[test]
    fn a_container_is_made_once_and_held_by_one() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().join("a/b");
        let dir = StateDir::make(&root, "id").unwrap();
        assert!(matches!(StateDir::make(&root, "id"), Err(Exists::Exists)));
        assert!(is_held(dir.path()));
        StateDir::try_lock(dir.path()).unwrap_err();
        let path = dir.path().to_owned();
        drop(dir);
        assert!(!is_held(&path));
        StateDir::lock(&path).unwrap().unwrap().remove().unwrap();
        assert!(StateDir::lock(&path).unwrap().is_none());
    }
}
