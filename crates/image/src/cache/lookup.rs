//! Finds an entry, and checks its content.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use medley_engine::TrustedCode;
use rustix::fs::FlockOperation;

use super::error::Error;
use super::files::remove;
use super::key::{Key, Record};
use super::open::Cache;
use super::{last_use, lock};
use crate::digest;

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
        // Another process may put another content in its place while we look at it, and does so once.
        for _ in 0..2 {
            let record = match fs::read(&path) {
                Ok(record) => record,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(MISSING),
                Err(error) => return Err(Error::file("read", &path)(error)),
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
    pub(super) fn content(&self, digest: &str) -> Result<Content, Error> {
        let path = self.code().join(digest);
        let code = match File::open(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::None),
            Err(error) => return Err(Error::file("open", &path)(error)),
        };
        // A process that holds it alone removes it, which takes no time.
        rustix::fs::flock(&code, FlockOperation::LockShared)
            .map_err(|errno| Error::file("lock", &path)(errno.into()))?;
        let whole = self.is_whole(&code, digest);
        if !lock::names(&path, &code) {
            return Ok(Content::Replaced);
        }
        Ok(match whole {
            #[allow(unsafe_code, reason = "what is in the file will be executed")]
            // SAFETY: it is an entry, and its content has the digest of what was stored.
            Ok(true) => Content::Whole(unsafe { trusted(code) }),
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
        let identity = last_use::identity(code, &self.boot)?;
        if last_use::tells(&used, &identity) {
            last_use::note(&used, &identity);
            return Ok(true);
        }
        let whole = digest::of_tree(code)? == digest
            // Not while it was written to.
            && last_use::identity(code, &self.boot)? == identity;
        if whole {
            last_use::write(&used, &identity);
        }
        Ok(whole)
    }

    /// Forgets the entry of `key`, for which it was of no use.
    pub fn forget(&self, key: &Key) {
        remove(&self.keys().join(key.as_str()));
    }
}

/// What there is of a content.
pub(super) enum Content {
    Whole(TrustedCode),
    /// Removed, and perhaps made anew, since it was opened.
    Replaced,
    /// Removed to make room.
    None,
    Damaged(Found),
}

/// An entry's file as code that may be executed.
///
/// # Safety
/// It is the file of an entry of a [`Cache`], and its content is what was stored there.
#[allow(unsafe_code, reason = "what is in the file will be executed")]
pub(super) unsafe fn trusted(entry: File) -> TrustedCode {
    // SAFETY: only `Cache::store` writes entries, of code that a compiler of ours gave. They lie in
    // a directory that is root's alone, as `Cache::open` and `Cache::existing` check, are never
    // written to again, and are open for reading; their content has the digest that was taken when
    // they were written.
    unsafe { TrustedCode::new(entry) }
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
