//! The image that a container's mounts lie on: where a path leads in it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use medley_sys::in_root;
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::error::Error;

/// As many symlinks as the kernel follows in one path.
const MAX_LINKS: usize = 40;

/// The rootfs of a container, as its mounts will find it one after the other.
pub(super) struct Image {
    root: OwnedFd,
    /// Where something is mounted by then: what the image has there cannot be seen.
    pub(super) covered: Vec<PathBuf>,
}

impl Image {
    pub(super) fn open(rootfs: &Path) -> Result<Self, Error> {
        let root = in_root::root(rootfs).map_err(|errno| Error::Look {
            path: "/".into(),
            source: errno.into(),
        })?;
        Ok(Self {
            root,
            covered: Vec::new(),
        })
    }

    fn is_covered(&self, path: &Path) -> bool {
        self.covered.iter().any(|at| path.starts_with(at))
    }

    /// What the image has at `path`, which lies behind no symlink; none where something is mounted.
    pub(super) fn look(&self, path: &Path) -> Result<Option<(OwnedFd, Stat)>, Error> {
        if self.is_covered(path) {
            return Ok(None);
        }
        let looked = in_root::open(&self.root, path, OFlags::PATH | OFlags::NOFOLLOW)
            .and_then(|fd| rustix::fs::fstat(&fd).map(|stat| (fd, stat)));
        match looked {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(Error::Look {
                path: path.to_owned(),
                source: errno.into(),
            }),
        }
    }

    pub(super) fn has_dir_or_nothing(&self, path: &Path) -> Result<(), Error> {
        let what = match self.look(path)? {
            None => return Ok(()),
            Some((_, stat)) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => return Ok(()),
                FileType::Symlink => "a symlink",
                _ => "a file",
            },
        };
        Err(Error::NoDir {
            path: path.to_owned(),
            what,
        })
    }

    /// `path` without symlinks and `..`, as a process in the container would go. What is not there
    /// is taken for directories to be made.
    pub(super) fn resolve(&self, path: &Path) -> Result<PathBuf, Error> {
        let mut here = PathBuf::from("/");
        let mut links = 0;
        let mut rest: VecDeque<OsString> = words(path).collect();
        while let Some(word) = rest.pop_front() {
            if word == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&word);
            let link = match self.look(&next)? {
                Some((fd, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    fd
                }
                _ => {
                    here = next;
                    continue;
                }
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(Error::Loop {
                    path: path.to_owned(),
                });
            }
            let target = rustix::fs::readlinkat(&link, "", Vec::new());
            let target = target.map_err(|errno| Error::Look {
                path: next,
                source: errno.into(),
            })?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            for word in words(&target).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(word);
            }
        }
        Ok(here)
    }

    /// As [`Self::resolve`], but a symlink of the last name is not followed.
    pub(super) fn resolve_dir_of(&self, path: &Path) -> Result<PathBuf, Error> {
        match (path.parent(), path.file_name()) {
            (Some(dir), Some(name)) => Ok(self.resolve(dir)?.join(name)),
            _ => self.resolve(path),
        }
    }
}

/// The names in a path, with `..` among them.
fn words(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
