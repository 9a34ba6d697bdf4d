//! Where a path of a guest leads, as it does for a Linux program of the container.
//!
//! Wasmtime opens paths beneath a dir, and refuses every symbolic link that is absolute or leads
//! out of it. In an image such links are common, and they mean the container's own root. So what it
//! refused is looked up here, part by part, and tried again beneath the dir of the guest in which
//! it ends. That is all that comes of it: what is tried again is refused as before if it leaves its
//! dir. This process's root is the container's.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::streams::{self, Stream};

/// Links that a path may lead through: the kernel's own limit.
const MAX_LINKS: usize = 40;

/// The length from which on the kernel takes no path.
pub(super) const PATH_MAX: usize = 4096;

/// How a directory is opened that is only gone through.
const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What a call does with the last part of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// It looks through a link.
    Followed,
    /// It means a link itself. One that a slash comes after is looked through.
    Kept,
    /// It opens a file, and makes it if it is not there.
    Created {
        /// Whether it looks through a link.
        follow: bool,
    },
    /// It changes the directory that the name is in, and never looks through a link.
    Named(Change),
}

/// What becomes of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is that of a new directory.
    MakeDir,
    /// It is that of a new link.
    MakeLink,
    /// It is given or taken by a rename.
    Move,
    /// Its directory goes.
    RemoveDir,
    /// Its file goes.
    RemoveFile,
}

impl Last {
    /// For calls that say whether a link is looked through.
    pub(crate) fn of(follow: bool) -> Self {
        if follow { Self::Followed } else { Self::Kept }
    }

    /// Whether Linux may answer a path otherwise than Wasmtime, though it leaves nothing: one that
    /// ends with a slash or in dots, of a name to be changed or of what is not looked through.
    pub(crate) fn is_odd(self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let odd = matches!(name, "" | "." | "..");
        odd && match self {
            Self::Kept => true,
            Self::Named(change) => change != Change::Move,
            Self::Followed | Self::Created { .. } => false,
        }
    }
}

/// What is at the end of a path.
#[derive(Debug)]
pub(crate) enum End {
    /// A place of the tree of files.
    At(Place),
    /// One of the process's own streams.
    Stream(Stream),
}

/// Where a path ends.
#[derive(Debug)]
pub(crate) struct Place {
    /// Absolute and without links, but for the last part if it is not looked through. It need not
    /// exist.
    pub(crate) path: PathBuf,
    /// What comes after it, for what has to be a directory: a slash, or a slash and a dot.
    pub(crate) tail: &'static str,
    /// The directory that the last part is in, if it is a name.
    pub(crate) parent: Option<OwnedFd>,
}

/// A dir that a path begins at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// Where it is, absolute; links in it are followed.
    pub(crate) path: &'a Path,
    /// The dir itself, if it is known: nothing begins where another one has its place.
    pub(crate) real: Option<&'a File>,
    /// Whether it is one that the guest was given: its part of the one tree of files that there is.
    /// From one that it opened itself, as a program does that wants to stay in it, no `..` leads out.
    pub(crate) given: bool,
}

/// Where `path` leads.
///
/// # Errors
/// `EPERM` if it leaves what it may not, and those that a Linux program has of the same call.
pub(crate) fn resolve(start: Start<'_>, path: &str, last: Last) -> io::Result<End> {
    if path.is_empty() {
        return Err(Errno::NOENT.into());
    }
    if path.starts_with('/') {
        return Err(Errno::PERM.into());
    }
    if path.len() >= PATH_MAX {
        return Err(Errno::NAMETOOLONG.into());
    }
    let mut walk = Walk::at_root()?;
    // A dir, by any link.
    let base = start.path.join(".");
    walk.go(
        parts(base.as_os_str().as_bytes(), false, false),
        Last::Followed,
    )?;
    if let (Some(real), Some(there)) = (start.real, &walk.dir) {
        let (real, there) = (rustix::fs::fstat(real)?, rustix::fs::fstat(there)?);
        if (real.st_dev, real.st_ino) != (there.st_dev, there.st_ino) {
            return Err(Errno::PERM.into());
        }
    }
    walk.links = 0;
    walk.jumped = false;
    walk.base = Some(walk.at.clone());
    walk.fenced = !start.given;
    walk.go(parts(path.as_bytes(), true, false), last)
}

