//! Native code, compiled once for a node.
//!
//! ```text
//! <folder>/            root's alone
//!   keys/<key>         what the entry is: which module by which engine, and the digest of its code
//!   code/<digest>      native code, by the digest of its own content
//!   used/<digest>      when the code was last used, and that it was found whole since the boot
//!   failed/<digest>    why there can be no code for a key (`failed`)
//!   locks/<key>        held by who compiles for the key
//!   layers/<digest>    what is in a layer of an image (`known`)
//!   slots/<number>     held while a compiler runs
//!   limit              how much it may hold, such as 4G, where that is not the default
//! ```
//!
//! **Only the shim writes here,** and only what its own compiler made: no byte of an image is ever
//! taken for native code. An entry is found by a key that names everything it depends on, and is
//! used only if its content has the digest that the key's file says; both appear by `rename`, so
//! that a crash leaves an entry whole or not at all. A bad entry is removed and counts as missing.
//! A cache that can't be used costs time, never a start.
//!
//! The digest is fs-verity's. An entry is read once for each boot (`used`), as the common start is
//! not to pay by size; on a file system that has fs-verity the kernel goes on checking every page
//! that it reads.
//!
//! Whoever maps an entry holds a lock on it (`flock`, which lasts as long as the mapping does), and
//! what is locked is never removed to make room: all replicas of a module share one copy.

mod failed;
pub(crate) mod folder;
mod key;
mod lock;
mod room;
mod slots;
mod used;
mod write;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use medley_engine::TrustedCode;
use rustix::fs::FlockOperation;

use crate::digest;

pub use failed::Failure;
pub use key::{Key, MAX_MODULE, Record};
pub use lock::{Lock, Turn};
pub use room::{Entry, Policy, Pruned};
pub use slots::{Slot, Slots};

/// Most that all entries hold together, in bytes. Room for some hundred modules of a few MB.
pub const DEFAULT_LIMIT: u64 = 1 << 30;

/// The folder of what is known of layers.
pub(crate) const LAYERS: &str = "layers";

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module could not be read.
    #[error("cannot read the module")]
    Module(#[source] io::Error),
    /// Nobody compiles a module of this size.
    #[error("the module has {size} bytes; the most that is compiled is {MAX_MODULE}")]
    TooLarge {
        /// Its size.
        size: u64,
    },
    /// Somebody else could write into it.
    #[error(
        "the cache {} is not safe: {} belongs to user {owner} with mode {mode:04o}, and {wanted}",
        folder.display(), path.display()
    )]
    NotOurs {
        /// The cache's folder.
        folder: PathBuf,
        /// The folder that is wrong: itself, or one above.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Its mode.
        mode: u32,
        /// What it must be.
        wanted: &'static str,
    },
    /// Everything else in it is in use.
    #[error(
        "the cache {} has no room for {size} bytes: its limit is {limit}, and {held} are in use; \
         write a higher one to {}/limit, such as 4G",
        folder.display(), folder.display()
    )]
    NoRoom {
        /// The cache's folder.
        folder: PathBuf,
        /// What was to be kept.
        size: u64,
        /// The cache's limit.
        limit: u64,
        /// What can't be removed.
        held: u64,
    },
    /// A file or folder could not be used.
    #[error("cannot {verb} {} in the cache", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

pub(crate) fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { verb, path, source }
}

/// The cache of one node.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    default_limit: u64,
    /// This boot's id; empty if unknown, and then nothing is believed to have been checked.
    boot: String,
}

/// What there is for a key.
#[derive(Debug)]
pub enum Found {
    /// Its native code, whole. Keeping the file open, or mapped, keeps the entry.
    Code(TrustedCode),
    /// None.
    Missing {
        /// What was wrong with the entry that was there and has been removed.
        damage: Option<String>,
    },
}

/// Nothing there, nothing wrong.
const MISSING: Found = Found::Missing { damage: None };

