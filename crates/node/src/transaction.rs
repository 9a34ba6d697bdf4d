//! Several files changed together: all of them, or none.
//!
//! Everything is written beside its place first, so that a disk that is full, or a directory that
//! may not be written, is noticed before anything is changed. Then each takes its place by a rename,
//! while what was there stays beside it until the end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, RenameFlags, Uid, fchmod, fchown, fgetxattr, fsetxattr, fsync,
    linkat, mkdirat, openat, renameat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::error::Error;
use crate::root::{Entry, Root, entry_of, split};

/// What is beside its place: not yet there, and no longer.
const NEW: &str = ".medley-new";
const OLD: &str = ".medley-old";

/// The label that SELinux goes by.
const LABEL: &str = "security.selinux";

/// Mode of a directory that is missing.
const DIR_MODE: Mode = Mode::from_raw_mode(0o755);

/// What is to lie at a path.
#[derive(Debug)]
pub(crate) enum New {
    /// A file with these bytes.
    Bytes(Vec<u8>),
    /// A file with what another one has.
    Copy(File),
    /// A symlink.
    Link(PathBuf),
    /// Nothing.
    Nothing,
}

/// One change.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) path: PathBuf,
    pub(crate) new: New,
    /// Mode and owner; those of the file that is replaced, if they are not said.
    pub(crate) mode: Option<u32>,
    pub(crate) owner: Option<(u32, u32)>,
}

impl Step {
    pub(crate) fn new(path: impl Into<PathBuf>, new: New) -> Self {
        Self {
            path: path.into(),
            new,
            mode: None,
            owner: None,
        }
    }

    /// For a file that is not there yet, or has to have this mode.
    pub(crate) fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }
}

#[derive(Debug)]
struct Staged {
    path: PathBuf,
    dir: OwnedFd,
    name: OsString,
    /// Where the new file waits; `None` if there is to be nothing.
    draft: Option<OsString>,
    /// Where the old one is kept; `None` if there was nothing.
    aside: Option<OsString>,
    is_in_place: bool,
}

/// Changes that are on their way.
#[derive(Debug)]
pub(crate) struct Transaction<'r> {
    root: &'r Root,
    staged: Vec<Staged>,
    /// Directories that were made, the outermost first.
    made: Vec<PathBuf>,
}

impl<'r> Transaction<'r> {
    /// Writes everything beside its place.
    pub(crate) fn stage(root: &'r Root, steps: Vec<Step>) -> Result<Self, Error> {
        let mut this = Self {
            root,
            staged: Vec::new(),
            made: Vec::new(),
        };
        for step in steps {
            if let Err(error) = this.prepare(step) {
                return Err(this.roll_back_after(error));
            }
        }
        Ok(this)
    }

    /// Where the new file for `path` waits.
    pub(crate) fn draft(&self, path: &Path) -> Option<PathBuf> {
        let staged = self.staged.iter().find(|staged| staged.path == path)?;
        Some(path.with_file_name(staged.draft.as_ref()?))
    }

    fn prepare(&mut self, step: Step) -> Result<(), Error> {
        let shown = self.root.shown(&step.path);
        let (parent, name) = split(&step.path);
        let dir = match self.root.open_dir(parent) {
            Err(Errno::NOENT) if matches!(step.new, New::Nothing) => return Ok(()),
            Err(Errno::NOENT) => self.make_dir(parent)?,
            other => other.map_err(Error::io("open", &self.root.shown(parent)))?,
        };
        let beside = |suffix| {
            let mut beside = OsString::from(".");
            beside.push(name);
            beside.push(suffix);
            beside
        };
        let there = entry_of(&dir, name).map_err(Error::io("look at", &shown))?;
        if there == Some(Entry::Other) {
            return Err(Error::NotAFile { path: shown });
        }
        let mut staged = Staged {
            path: step.path.clone(),
            name: name.to_owned(),
            draft: None,
            aside: there.as_ref().map(|_| beside(OLD)),
            is_in_place: false,
            dir,
        };
        let draft = beside(NEW);
        // What a run that was killed has left; no other run goes on.
        for stale in [&draft, &beside(OLD)] {
            remove(&staged.dir, stale).map_err(Error::io("remove", &shown))?;
        }
        let written = match &step.new {
            New::Nothing => Ok(false),
            New::Link(target) => symlinkat(target, &staged.dir, &*draft)
                .map(|()| true)
                .map_err(Error::io("write", &shown)),
            New::Bytes(_) | New::Copy(_) => write(&staged, &draft, &step)
                .map(|()| true)
                .map_err(Error::std("write", &shown)),
        };
        // On record in any case: half a file goes away with the rest.
        staged.draft = (!matches!(step.new, New::Nothing)).then_some(draft);
        self.staged.push(staged);
        written.map(|_| ())
    }

