//! The container's file system as its init will see it: the rootfs with the spec's mounts over it.
//!
//! A path is walked one name at a time, each opened beneath the directory before it without
//! following anything; symlinks are read and walked here, and `..` goes back to the descriptor
//! that was there before. So neither a symlink, nor `..`, nor another container that renames
//! directories of a shared volume meanwhile can lead out.

mod walk;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use self::walk::{End, Walk, open_beneath};
use crate::error::Error;
use crate::file_kind::FileKind;
use crate::rootfs::{READ, Rootfs};

/// The kernel's `PATH_MAX` in bytes, its NUL included.
const LONGEST_PATH: usize = 4096;

/// The rootfs and what is mounted over it.
#[derive(Debug)]
pub(crate) struct View<'r> {
    rootfs: &'r Rootfs,
    mounts: Vec<Mounted>,
}

/// A mount, at its place.
#[derive(Debug)]
struct Mounted {
    /// Destination with symlinks resolved.
    at: PathBuf,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A directory of the host.
    Directory(OwnedFd),
    /// A file of the host, which may be a socket or a device too.
    File(PathBuf),
    /// Something of this type that does not exist before the container does.
    Unseen(String),
}

/// A regular file, open for reading.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) file: File,
    /// Permission bits.
    pub(crate) mode: u32,
}

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

impl<'r> View<'r> {
    /// The rootfs with `mounts` over it, made in their order.
    pub(crate) fn new(rootfs: &'r Rootfs, mounts: &[Mount]) -> Self {
        let mut view = Self {
            rootfs,
            mounts: Vec::with_capacity(mounts.len()),
        };
        for mount in mounts {
            if let Some(what) = What::of(mount) {
                let at = view.place(mount.destination());
                view.mounts.push(Mounted { at, what });
            }
        }
        view
    }

    /// Opens the regular file to which `path`, taken from the container's `/`, leads.
    pub(crate) fn file(&self, path: &Path) -> Result<Found, LookupError> {
        if path.as_os_str().len() >= LONGEST_PATH {
            return Err(Errno::NAMETOOLONG.into());
        }
        match Walk::new(self, path).run()? {
            End::Directory => Err(LookupError::NotAFile(FileKind::Directory)),
            End::Named(parent, name) => {
                let file = open_beneath(parent, &name, READ | OFlags::NOFOLLOW)?;
                regular(file)
            }
            End::Host(path) => {
                // A device or a FIFO is looked at before it is opened: opening can be felt.
                let seen = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                kind_of(seen.as_fd())?;
                regular(openat(CWD, path, READ, Mode::empty())?)
            }
        }
    }

    /// Where a mount at `destination` lands: symlinks on the way resolved, as the runtime does it,
    /// and what is missing taken as it will be created.
    fn place(&self, destination: &Path) -> PathBuf {
        Walk::new(self, destination).place()
    }

    /// The mount that lies at `path` for someone who comes from within mount `from`: the last one
    /// made there, unless a later mount above hides it.
    fn mounted(&self, path: &Path, from: Option<usize>) -> Option<usize> {
        (0..self.mounts.len())
            .rev()
            .find(|&n| Some(n) > from && self.mounts[n].at == path)
    }

    /// Whether a mount lies somewhere below `path`, which therefore is or becomes a directory.
    fn leads_to_mount(&self, path: &Path, from: Option<usize>) -> bool {
        self.mounts
            .iter()
            .enumerate()
            .any(|(n, mount)| Some(n) > from && mount.at != path && mount.at.starts_with(path))
    }
}

impl What {
    /// What `mount` puts at its destination; `None` if what was there stays to be seen.
    fn of(mount: &Mount) -> Option<Self> {
        let options = mount.options().as_deref().unwrap_or_default();
        let has = |name: &str| options.iter().any(|option| option == name);
        let kind = mount.typ().as_deref().unwrap_or_default();
        if has("remount") || mount.destination() == Path::new("/") {
            return None;
        }
        if kind == "bind" || has("bind") || has("rbind") {
            // runc takes a relative source from the bundle, of which nothing is known here.
            let source = mount
                .source()
                .as_deref()
                .filter(|source| source.is_absolute());
            return Some(
                source
                    .and_then(Self::bind)
                    .unwrap_or(Self::Unseen("bind".to_owned())),
            );
        }
        // With `tmpcopyup` the image's files are copied into it.
        let copied = kind == "tmpfs" && has("tmpcopyup");
        (!copied).then(|| Self::Unseen(kind.to_owned()))
    }

    fn bind(source: &Path) -> Option<Self> {
        let fd = openat(CWD, source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let stat = fstat(&fd).ok()?;
        if FileType::from_raw_mode(stat.st_mode).is_dir() {
            Some(Self::Directory(fd))
        } else {
            Some(Self::File(source.to_owned()))
        }
    }
}

/// Fails unless `fd` is a regular file.
fn kind_of(fd: BorrowedFd<'_>) -> Result<(), LookupError> {
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

/// The file behind `fd`, which may have been exchanged since it was looked at.
fn regular(fd: OwnedFd) -> Result<Found, LookupError> {
    kind_of(fd.as_fd())?;
    let mode = fstat(&fd)?.st_mode & 0o7777;
    Ok(Found {
        file: File::from(fd),
        mode,
    })
}