impl Cache {
    /// The entry of `key`, its content checked.
    ///
    /// # Errors
    /// [`Error::File`] if the cache can't be read. A damaged entry is removed, and is no error.
    pub fn find(&self, key: &Key) -> Result<Found, Error> {
        let path = self.keys().join(key.as_str());
        // Somebody may put another content in its place while we look at it, and does so once.
        for _ in 0..2 {
            let record = match fs::read(&path) {
                Ok(record) => record,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MISSING),
                Err(error) => return Err(failed("read", &path)(error)),
            };
            let Some(record) = Record::parse(&record, key.as_str()) else {
                return Ok(damaged(&path, "it is not what was written"));
            };
            match self.content(&record.code)? {
                Content::Whole(code) => return Ok(Found::Code(code)),
                Content::Replaced => {}
                Content::None => {
                    self.forget(key);
                    return Ok(MISSING);
                }
                Content::Damaged(damage) => {
                    self.forget(key);
                    return Ok(damage);
                }
            }
        }
        Ok(MISSING)
    }

    /// Opens the content with this digest, locked against removal and checked.
    fn content(&self, digest: &str) -> Result<Content, Error> {
        let path = self.code().join(digest);
        let code = match File::open(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::None),
            Err(error) => return Err(failed("open", &path)(error)),
        };
        // Who holds it alone removes it, which takes no time.
        rustix::fs::flock(&code, FlockOperation::LockShared)
            .map_err(|errno| failed("lock", &path)(errno.into()))?;
        let whole = self.is_whole(&code, digest);
        if !lock::names(&path, &code) {
            return Ok(Content::Replaced);
        }
        Ok(match whole {
            Ok(true) => Content::Whole(trusted(code)),
            Ok(false) => Content::Damaged(damaged(&path, "its content has changed")),
            Err(error) => Content::Damaged(damaged(&path, &error.to_string())),
        })
    }

    /// Whether `code` has the content that its name says; notes its use.
    fn is_whole(&self, code: &File, digest: &str) -> io::Result<bool> {
        let measured = medley_sys::verity::measure(code);
        if measured.is_some_and(|measured| digest::hex(&measured) != digest) {
            return Ok(false);
        }
        let used = self.used().join(digest);
        let identity = used::identity(code, &self.boot)?;
        if used::tells(&used, &identity) {
            used::note(&used, &identity);
            return Ok(true);
        }
        let whole = digest::of_tree(code)? == digest
            // Not while somebody wrote to it.
            && used::identity(code, &self.boot)? == identity;
        if whole {
            used::write(&used, &identity);
        }
        Ok(whole)
    }

    /// Forgets the entry of `key`, for which it was of no use.
    pub fn forget(&self, key: &Key) {
        remove(&self.keys().join(key.as_str()));
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The most that its entries hold together, in bytes: what its file `limit` says, so that all
    /// shims of a node mean the same.
    #[must_use]
    pub fn limit(&self) -> u64 {
        let told = fs::read_to_string(self.folder.join("limit")).ok();
        let told = told.map(|text| (parse_size(text.trim()), text));
        match told {
            Some((Some(limit), _)) => limit,
            Some((None, text)) => {
                log::warn!(
                    "{}/limit is no size such as 4G: {:?}",
                    self.folder.display(),
                    text.trim()
                );
                self.default_limit
            }
            None => self.default_limit,
        }
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    fn code(&self) -> PathBuf {
        self.folder.join("code")
    }

    fn used(&self) -> PathBuf {
        self.folder.join("used")
    }

    fn layers(&self) -> PathBuf {
        self.folder.join(LAYERS)
    }

    fn locks(&self) -> PathBuf {
        self.folder.join("locks")
    }
}

/// What there is of a content.
enum Content {
    Whole(TrustedCode),
    /// Removed, and perhaps made anew, since it was opened.
    Replaced,
    /// Removed to make room.
    None,
    Damaged(Found),
}

/// An entry's file as code that may be executed.
#[allow(unsafe_code, reason = "what is in the file will be executed")]
fn trusted(entry: File) -> TrustedCode {
    // SAFETY: only `Cache::store` writes entries, of code that a compiler of ours gave. They lie in
    // a directory that is root's alone, as `Cache::open` and `Cache::existing` check, are never
    // written to again, and are open for reading; their content has the digest that was taken when
    // they were written.
    unsafe { TrustedCode::new(entry) }
}

/// A size as people write it: `1000`, `500K`, `500M`, `2G`, `2GiB`; powers of 1024.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.strip_suffix("iB").unwrap_or(text);
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)];
    let (number, scale) = units
        .iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// Removes a damaged file.
fn damaged(path: &Path, what: &str) -> Found {
    remove(path);
    let path = path.display();
    Found::Missing {
        damage: Some(format!(
            "the cache entry {path} is damaged and was removed: {what}"
        )),
    }
}

/// Removes a file that may be gone.
fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            log::warn!("{} stays in the cache: {error}", path.display());
        }
        _ => {}
    }
}

/// What is in a folder; nothing if it can't be read.
fn list(folder: &Path) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests;