    /// Makes a directory, and those above it.
    fn make_dir(&mut self, path: &Path) -> Result<OwnedFd, Error> {
        let failed = |errno| Error::io("make", &self.root.shown(path))(errno);
        let (parent, name) = split(path);
        let above = match self.root.open_dir(parent) {
            Err(Errno::NOENT) if parent != path => self.make_dir(parent)?,
            other => other.map_err(failed)?,
        };
        let failed = Error::io("make", &self.root.shown(path));
        if let Err(errno) = mkdirat(&above, name, DIR_MODE) {
            return Err(failed(errno));
        }
        self.made.push(path.to_owned());
        self.root.open_dir(path).map_err(failed)
    }

    /// Puts everything in its place. Each step is whole at any moment; an error takes all back.
    pub(crate) fn commit(mut self) -> Result<Committed<'r>, Error> {
        for n in 0..self.staged.len() {
            if let Err(errno) = self.staged[n].put_in_place() {
                let error = Error::io("replace", &self.root.shown(&self.staged[n].path))(errno);
                return Err(self.roll_back_after(error));
            }
        }
        Ok(Committed(self))
    }

    /// Leaves everything as it was.
    pub(crate) fn roll_back(mut self) -> Result<(), Error> {
        self.take_back()
    }

    /// The error behind which everything is as it was, or what is not.
    fn roll_back_after(mut self, error: Error) -> Error {
        match self.take_back() {
            Ok(()) => error,
            Err(back) => Error::HalfWay {
                what: crate::error::told(&error),
                back: Box::new(back),
            },
        }
    }

    fn take_back(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for staged in self.staged.iter_mut().rev() {
            if let Err(errno) = staged.take_back() {
                let failed = Error::io("restore", &self.root.shown(&staged.path))(errno);
                result = result.and(Err(failed));
            }
        }
        for path in self.made.drain(..).rev() {
            if let Err(error) = remove_dir(self.root, &path) {
                result = result.and(Err(error));
            }
        }
        result
    }
}

/// Changes that are in their place, and can still be taken back.
#[derive(Debug)]
pub(crate) struct Committed<'r>(Transaction<'r>);

impl Committed<'_> {
    /// Keeps them: what was there before goes away.
    pub(crate) fn keep(self) -> Result<(), Error> {
        let mut result = Ok(());
        for staged in &self.0.staged {
            let gone = match &staged.aside {
                Some(aside) => remove(&staged.dir, aside),
                None => Ok(()),
            };
            if let Err(errno) = gone {
                let failed = Error::io("clean up behind", &self.0.root.shown(&staged.path))(errno);
                result = result.and(Err(failed));
            }
        }
        result
    }

    /// Puts everything back.
    pub(crate) fn roll_back(self) -> Result<(), Error> {
        self.0.roll_back()
    }
}

