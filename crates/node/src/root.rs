//! The node's file system below one directory; no path leads out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use medley_sys::in_root;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, Stat, fstat, openat, readlinkat,
    statat,
};
use rustix::io::Errno;

use crate::error::Error;

/// As many symlinks as the kernel follows in one path (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// Largest configuration that is read, in bytes.
const MAX_SIZE: u64 = 16 << 20;

/// A regular file is read without waiting for another process.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const OPEN_DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// A node's root: `/`, or where the node's is mounted.
#[derive(Debug)]
pub(crate) struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

/// What lies under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A regular file.
    File { size: u64 },
    /// A symlink, and what it says.
    Link(PathBuf),
    /// Anything else.
    Other,
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let dir = openat(CWD, path, OPEN_DIR, Mode::empty()).map_err(Error::io("open", path))?;
        Ok(Self {
            dir,
            path: path.to_owned(),
        })
    }

    /// Where it is, as the caller said.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path of the node as it is seen from here.
    pub(crate) fn shown(&self, path: &Path) -> PathBuf {
        let relative = path.strip_prefix("/").unwrap_or(path);
        if self.path == Path::new("/") {
            path.to_owned()
        } else {
            self.path.join(relative)
        }
    }

    /// Whether it is the directory at `path`, which is looked up from our own root.
    pub(crate) fn is(&self, path: &str) -> bool {
        let one = fstat(&self.dir);
        let other = statat(CWD, path, AtFlags::empty());
        matches!((one, other), (Ok(one), Ok(other)) if id(&one) == id(&other))
    }

    /// Holds off every other install of this root, until what is returned is dropped. It is a lock
    /// on the root directory itself, so that nothing is written, and one for all who see the root.
    pub(crate) fn lock(&self) -> Result<OwnedFd, Error> {
        let fd = openat(&self.dir, ".", OPEN_DIR, Mode::empty());
        let fd = fd.map_err(Error::io("open", &self.path))?;
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(fd),
            Err(Errno::WOULDBLOCK) => Err(Error::Busy {
                root: self.path.clone(),
            }),
            Err(errno) => Err(Error::io("lock", &self.path)(errno)),
        }
    }

    /// Opens what `path` leads to, every symlink resolved with this root as `/`.
    pub(crate) fn at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        in_root::open(&self.dir, path, flags)
    }

    /// The directory `path`.
    pub(crate) fn open_dir(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.at(path, OPEN_DIR)
    }

    pub(crate) fn is_dir(&self, path: &str) -> bool {
        self.open_dir(Path::new(path)).is_ok()
    }

    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path.as_ref(), OFlags::PATH | OFlags::CLOEXEC)
            .is_ok()
    }

    /// Where `path` lies once the symlinks that it ends with are followed: what is written there is
    /// written through them, as an editor would.
    pub(crate) fn real(&self, path: &Path) -> Result<PathBuf, Error> {
        let mut here = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.entry(&here)? {
                Some(Entry::Link(target)) => {
                    let parent = here.parent().unwrap_or(Path::new("/"));
                    here = parent.join(target);
                }
                _ => return Ok(here),
            }
        }
        Err(Error::io("follow", &self.shown(path))(Errno::LOOP))
    }

    /// What lies at `path` itself; `None` if nothing does.
    pub(crate) fn entry(&self, path: &Path) -> Result<Option<Entry>, Error> {
        let failed = Error::io("look at", &self.shown(path));
        let (parent, name) = split(path);
        let dir = match self.open_dir(parent) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        match entry_of(&dir, name) {
            Ok(entry) => Ok(entry),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Opens the regular file at `path`; `None` if nothing is there.
    pub(crate) fn open_file(&self, path: &Path) -> Result<Option<File>, Error> {
        let shown = self.shown(path);
        let seen = match self.at(path, OFlags::PATH | OFlags::CLOEXEC) {
            Ok(seen) => seen,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Error::io("open", &shown)(errno)),
        };
        // A device or a FIFO notices nothing, as it is not opened.
        must_be_regular(&seen, &shown)?;
        let file = self.at(path, READ).map_err(Error::io("open", &shown))?;
        must_be_regular(&file, &shown)?;
        Ok(Some(File::from(file)))
    }

    /// Reads a configuration; `None` if nothing is there.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, Error> {
        let Some(file) = self.open_file(path)? else {
            return Ok(None);
        };
        let shown = self.shown(path);
        let mut bytes = Vec::new();
        file.take(MAX_SIZE + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::std("read", &shown))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_SIZE) {
            return Err(Error::TooLarge {
                path: shown,
                limit: MAX_SIZE,
            });
        }
        Ok(Some(bytes))
    }

    /// The names in a directory, sorted; none if it is not there.
    pub(crate) fn names(&self, path: &Path) -> Result<Vec<OsString>, Error> {
        let shown = self.shown(path);
        let dir = match self.open_dir(path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
            Err(errno) => return Err(Error::io("list", &shown)(errno)),
        };
        let mut names = names_of(&dir).map_err(Error::io("list", &shown))?;
        names.sort();
        Ok(names)
    }
}