/// A part of a path that is still to be walked.
struct Part {
    name: OsString,
    /// Whether it is of the path itself, and not of a link.
    own: bool,
    /// Whether it is the last one, and a slash comes after it.
    slash: bool,
}

fn parts(path: &[u8], own: bool, slash: bool) -> VecDeque<Part> {
    let mut parts: VecDeque<_> = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .map(|name| Part {
            name: OsStr::from_bytes(name).to_owned(),
            own,
            slash: false,
        })
        .collect();
    if let Some(last) = parts.back_mut() {
        last.slash = slash || path.ends_with(b"/");
    }
    parts
}

/// What has a name.
enum Found {
    Dir(OwnedFd),
    Link(OsString),
    Other,
}

/// A walk through the tree of files, which holds the directory that it is in.
struct Walk {
    at: PathBuf,
    /// `None` where there is no directory, but the way to a stream.
    dir: Option<OwnedFd>,
    links: usize,
    /// Whether an absolute link led out of everything: from there on the whole tree is meant.
    jumped: bool,
    /// Above this no part leads that is the path's own.
    base: Option<PathBuf>,
    /// Nor one of a link.
    fenced: bool,
}

impl Walk {
    fn at_root() -> io::Result<Self> {
        Ok(Self {
            at: PathBuf::from("/"),
            dir: Some(root()?),
            links: 0,
            jumped: false,
            base: None,
            fenced: false,
        })
    }

