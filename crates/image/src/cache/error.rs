//! Why the cache can't be used.

#![allow(
    missing_docs,
    reason = "the sentence of an error says what its fields are"
)]

use std::io;
use std::path::{Path, PathBuf};

use super::limits::MAX_MODULE;

/// Why the cache can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The module could not be read.
    #[error("cannot read the module")]
    Module(#[source] io::Error),
    /// Modules of this size are not compiled.
    #[error("the module has {size} bytes; the most that is compiled is {MAX_MODULE}")]
    TooLarge { size: u64 },
    /// It is root's, and this process is another user's.
    #[error("the cache {} is root's alone: run this as root", dir.display())]
    NotRoot { dir: PathBuf },
    /// Another user could write into it.
    #[error(
        "the cache {} is not safe: {} belongs to user {owner} with mode {mode:04o}, and {expected}",
        dir.display(), path.display()
    )]
    NotOurs {
        /// The cache's directory.
        dir: PathBuf,
        /// The directory that is wrong: itself, or one above.
        path: PathBuf,
        owner: u32,
        mode: u32,
        /// What it must be.
        expected: &'static str,
    },
    /// Everything else in it is in use.
    #[error(
        "the cache {} has no room for {size} bytes: its limit is {limit}, and {held} are in use; \
         write a higher one to {}/limit, such as 4G",
        dir.display(), dir.display()
    )]
    NoRoom {
        /// The cache's directory.
        dir: PathBuf,
        /// What was to be kept.
        size: u64,
        /// The cache's limit.
        limit: u64,
        /// What can't be removed.
        held: u64,
    },
    /// A file or directory could not be used.
    #[error("cannot {verb} {} in the cache", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
}

impl Error {
    /// Of a file at `path` in the cache `dir`: to a user who may not, it says who may.
    pub(super) fn unless_root(
        dir: &Path,
        verb: &'static str,
        path: &Path,
        source: io::Error,
    ) -> Self {
        let denied = source.kind() == io::ErrorKind::PermissionDenied;
        if denied && !rustix::process::geteuid().is_root() {
            let dir = dir.to_owned();
            return Self::NotRoot { dir };
        }
        Self::file(verb, path)(source)
    }

    /// Of a file at `path` that could not be used, as `verb` says.
    pub(crate) fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { verb, path, source }
    }
}