fn must_be_regular(fd: &OwnedFd, shown: &Path) -> Result<(), Error> {
    let stat = fstat(fd).map_err(Error::io("look at", shown))?;
    if FileType::from_raw_mode(stat.st_mode).is_file() {
        Ok(())
    } else {
        Err(Error::NotAFile {
            path: shown.to_owned(),
        })
    }
}

/// Device and inode: what a file is under any name.
pub(crate) fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

/// A path's directory and its last name.
pub(crate) fn split(path: &Path) -> (&Path, &OsStr) {
    (
        path.parent().unwrap_or(Path::new("/")),
        path.file_name().unwrap_or(OsStr::new(".")),
    )
}

/// What `name` is in `dir`, no symlink followed.
pub(crate) fn entry_of(dir: impl AsFd, name: &OsStr) -> Result<Option<Entry>, Errno> {
    let stat = match statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Entry::File {
            size: u64::try_from(stat.st_size).unwrap_or_default(),
        },
        FileType::Symlink => {
            let target = readlinkat(&dir, name, Vec::new())?;
            Entry::Link(OsString::from_vec(target.into_bytes()).into())
        }
        _ => Entry::Other,
    }))
}

/// The names in `dir`.
pub(crate) fn names_of(dir: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::{Entry, Root};
    use std::os::unix::fs::symlink;
    use std::path::Path;

    #[test]
    fn a_file_is_looked_up_as_the_node_would() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/a")).unwrap();
        std::fs::write(dir.path().join("etc/a/file"), "inside").unwrap();
        symlink("/etc/a", dir.path().join("etc/b")).unwrap();
        symlink("../../../../etc/a/file", dir.path().join("etc/a/link")).unwrap();
        symlink("loop", dir.path().join("etc/loop")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in [
            "/etc/a/file",
            "/etc/b/file",
            "/etc/b/link",
            "/etc/b/../../../etc/a/file",
        ] {
            let text = root.read(Path::new(path)).unwrap();
            assert_eq!(text.as_deref(), Some(&b"inside"[..]), "{path}");
        }
        assert_eq!(root.read(Path::new("/etc/none")).unwrap(), None);
        assert_eq!(root.read(Path::new("/etc/a/file/none")).unwrap(), None);
        assert!(root.read(Path::new("/etc/loop")).is_err());
        assert!(root.real(Path::new("/etc/loop")).is_err());
        assert!(root.read(Path::new("/etc/a")).is_err(), "a directory");
        let link = root.entry(Path::new("/etc/b")).unwrap();
        assert_eq!(link, Some(Entry::Link("/etc/a".into())));
        assert!(root.is(&dir.path().to_string_lossy()));
        assert!(!root.is("/"));
    }
}
