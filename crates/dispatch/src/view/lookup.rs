//! Why a path leads to no regular file.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, fstat};
use rustix::io::Errno;

use crate::error::Error;
use crate::file_kind::FileKind;

/// Why a path leads to no regular file.
#[derive(Debug)]
pub(crate) enum LookupError {
    Absent,
    Dangling { link: PathBuf, target: PathBuf },
    Loop { link: PathBuf },
    NotADirectory { at: PathBuf },
    NotAFile(FileKind),
    Unseen { mount: PathBuf, kind: String },
    Io(io::Error),
}

impl LookupError {
    /// The error to report for `path`; none if it is only absent.
    pub(crate) fn into_error(self, path: &Path) -> Option<Error> {
        let path = path.to_owned();
        Some(match self {
            Self::Absent => return None,
            Self::Dangling { link, target } => Error::DanglingLink { path, link, target },
            Self::Loop { link } => Error::LinkLoop { path, link },
            Self::NotADirectory { at } => Error::NotADirectory { path, at },
            Self::NotAFile(found) => Error::NotAFile { path, found },
            Self::Unseen { mount, kind } => Error::Unseen { path, mount, kind },
            Self::Io(source) => Error::Io { path, source },
        })
    }
}

impl From<Errno> for LookupError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Fails unless `fd` is a regular file.
pub(super) fn kind_of(fd: BorrowedFd<'_>) -> Result<(), LookupError> {
    Err(LookupError::NotAFile(
        match FileType::from_raw_mode(fstat(fd)?.st_mode) {
            FileType::RegularFile => return Ok(()),
            FileType::Directory => FileKind::Directory,
            FileType::Fifo => FileKind::Fifo,
            FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
            FileType::Socket => FileKind::Socket,
            _ => FileKind::Other,
        },
    ))
}