impl Staged {
    fn put_in_place(&mut self) -> Result<(), Errno> {
        let (dir, name) = (&self.dir, &*self.name);
        match (&self.draft, &self.aside) {
            (Some(draft), Some(aside)) => {
                // A second name for the old file, so that there is no moment without one. Not every
                // file system has such; then the moment is short.
                match linkat(dir, name, dir, &**aside, AtFlags::empty()) {
                    Ok(()) => {}
                    Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                        renameat(dir, name, dir, &**aside)?;
                    }
                    Err(errno) => return Err(errno),
                }
                renameat(dir, &**draft, dir, name)?;
            }
            // Nothing may have come there since.
            (Some(draft), None) => {
                let flags = RenameFlags::NOREPLACE;
                match rustix::fs::renameat_with(dir, &**draft, dir, name, flags) {
                    Err(Errno::INVAL | Errno::NOSYS) => renameat(dir, &**draft, dir, name)?,
                    other => other?,
                }
            }
            (None, Some(aside)) => renameat(dir, name, dir, &**aside)?,
            (None, None) => {}
        }
        self.is_in_place = true;
        sync(dir)
    }

    fn take_back(&mut self) -> Result<(), Errno> {
        let (dir, name) = (&self.dir, &*self.name);
        if let Some(draft) = &self.draft {
            remove(dir, draft)?;
        }
        match &self.aside {
            // Two names of one file: a rename would leave both.
            Some(aside) if !self.is_in_place && is_there(dir, name)? => remove(dir, aside)?,
            Some(aside) if is_there(dir, aside)? => renameat(dir, &**aside, dir, name)?,
            Some(_) => {}
            None if self.is_in_place => remove(dir, name)?,
            None => {}
        }
        self.is_in_place = false;
        sync(dir)
    }
}

/// Writes a file whole, with everything that the one that it replaces has.
fn write(staged: &Staged, draft: &OsStr, step: &Step) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(&staged.dir, draft, flags, Mode::from_raw_mode(0o600))?;
    let old = old_file(&staged.dir, &staged.name)?;
    let mut file = File::from(fd);
    match &step.new {
        New::Bytes(bytes) => io::Write::write_all(&mut file, bytes)?,
        New::Copy(from) => {
            let mut from = from.try_clone()?;
            io::Seek::rewind(&mut from)?;
            io::copy(&mut from, &mut file)?;
        }
        New::Link(_) | New::Nothing => {}
    }
    let stat = old.as_ref().map(rustix::fs::fstat).transpose()?;
    let owner = step
        .owner
        .or(stat.as_ref().map(|stat| (stat.st_uid, stat.st_gid)));
    if let Some((uid, gid)) = owner {
        let now = rustix::fs::fstat(&file)?;
        if (now.st_uid, now.st_gid) != (uid, gid) {
            fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    let mode = step
        .mode
        .or(stat.map(|stat| stat.st_mode & 0o7777))
        .unwrap_or(0o644);
    fchmod(&file, Mode::from_raw_mode(mode))?;
    if let Some(old) = &old {
        copy_label(old, &file)?;
    }
    file.sync_all()
}

/// The regular file that is to be replaced.
fn old_file(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::NOENT | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn copy_label(from: &File, to: &File) -> io::Result<()> {
    /// Labels are some fifty bytes; the kernel has no longer ones than a page.
    const LONGEST: usize = 4096;
    let mut label = vec![0; LONGEST];
    let length = match fgetxattr(from, LABEL, &mut label[..]) {
        Ok(length) => length,
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let set = fsetxattr(to, LABEL, &label[..length], rustix::fs::XattrFlags::empty());
    match set {
        Err(Errno::OPNOTSUPP | Errno::PERM) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn is_there(dir: &OwnedFd, name: &OsStr) -> Result<bool, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Removes a name, if it is there.
pub(crate) fn remove(dir: &OwnedFd, name: &OsStr) -> Result<(), Errno> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes a directory, if it is there and empty.
pub(crate) fn remove_dir(root: &Root, path: &Path) -> Result<(), Error> {
    let failed = |errno| Error::io("remove", &root.shown(path))(errno);
    let (parent, name) = split(path);
    let dir = match root.open_dir(parent) {
        Ok(dir) => dir,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(failed(errno)),
    }
}

/// On the disk, where the file system can.
fn sync(dir: &OwnedFd) -> Result<(), Errno> {
    match fsync(dir) {
        Err(Errno::INVAL | Errno::ROFS) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