    fn go(&mut self, mut todo: VecDeque<Part>, last: Last) -> io::Result<End> {
        while let Some(part) = todo.pop_front() {
            let ends = todo.is_empty();
            if part.name == "." || part.name == ".." {
                self.dots(&part)?;
                if ends && part.name == ".." && last == Last::Named(Change::RemoveDir) {
                    return Err(Errno::NOTEMPTY.into());
                }
                continue;
            }
            let next = self.at.join(&part.name);
            if ends {
                if let Some(end) = self.unlooked(&next, &part, last)? {
                    return Ok(end);
                }
            } else if streams::of_the_reader(&next) {
                (self.at, self.dir) = (next, None);
                continue;
            }
            match self.look(&part.name) {
                Ok(Found::Link(target)) => self.follow(&target, &part, &mut todo)?,
                Ok(Found::Dir(dir)) => {
                    let parent = self.dir.replace(dir);
                    self.at = next;
                    if ends {
                        return Ok(self.place(&part, parent));
                    }
                }
                Ok(Found::Other) if !ends || part.slash => return Err(Errno::NOTDIR.into()),
                Ok(Found::Other) => return Ok(self.end(next, &part, streams::terminal)),
                Err(Errno::NOENT) if ends => return Ok(self.end(next, &part, streams::device)),
                Err(Errno::NOENT) if streams::leads_to_one(&next) => {
                    (self.at, self.dir) = (next, None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        // It ended in dots, or with a link to the root: a directory, which is open.
        Ok(End::At(Place {
            path: self.at.clone(),
            tail: "/.",
            parent: None,
        }))
    }

    /// The end of a path whose last part is not looked through, if that is so.
    fn unlooked(&mut self, next: &Path, part: &Part, last: Last) -> io::Result<Option<End>> {
        let mut kept = |tail| {
            Some(End::At(Place {
                path: next.to_owned(),
                tail,
                parent: self.dir.take(),
            }))
        };
        Ok(match (last, part.slash) {
            (Last::Kept | Last::Created { follow: false } | Last::Named(_), false) => kept(""),
            (Last::Named(Change::MakeDir | Change::RemoveDir), true) => kept(""),
            (Last::Named(Change::Move), true) => kept("/"),
            (Last::Named(change), true) => return Err(self.never(&part.name, change).into()),
            // Whether one may look there comes first.
            (Last::Created { .. }, true) => {
                return Err(match self.look(&part.name) {
                    Err(Errno::ACCESS) => Errno::ACCESS.into(),
                    _ => Errno::ISDIR.into(),
                });
            }
            _ => match streams::descriptor(next) {
                Some(_) if part.slash => return Err(Errno::NOTDIR.into()),
                Some(stream) => Some(End::Stream(stream)),
                None if streams::of_the_reader(next) => kept(""),
                None => None,
            },
        })
    }

    /// Why a name that a slash comes after is never that of a new link, or of a file that goes.
    fn never(&self, name: &OsStr, change: Change) -> Errno {
        match (self.look(name), change) {
            (Err(error), _) => error,
            (Ok(_), Change::MakeLink) => Errno::EXIST,
            (Ok(Found::Dir(_)), _) => Errno::ISDIR,
            (Ok(_), _) => Errno::NOTDIR,
        }
    }

    /// Goes through a link.
    fn follow(&mut self, target: &OsStr, part: &Part, todo: &mut VecDeque<Part>) -> io::Result<()> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        if target.as_bytes().starts_with(b"/") {
            self.at = PathBuf::from("/");
            self.dir = Some(root()?);
            self.jumped = true;
        }
        for part in parts(target.as_bytes(), false, part.slash)
            .into_iter()
            .rev()
        {
            todo.push_front(part);
        }
        Ok(())
    }

    /// Stays in the directory, or goes to the one above it.
    fn dots(&mut self, part: &Part) -> io::Result<()> {
        if part.name == "." {
            return Ok(self.enter(".")?);
        }
        let bound = !self.jumped && (part.own || self.fenced);
        if bound && self.base.as_ref() == Some(&self.at) {
            return Err(Errno::PERM.into());
        }
        self.enter("..")?;
        self.at.pop();
        Ok(())
    }

    fn enter(&mut self, name: &str) -> Result<(), Errno> {
        let dir = self.dir.as_ref().ok_or(Errno::NOENT)?;
        self.dir = Some(rustix::fs::openat(dir, name, DIR, Mode::empty())?);
        Ok(())
    }

    /// What has a name in the directory.
    fn look(&self, name: &OsStr) -> Result<Found, Errno> {
        let dir = self.dir.as_ref().ok_or(Errno::NOENT)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat(dir, name, flags, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory => Ok(Found::Dir(found)),
            FileType::Symlink => Ok(Found::Link(target(&found)?)),
            _ => Ok(Found::Other),
        }
    }

    /// The end at what is a directory, and open.
    fn place(&self, part: &Part, parent: Option<OwnedFd>) -> End {
        End::At(Place {
            path: self.at.clone(),
            tail: if part.slash { "/" } else { "" },
            parent,
        })
    }

    /// The end at what is no directory, unless a stream has this place.
    fn end(&mut self, path: PathBuf, part: &Part, stream: fn(&Path) -> Option<Stream>) -> End {
        match stream(&path) {
            Some(stream) if !part.slash => End::Stream(stream),
            _ => End::At(Place {
                path,
                tail: if part.slash { "/" } else { "" },
                parent: self.dir.take(),
            }),
        }
    }
}

fn root() -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, "/", DIR, Mode::empty())
}

/// What a link holds that is open. Those of procfs that mean an open file are no paths: Wasmtime
/// goes through none of them, and nor does this.
fn target(link: &OwnedFd) -> Result<OsString, Errno> {
    let target = rustix::fs::readlinkat(link, "", Vec::new())?;
    let target = OsStr::from_bytes(target.as_bytes());
    let in_procfs = rustix::fs::fstatfs(link)?.f_type == rustix::fs::PROC_SUPER_MAGIC;
    if in_procfs && (target.as_bytes().starts_with(b"/") || target.as_bytes().contains(&b':')) {
        return Err(Errno::PERM);
    }
    Ok(target.to_owned())
}

/// The dir, of those that a guest was given, in which a place lies deepest, by its number, and the
/// way to it from there.
pub(crate) fn beneath<'f>(
    place: &Path,
    dirs: impl IntoIterator<Item = &'f Path>,
) -> Option<(usize, String)> {
    let (number, dir) = dirs
        .into_iter()
        .enumerate()
        .filter(|(_, dir)| place.starts_with(dir))
        .max_by_key(|(_, dir)| dir.components().count())?;
    let rest = place.strip_prefix(dir).ok()?.to_str()?;
    let rest = if rest.is_empty() { "." } else { rest };
    Some((number, rest.to_owned()))
}

#[cfg(test)]
mod tests;
