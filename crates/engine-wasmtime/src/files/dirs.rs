//! The dirs that a guest has open, and where a path leads from one of them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medley_engine::Preopen;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::resolve::{self, Change, End, Last, Place, Start};
use super::streams::Stream;

/// The longest path by which a dir is remembered that a guest has opened, step by step.
const MAX_PATH: usize = 16 * resolve::PATH_MAX;

/// As Wasmtime says it of what leaves its dir.
pub(super) const DENIED: Errno = Errno::PERM;

/// A dir of a guest.
#[derive(Debug, Clone)]
pub(super) struct PreopenDir {
    /// What the guest calls it by.
    pub(super) handle: u32,
    pub(super) path: PathBuf,
    pub(super) read_only: bool,
}

impl PreopenDir {
    /// The one that a guest finds open by this name: of two the later one counts.
    pub(super) fn named(name: &str, handle: u32, preopens: &[Preopen]) -> Option<Self> {
        let named = preopens.iter().rev().find(|known| known.name == name)?;
        Some(Self {
            handle,
            path: PathBuf::from(&named.path),
            read_only: named.read_only,
        })
    }
}

/// Where a call is to be tried again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// Beneath the dir of this handle.
    Beneath(u32, String),
    /// It is no file, but one of the process's streams.
    Stream(Stream),
}

/// Where the dirs are that a guest has open.
#[derive(Debug, Default)]
pub(super) struct PreopenDirs {
    /// Those that it was given.
    pub(super) given: Vec<PreopenDir>,
    /// What it has opened itself, files among it, by handle.
    pub(super) opened: HashMap<u32, PathBuf>,
    /// The one of these that is asked about, if it is at hand.
    pub(super) real: Option<Arc<File>>,
}

impl PreopenDirs {
    pub(super) fn start(&self, handle: u32) -> io::Result<Start<'_>> {
        let real = self.real.as_deref();
        if let Some(path) = self.opened.get(&handle) {
            return Ok(Start {
                path,
                real,
                given: false,
            });
        }
        let mut given = self.given.iter();
        let given = given.find(|dir| dir.handle == handle).ok_or(DENIED)?;
        Ok(Start {
            path: &given.path,
            real,
            given: true,
        })
    }

    /// Keeps in mind what was opened.
    pub(super) fn open(&mut self, dir: u32, path: &str, handle: u32) {
        match self.path_of(dir, path) {
            Some(path) => self.opened.insert(handle, path),
            None => self.opened.remove(&handle),
        };
    }

    /// Where something is that was opened, unless that takes too long to say.
    pub(super) fn path_of(&self, dir: u32, path: &str) -> Option<PathBuf> {
        let path = self.start(dir).ok()?.path.join(path);
        // Without the dots and slashes that say nothing.
        let path: PathBuf = path.components().collect();
        (path.as_os_str().len() <= MAX_PATH).then_some(path)
    }

    /// Where a call on `path` of a dir, which was refused, is to be tried again.
    pub(super) fn elsewhere(&self, dir: u32, path: &str, last: Last) -> io::Result<Elsewhere> {
        match resolve::resolve(self.start(dir)?, path, last)? {
            End::Stream(stream) => Ok(Elsewhere::Stream(stream)),
            End::At(place) => {
                let (dir, rest) = self.beneath(&place.path).ok_or(DENIED)?;
                Ok(Elsewhere::Beneath(dir.handle, rest + place.tail))
            }
        }
    }

    /// The dir of those given in which a place lies deepest, and the way to it.
    fn beneath(&self, place: &Path) -> Option<(&PreopenDir, String)> {
        let paths = self.given.iter().map(|dir| dir.path.as_path());
        let (number, rest) = resolve::beneath(place, paths)?;
        Some((&self.given[number], rest))
    }

    /// A place in one of the dirs given, and whether that may only be read.
    fn place(&self, dir: u32, path: &str, last: Last) -> io::Result<(Place, bool)> {
        let End::At(place) = resolve::resolve(self.start(dir)?, path, last)? else {
            return Err(Errno::INVAL.into());
        };
        let (dir, _) = self.beneath(&place.path).ok_or(DENIED)?;
        let read_only = dir.read_only;
        Ok((place, read_only))
    }

    /// What a symbolic link holds, which Wasmtime does not tell of one that is absolute.
    pub(super) fn target(&self, dir: u32, path: &str) -> io::Result<String> {
        let (place, _) = self.place(dir, path, Last::Kept)?;
        let (parent, name) = place.name().ok_or(Errno::INVAL)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        let target = match rustix::fs::readlinkat(link, "", Vec::new()) {
            // What is no link.
            Err(Errno::NOENT) => Err(Errno::INVAL),
            told => told,
        };
        Ok(target?.into_string().map_err(|_| Errno::ILSEQ)?)
    }

    /// Makes a symbolic link to an absolute path, which Wasmtime does not.
    pub(super) fn link(&self, target: &str, dir: u32, path: &str) -> io::Result<()> {
        if target.len() >= resolve::PATH_MAX {
            return Err(Errno::NAMETOOLONG.into());
        }
        if !self.start(dir)?.given {
            return Err(DENIED.into());
        }
        let (place, read_only) = self.place(dir, path, Last::Named(Change::MakeLink))?;
        let (parent, name) = place.name().ok_or(Errno::EXIST)?;
        if read_only {
            return Err(DENIED.into());
        }
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }
}

impl Place {
    /// The directory that it is in, and its name there.
    fn name(&self) -> Option<(&OwnedFd, &OsStr)> {
        self.parent.as_ref().zip(self.path.file_name())
    }
}
