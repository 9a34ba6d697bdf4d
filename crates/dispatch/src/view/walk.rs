//! One walk of a path through the view.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat};
use rustix::io::Errno;

use super::lookup::{LookupError, kind_of};
use super::mounts::{Mounted, Mounts, What};

/// As many symlinks as the kernel follows in one path (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// A symlink that was followed.
#[derive(Debug)]
struct Link {
    path: PathBuf,
    target: PathBuf,
}

/// A name yet to be walked, and the symlink that it comes from.
#[derive(Debug)]
struct Step {
    name: OsString,
    link: Option<Rc<Link>>,
}

/// A directory on the way.
#[derive(Debug)]
struct Level<'v> {
    dir: Dir<'v>,
    /// The mount in which it lies.
    mount: Option<usize>,
}

#[derive(Debug)]
pub(super) enum Dir<'v> {
    Owned(Rc<OwnedFd>),
    Borrowed(BorrowedFd<'v>),
    /// Only mount points are in it.
    Virtual,
}

#[derive(Debug)]
pub(super) enum End<'v> {
    Directory,
    /// A regular file of that name in that directory.
    Named(Dir<'v>, OsString),
    /// A path of the host.
    Host(&'v Path),
}

/// One walk of a path.
#[derive(Debug)]
pub(super) struct Walk<'v> {
    mounts: &'v Mounts<'v>,
    levels: Vec<Level<'v>>,
    /// Where the walk is, symlinks resolved.
    here: PathBuf,
    pending: VecDeque<Step>,
    links: u32,
}

impl<'v> Walk<'v> {
    /// A walk of `path` from the container's `/`.
    pub(super) fn new(mounts: &'v Mounts<'v>, path: &Path) -> Self {
        let mut walk = Self {
            mounts,
            levels: Vec::new(),
            here: PathBuf::from("/"),
            pending: VecDeque::new(),
            links: 0,
        };
        walk.push_path(path, None);
        walk
    }

    /// Puts the names of `path` before those that wait.
    fn push_path(&mut self, path: &Path, link: Option<Rc<Link>>) {
        for component in path.components().rev() {
            let name = match component {
                Component::Normal(name) => name.to_owned(),
                Component::ParentDir => OsString::from(".."),
                Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            };
            self.pending.push_front(Step {
                name,
                link: link.clone(),
            });
        }
    }

    /// Walks to the end. On an error, `here` and `pending` tell how far it came.
    pub(super) fn run(&mut self) -> Result<End<'v>, LookupError> {
        while let Some(step) = self.pending.pop_front() {
            if step.name == ".." {
                self.levels.pop();
                self.here.pop();
                continue;
            }
            if let Some(end) = self.step(&step)? {
                return Ok(end);
            }
        }
        Ok(End::Directory)
    }

    /// Where the walk ends, or where what it looked for will be once it is created.
    pub(super) fn place(mut self) -> PathBuf {
        match self.run() {
            Ok(_) => self.here,
            // It stopped at a name that is missing; the rest are plain names.
            Err(_) => {
                self.here
                    .extend(self.pending.into_iter().map(|step| step.name));
                self.here
            }
        }
    }

    fn step(&mut self, step: &Step) -> Result<Option<End<'v>>, LookupError> {
        let above = self.here.clone();
        self.here.push(&step.name);
        let from = self.levels.last().and_then(|level| level.mount);

        if let Some(n) = self.mounts.mounted(&self.here, from) {
            let dir = match &self.mounts.list[n].what {
                What::Directory(fd) => Dir::Borrowed(fd.as_fd()),
                What::Unseen(_) => Dir::Virtual,
                What::File(path) => {
                    self.must_be_last()?;
                    return Ok(Some(End::Host(path)));
                }
            };
            self.levels.push(Level {
                dir,
                mount: Some(n),
            });
            return Ok(None);
        }

        let parent = match self.levels.last() {
            None => Dir::Borrowed(self.mounts.rootfs.dir()),
            Some(level) => level.dir.share(),
        };
        let fd = match open_beneath(parent.share(), &step.name, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if self.mounts.leads_to_mount(&self.here, from) => {
                self.levels.push(Level {
                    dir: Dir::Virtual,
                    mount: from,
                });
                return Ok(None);
            }
            Err(Errno::NOENT) => return Err(self.absent(step, from)),
            Err(errno) => return Err(errno.into()),
        };
        match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::Directory => {
                self.levels.push(Level {
                    dir: Dir::Owned(Rc::new(fd)),
                    mount: from,
                });
                Ok(None)
            }
            FileType::Symlink => {
                let target = readlinkat(&fd, c"", Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                let path = std::mem::replace(&mut self.here, above);
                self.links += 1;
                if self.links > MAX_LINKS {
                    return Err(LookupError::Loop { link: path });
                }
                if target.is_absolute() {
                    self.levels.clear();
                    self.here = PathBuf::from("/");
                }
                let link = Rc::new(Link { path, target });
                self.push_path(&link.target, Some(Rc::clone(&link)));
                Ok(None)
            }
            FileType::RegularFile => {
                self.must_be_last()?;
                Ok(Some(End::Named(parent, step.name.clone())))
            }
            _ => {
                self.must_be_last()?;
                kind_of(fd.as_fd()).map(|()| None)
            }
        }
    }

    fn must_be_last(&self) -> Result<(), LookupError> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(LookupError::NotADirectory {
                at: self.here.clone(),
            })
        }
    }

    /// Why `step` leads nowhere: for want of a look, for a symlink, or because it is not there.
    fn absent(&self, step: &Step, from: Option<usize>) -> LookupError {
        let mount = from.map(|n| &self.mounts.list[n]);
        if let Some(Mounted {
            at,
            what: What::Unseen(kind),
        }) = mount
        {
            return LookupError::Unseen {
                mount: at.clone(),
                kind: kind.clone(),
            };
        }
        match &step.link {
            Some(link) => LookupError::Dangling {
                link: link.path.clone(),
                target: link.target.clone(),
            },
            None => LookupError::Absent,
        }
    }
}

impl Dir<'_> {
    fn share(&self) -> Self {
        match self {
            Self::Owned(fd) => Self::Owned(Rc::clone(fd)),
            Self::Borrowed(fd) => Self::Borrowed(*fd),
            Self::Virtual => Self::Virtual,
        }
    }
}

/// Opens `name`, which has no `/`, in `dir`.
pub(super) fn open_beneath(dir: Dir<'_>, name: &OsStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let dir = match &dir {
        Dir::Owned(fd) => fd.as_fd(),
        Dir::Borrowed(fd) => *fd,
        Dir::Virtual => return Err(Errno::NOENT),
    };
    openat2(dir, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}
