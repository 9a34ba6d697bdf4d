//! The cache's folder: root's alone, and nobody else's to move away.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Cache, Error, failed};

/// Where the kernel tells its boot from others.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Bits of a mode: who may write, and that only owners may rename.
const GROUP: u32 = 0o020;
const OTHERS: u32 = 0o002;
const STICKY: u32 = 0o1000;

impl Cache {
    /// Opens the cache in `folder`, making it if it is not there. It holds `limit` bytes unless its
    /// own file `limit` says otherwise.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if somebody else could write into it.
    pub fn open(folder: &Path, limit: u64) -> Result<Self, Error> {
        for path in [
            folder,
            &folder.join("keys"),
            &folder.join("code"),
            &folder.join("used"),
            &folder.join("locks"),
        ] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(failed("make", path))?;
        }
        Self::checked(folder, limit)
    }

    /// Opens the cache in `folder` to read it; `None` if there is none.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn existing(folder: &Path, limit: u64) -> Result<Option<Self>, Error> {
        match Self::checked(folder, limit) {
            Ok(cache) => Ok(Some(cache)),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn checked(folder: &Path, limit: u64) -> Result<Self, Error> {
        let folder = ours_alone(folder)?;
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        Ok(Self {
            folder,
            default_limit: limit,
            boot: boot.trim().to_owned(),
        })
    }
}

/// Sees to it that nobody else can write into `folder`, or put another in its place. Gives it without
/// symlinks, which could be turned.
pub(crate) fn ours_alone(folder: &Path) -> Result<PathBuf, Error> {
    let folder = fs::canonicalize(folder).map_err(failed("open", folder))?;
    let ours = rustix::process::geteuid().as_raw();
    for (height, path) in folder.ancestors().enumerate() {
        let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
        let (owner, mode) = (found.uid(), found.mode() & 0o7777);
        let (fine, wanted) = if height == 0 {
            let fine = found.is_dir() && owner == ours && mode & 0o077 == 0;
            (fine, "it must be root's alone, 0700")
        } else {
            // Whoever may rename a folder above ours may put another in its place.
            let shared = if found.gid() == 0 {
                OTHERS
            } else {
                OTHERS | GROUP
            };
            let safe = mode & shared == 0 || mode & STICKY != 0;
            (
                safe && (owner == 0 || owner == ours),
                "nobody but root may write there",
            )
        };
        if !fine {
            return Err(Error::NotOurs {
                path: path.to_owned(),
                folder,
                owner,
                mode,
                wanted,
            });
        }
    }
    Ok(folder)
}
