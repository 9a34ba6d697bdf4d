//! The cache of one node, and where its files are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::files;
use super::limits::parse_size;
use super::permissions::ours_alone;

/// Where the kernel tells its boot from others.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The directory of what is known of layers.
pub(crate) const LAYERS: &str = "layers";

/// The cache of one node.
#[derive(Debug, Clone)]
pub struct Cache {
    pub(super) dir: PathBuf,
    pub(super) default_limit: u64,
    /// This boot's id; empty if unknown, and then nothing is believed to have been checked.
    pub(super) boot: String,
}

impl Cache {
    /// Opens the cache in `dir`, making it if it is not there. It holds `limit` bytes unless its
    /// own file `limit` says otherwise.
    ///
    /// # Errors
    /// [`Error::NotOurs`] if another user could write into it.
    pub fn open(dir: &Path, limit: u64) -> Result<Self, Error> {
        for path in [
            dir,
            &dir.join("keys"),
            &dir.join("code"),
            &dir.join("used"),
            &dir.join("locks"),
            &dir.join("sizes"),
        ] {
            files::make_dir(path).map_err(|error| Error::unless_root(dir, "make", path, error))?;
        }
        Self::checked(dir, limit)
    }

    /// Opens the cache in `dir` to read it; `None` if there is none.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub fn existing(dir: &Path, limit: u64) -> Result<Option<Self>, Error> {
        match Self::checked(dir, limit) {
            Ok(cache) => Ok(Some(cache)),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn checked(dir: &Path, limit: u64) -> Result<Self, Error> {
        let dir = ours_alone(dir)?;
        let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
        Ok(Self {
            dir,
            default_limit: limit,
            boot: boot.trim().to_owned(),
        })
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The most that its entries hold together, in bytes: what its file `limit` says, so that all
    /// shims of a node mean the same.
    #[must_use]
    pub fn limit(&self) -> u64 {
        let text = fs::read_to_string(self.dir.join("limit")).ok();
        match text.map(|text| (parse_size(text.trim()), text)) {
            Some((Some(limit), _)) => limit,
            Some((None, text)) => {
                log::warn!(
                    "{}/limit is no size such as 4G: {:?}",
                    self.dir.display(),
                    text.trim()
                );
                self.default_limit
            }
            None => self.default_limit,
        }
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    pub(super) fn code(&self) -> PathBuf {
        self.dir.join("code")
    }

    pub(super) fn used(&self) -> PathBuf {
        self.dir.join("used")
    }

    pub(super) fn layers(&self) -> PathBuf {
        self.dir.join(LAYERS)
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.dir.join("locks")
    }

    pub(super) fn sizes(&self) -> PathBuf {
        self.dir.join("sizes")
    }

    pub(super) fn failed(&self) -> PathBuf {
        self.dir.join("failed")
    }
}
