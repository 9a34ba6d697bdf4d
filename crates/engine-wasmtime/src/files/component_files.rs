//! The files of a component, of WASI 0.2 and 0.3 alike.

use std::io;
use std::sync::Arc;

use rustix::io::Errno;
use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::cli::{InputFile, OutputFile, StdinStream as _, StdoutStream as _, WasiCliView};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};
use wasmtime_wasi::{FsPerms, OpenMode};

use super::dirs::{DENIED, Elsewhere, PreopenDir, PreopenDirs};
use super::resolve::Last;
use super::streams::{self, Stream};
use crate::store_data::StoreData;

/// Stands for the files of components where they are linked.
pub(crate) struct WasiFiles;

/// The files of one component.
pub(crate) struct Files<'a>(pub(crate) &'a mut StoreData);

impl HasData for WasiFiles {
    type Data<'a> = Files<'a>;
}

/// A handle of the same resource.
pub(super) fn same(fd: &Resource<Descriptor>) -> Resource<Descriptor> {
    Resource::new_borrow(fd.rep())
}

/// A call, and where it is to be tried again.
pub(super) enum Again {
    Beneath(Resource<Descriptor>, String),
    Stream(Stream),
}

impl Files<'_> {
    /// The dirs that a component has open, with `dir` among them if it is open. A dir is named by the
    /// number of its handle; those that the component was given have the numbers in `owned`.
    fn dirs(
        &mut self,
        dir: &Resource<Descriptor>,
    ) -> Option<(PreopenDirs, Vec<Resource<Descriptor>>)> {
        let given = self.0.filesystem().get_directories().ok()?;
        let mut dirs = PreopenDirs::default();
        let mut owned = Vec::with_capacity(given.len());
        let opened = self.0.opened.dirs.get(&dir.rep()).cloned();
        // The component has its own handle of it.
        let own = self.dir(dir);
        for (fd, name) in given {
            let known = PreopenDir::named(&name, fd.rep(), self.0.preopens());
            if let (Some(preopen), Some(known)) = (self.dir(&fd), known) {
                let is_it = own
                    .as_ref()
                    .is_some_and(|own| Arc::ptr_eq(&own.dir, &preopen.dir));
                if opened.is_none() && is_it {
                    dirs.given.push(PreopenDir {
                        handle: dir.rep(),
                        ..known.clone()
                    });
                }
                dirs.given.push(known);
            }
            owned.push(fd);
        }
        if let Some(path) = opened {
            dirs.opened.insert(dir.rep(), path);
        }
        dirs.real = own.map(|own| own.dir);
        Some((dirs, owned))
    }

    fn dir(&mut self, fd: &Resource<Descriptor>) -> Option<Dir> {
        match self.0.filesystem().table.get(fd).ok()? {
            Descriptor::Dir(dir) => Some(dir.clone()),
            Descriptor::File(_) => None,
        }
    }

    /// Asks something of the dirs, and lets go of them.
    fn ask<T>(
        &mut self,
        dir: &Resource<Descriptor>,
        ask: impl FnOnce(&PreopenDirs) -> Option<T>,
    ) -> Option<T> {
        let (dirs, owned) = self.dirs(dir)?;
        let answer = ask(&dirs);
        for fd in owned {
            self.release(fd);
        }
        answer
    }

    /// Where a call on a path that was refused is to be tried again. The handle is the caller's to
    /// let go of. `None` if it is refused here too.
    pub(super) fn again(
        &mut self,
        fd: &Resource<Descriptor>,
        path: &str,
        last: Last,
    ) -> io::Result<Option<Again>> {
        let Some((dirs, owned)) = self.dirs(fd) else {
            return Ok(None);
        };
        let again = match dirs.elsewhere(fd.rep(), path, last) {
            Ok(Elsewhere::Stream(stream)) => Ok(Some(Again::Stream(stream))),
            Ok(Elsewhere::Beneath(dir, path)) => {
                let own = self.another(&Resource::new_borrow(dir));
                Ok(own.map(|own| Again::Beneath(own, path)))
            }
            Err(error) if error.raw_os_error() == Some(DENIED.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        };
        for owned in owned {
            self.release(owned);
        }
        again
    }

    /// As [`Self::again`], for calls that need a file: the same call, if it is refused here too, or
    /// no file is there.
    pub(super) fn beneath(
        &mut self,
        fd: &Resource<Descriptor>,
        path: &str,
        last: Last,
    ) -> io::Result<(Resource<Descriptor>, String)> {
        match self.again(fd, path, last)? {
            Some(Again::Beneath(fd, path)) => Ok((fd, path)),
            Some(Again::Stream(_)) | None => {
                let own = self.another(fd).ok_or(Errno::BADF)?;
                Ok((own, path.to_owned()))
            }
        }
    }

    /// Another handle of the same.
    fn another(&mut self, fd: &Resource<Descriptor>) -> Option<Resource<Descriptor>> {
        let table = self.0.filesystem().table;
        let descriptor = table.get(fd).ok()?.clone();
        table.push(descriptor).ok()
    }

    /// The stream that a path means whose name is such a one.
    pub(super) fn named_stream(
        &mut self,
        fd: &Resource<Descriptor>,
        path: &str,
        follow: bool,
    ) -> Option<Stream> {
        if !follow || !streams::may_be_one(path) {
            return None;
        }
        let handle = fd.rep();
        let told = self.ask(fd, |dirs| dirs.elsewhere(handle, path, Last::Followed).ok())?;
        match told {
            Elsewhere::Stream(stream) => Some(stream),
            Elsewhere::Beneath(..) => None,
        }
    }

    /// What a symbolic link holds.
    pub(super) fn target(&mut self, fd: &Resource<Descriptor>, path: &str) -> io::Result<String> {
        let handle = fd.rep();
        let told = self.ask(fd, |dirs| Some(dirs.target(handle, path)));
        told.unwrap_or_else(|| Err(DENIED.into()))
    }

    /// Makes a symbolic link to an absolute path.
    pub(super) fn link(
        &mut self,
        target: &str,
        fd: &Resource<Descriptor>,
        path: &str,
    ) -> io::Result<()> {
        let handle = fd.rep();
        let made = self.ask(fd, |dirs| Some(dirs.link(target, handle, path)));
        made.unwrap_or_else(|| Err(DENIED.into()))
    }

    /// Lets go of a handle of our own.
    pub(super) fn release(&mut self, fd: Resource<Descriptor>) {
        // We put it there for a call that is over.
        self.0.filesystem().table.delete(fd).ok();
    }

    /// Keeps in mind which dir was opened.
    pub(super) fn note(
        &mut self,
        dir: &Resource<Descriptor>,
        path: &str,
        opened: &Resource<Descriptor>,
    ) {
        if self.dir(opened).is_none() {
            return;
        }
        let (handle, new) = (dir.rep(), opened.rep());
        let place = self.ask(dir, |dirs| dirs.path_of(handle, path));
        if let Some(place) = place {
            self.0.opened.dirs.insert(new, place);
        }
    }

    /// Opens a stream as a file.
    pub(super) fn open_stream(&mut self, stream: Stream) -> io::Result<Resource<Descriptor>> {
        let file = stream.file()?;
        let mode = OpenMode::READ | OpenMode::WRITE;
        let file = Descriptor::File(File::new(file, FsPerms::ReadWrite, mode, true));
        let fd = self.0.filesystem().table.push(file);
        let fd = fd.map_err(io::Error::other)?;
        self.0.opened.streams.insert(fd.rep(), stream);
        Ok(fd)
    }

    /// The stream that a descriptor is.
    pub(super) fn stream(&self, fd: &Resource<Descriptor>) -> Option<Stream> {
        self.0.opened.streams.get(&fd.rep()).copied()
    }

    /// Forgets a descriptor.
    pub(super) fn forget(&mut self, fd: &Resource<Descriptor>) {
        self.0.opened.dirs.remove(&fd.rep());
        self.0.opened.streams.remove(&fd.rep());
    }

    /// The open file of a terminal that was opened by its own name.
    fn terminal(&mut self, fd: &Resource<Descriptor>) -> FsResult<std::fs::File> {
        match self.0.filesystem().table.get(fd)? {
            Descriptor::File(file) => Ok(file.file.try_clone().map_err(ErrorCode::from)?),
            Descriptor::Dir(_) => Err(ErrorCode::IsDirectory.into()),
        }
    }

    /// What a stream that is open as a file is written to by.
    pub(super) fn output(
        &mut self,
        stream: Stream,
        fd: &Resource<Descriptor>,
    ) -> FsResult<Resource<DynOutputStream>> {
        let output = match stream {
            Stream::Stdout => stdout::Host::get_stdout(&mut self.0.cli()),
            Stream::Stderr => stderr::Host::get_stderr(&mut self.0.cli()),
            Stream::Stdin => return Err(ErrorCode::NotPermitted.into()),
            Stream::Terminal => {
                let output = OutputFile::new(self.terminal(fd)?).p2_stream();
                return Ok(self.0.filesystem().table.push(output)?);
            }
        };
        output.map_err(FsError::trap)
    }

    /// What it is read by.
    pub(super) fn input(
        &mut self,
        stream: Stream,
        fd: &Resource<Descriptor>,
    ) -> FsResult<Resource<DynInputStream>> {
        let input = match stream {
            Stream::Stdin => stdin::Host::get_stdin(&mut self.0.cli()),
            Stream::Stdout | Stream::Stderr => return Err(ErrorCode::NotPermitted.into()),
            Stream::Terminal => {
                let input = InputFile::new(self.terminal(fd)?).p2_stream();
                return Ok(self.0.filesystem().table.push(input)?);
            }
        };
        input.map_err(FsError::trap)
    }
}
