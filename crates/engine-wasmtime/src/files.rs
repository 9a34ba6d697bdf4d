//! A guest's files, as a Linux program of its container finds them: with the links of its image, and
//! the streams of its process among them.

mod component;
mod component_0_3;
mod module;
mod opened;
mod paths;
mod preview1;
mod resolve;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

pub(crate) use opened::{Files, Opened};
pub(crate) use preview1::Preview1;
use resolve::{End, Start, Stream};

/// Stands for the files of components where they are linked.
pub(crate) struct WasiFiles;

/// A folder of a guest.
#[derive(Debug, Clone)]
struct Folder {
    /// What the guest calls it by.
    handle: u32,
    path: PathBuf,
    read_only: bool,
}

/// Where a call is to be tried again.
#[derive(Debug, PartialEq, Eq)]
enum Elsewhere {
    /// Beneath the folder of this handle.
    Beneath(u32, String),
    /// It is no file, but one of the process's streams.
    Stream(Stream),
}

/// Where the folders are that a guest has open.
#[derive(Debug, Default)]
struct Folders {
    /// Those that it was given.
    given: Vec<Folder>,
    /// What it has opened itself, files among it, by handle.
    opened: HashMap<u32, PathBuf>,
}

impl Folders {
    fn start(&self, handle: u32) -> Option<Start<'_>> {
        // What was opened counts: a guest may give the handle of what it was given to another.
        if let Some(path) = self.opened.get(&handle) {
            return Some(Start { path, given: false });
        }
        let given = self.given.iter().find(|folder| folder.handle == handle)?;
        Some(Start {
            path: &given.path,
            given: true,
        })
    }

    /// Keeps in mind what was opened.
    fn open(&mut self, folder: u32, path: &str, handle: u32) {
        if let Some(start) = self.start(folder) {
            let path = start.path.join(path);
            self.opened.insert(handle, path);
        }
    }

    /// Where a call on `path` of a folder, which was refused, is to be tried again.
    fn elsewhere(&self, folder: u32, path: &str, follow: bool) -> Option<Elsewhere> {
        match resolve::resolve(self.start(folder)?, path, follow).ok()? {
            End::Stream(stream) => Some(Elsewhere::Stream(stream)),
            End::At(place) => {
                let (folder, mut rest) = self.beneath(&place)?;
                if path.ends_with('/') {
                    rest.push('/');
                }
                Some(Elsewhere::Beneath(folder.handle, rest))
            }
        }
    }

    /// As [`Self::elsewhere`], for calls that need a file.
    fn beneath_another(&self, folder: u32, path: &str, follow: bool) -> Option<(u32, String)> {
        match self.elsewhere(folder, path, follow)? {
            Elsewhere::Beneath(folder, path) => Some((folder, path)),
            Elsewhere::Stream(_) => None,
        }
    }

    /// The folder of those given in which a place lies deepest, and the way to it.
    fn beneath(&self, place: &Path) -> Option<(&Folder, String)> {
        let given: Vec<&Folder> = self
            .given
            .iter()
            .filter(|folder| !self.opened.contains_key(&folder.handle))
            .collect();
        let paths = given.iter().map(|folder| folder.path.as_path());
        let (number, rest) = resolve::beneath(place, paths)?;
        Some((given[number], rest))
    }

    /// The stream that a path means, if its name is one that a stream may have.
    fn stream(&self, folder: u32, path: &str, follow: bool) -> Option<Stream> {
        if !follow || !resolve::may_be_stream(path) {
            return None;
        }
        match self.elsewhere(folder, path, follow)? {
            Elsewhere::Stream(stream) => Some(stream),
            Elsewhere::Beneath(..) => None,
        }
    }

    /// What a symbolic link holds, which Wasmtime does not tell of one that is absolute.
    fn target(&self, folder: u32, path: &str) -> io::Result<String> {
        let denied = || io::Error::from(Errno::PERM);
        let End::At(place) = resolve::resolve(self.start(folder).ok_or_else(denied)?, path, false)?
        else {
            return Err(Errno::INVAL.into());
        };
        self.beneath(&place).ok_or_else(denied)?;
        let (parent, name) = parent(&place)?;
        let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
        Ok(target.into_string().map_err(|_| Errno::ILSEQ)?)
    }

    /// Makes a symbolic link to an absolute path, which Wasmtime does not.
    fn link(&self, target: &str, folder: u32, path: &str) -> io::Result<()> {
        let denied = || io::Error::from(Errno::PERM);
        let start = self.start(folder).filter(|start| start.given);
        let end = resolve::resolve(start.ok_or_else(denied)?, path, false)?;
        let End::At(place) = end else {
            return Err(Errno::EXIST.into());
        };
        let (folder, _) = self.beneath(&place).ok_or_else(denied)?;
        if folder.read_only {
            return Err(denied());
        }
        let (parent, name) = parent(&place)?;
        Ok(rustix::fs::symlinkat(target, parent, name)?)
    }
}

/// The folder that a place without links lies in, and its name there.
fn parent(place: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let (parent, name) = place.parent().zip(place.file_name()).ok_or(Errno::EXIST)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS;
    let parent = rustix::fs::openat2(CWD, parent, flags, Mode::empty(), resolve)?;
    Ok((parent, name))
}

impl Stream {
    /// A handle of it.
    fn file(self) -> io::Result<File> {
        let own = match self {
            Self::Stdin => io::stdin().as_fd().try_clone_to_owned()?,
            Self::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
            Self::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
            Self::Terminal => {
                let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
                rustix::fs::openat(CWD, "/dev/tty", flags, Mode::empty())?
            }
        };
        Ok(own.into())
    }
}
