//! Opening what containerd names.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medley_types::StdioPaths;
use rustix::fs::OFlags;

use crate::copy_output::{Copying, Sink, Source};
use crate::driver::Driver;
use crate::log_file::LogFile;
use crate::stdio_handles::{Logs, StdioHandles};
use crate::target::Target;
use crate::terminal::Terminal;
use crate::{ContainerStdio, Error, Owner, Stdio, fifo};

impl Stdio {
    /// The stdio of the process `owner`.
    #[must_use]
    pub fn new(paths: StdioPaths, owner: Owner) -> Self {
        Self {
            stdin: paths.stdin,
            stdout: paths.stdout,
            stderr: paths.stderr,
            terminal: paths.terminal,
            owner,
        }
    }

    /// Opens all streams. The container's ends belong to its user `uid`, so that it can open
    /// `/dev/stdout` again. Terminals and logs need a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] if a path can't be used; nothing stays open then.
    pub fn open(&self, uid: u32) -> Result<(ContainerStdio, StdioHandles), Error> {
        self.open_with(uid, false, fifo::input)
    }

    /// As [`Self::open`], for an exec, whose client waits for the end of its output. The shim copies the
    /// output: a process that the exec leaves behind may keep its end open for ever, and the client
    /// must not wait for that. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`Self::open`].
    pub fn open_session(&self, uid: u32) -> Result<(ContainerStdio, StdioHandles), Error> {
        self.open_with(uid, true, fifo::session_input)
    }

    fn open_with(
        &self,
        uid: u32,
        is_session: bool,
        open_input: impl FnOnce(&Path, u32) -> Result<(OwnedFd, Option<OwnedFd>), Error>,
    ) -> Result<(ContainerStdio, StdioHandles), Error> {
        let stdout = Target::parse("stdout", &self.stdout)?;
        let input = self.input()?;
        if self.terminal {
            // A terminal has one output: the path for stderr is not used, as in runc's shim.
            return self.open_terminal(input.as_deref(), stdout);
        }
        let stderr = Target::parse("stderr", &self.stderr)?;
        let (stdin, writer) = match input {
            Some(path) => open_input(&path, uid)?,
            None => (fifo::null("stdin", OFlags::RDONLY)?, None),
        };
        let mut outputs = Outputs {
            owner: &self.owner,
            uid,
            is_session,
            kept: Vec::new(),
            logs: Logs::default(),
        };
        let [stdout, stderr] = if stdout.takes_both(&stderr) {
            outputs.both(&stdout)?
        } else {
            [
                outputs.one("stdout", &stdout)?,
                outputs.one("stderr", &stderr)?,
            ]
        };
        let ends = ContainerStdio {
            stdin,
            stdout,
            stderr,
        };
        Ok((
            ends,
            StdioHandles::new(writer, outputs.kept, outputs.logs, None),
        ))
    }

    /// The input stays open until CloseIO, that of an exec too: a client may detach and attach again.
    fn open_terminal(
        &self,
        input: Option<&Path>,
        stdout: Target,
    ) -> Result<(ContainerStdio, StdioHandles), Error> {
        let (input, writer) = match input {
            Some(path) => {
                let (read, writer) = fifo::input(path, 0)?;
                (Some(fifo::without_waiting("stdin", path, read)?), writer)
            }
            None => (None, None),
        };
        let mut kept = Vec::new();
        let mut logs = Logs::default();
        let watched = |source| Error::Terminal {
            what: "watch the output of",
            source,
        };
        let sink = match stdout {
            Target::Null => Sink::Nowhere,
            Target::Fifo(path) => {
                let (write, read) = fifo::output("stdout", &path, 0)?;
                kept.push(read);
                let write = fifo::without_waiting("stdout", &path, write)?;
                Sink::pipe(write).map_err(watched)?
            }
            Target::File(path) => Sink::File(Arc::new(LogFile::open(&path)?)),
            Target::Driver(program) => {
                let (driver, [stdout, stderr]) = Driver::start(&program, &self.owner)?;
                logs.drivers.push(driver);
                // No process writes to stderr here, but a driver expects it to end with stdout.
                kept.push(stderr);
                let stdout = fifo::without_waiting("stdout", &program.path, stdout)?;
                Sink::pipe(stdout).map_err(watched)?
            }
        };
        let ends = ContainerStdio {
            stdin: fifo::null("stdin", OFlags::RDONLY)?,
            stdout: fifo::null("stdout", OFlags::WRONLY)?,
            stderr: fifo::null("stderr", OFlags::WRONLY)?,
        };
        let terminal = Terminal::new(input, sink);
        Ok((ends, StdioHandles::new(writer, kept, logs, Some(terminal))))
    }

    /// The FIFO for stdin, if there is one.
    fn input(&self) -> Result<Option<PathBuf>, Error> {
        match Target::parse("stdin", &self.stdin)? {
            Target::Null => Ok(None),
            Target::Fifo(path) => Ok(Some(path)),
            Target::File(_) | Target::Driver(_) => Err(Error::NotAFifo {
                stream: "stdin",
                path: PathBuf::from(&self.stdin),
            }),
        }
    }
}

/// Opens the outputs of a process without a terminal.
struct Outputs<'a> {
    owner: &'a Owner,
    uid: u32,
    /// Whether the shim copies the bytes into the FIFOs.
    is_session: bool,
    /// See [`StdioHandles`].
    kept: Vec<OwnedFd>,
    logs: Logs,
}

impl Outputs<'_> {
    /// The end that the process writes to.
    fn one(&mut self, stream: &'static str, target: &Target) -> Result<OwnedFd, Error> {
        match target {
            Target::Null => fifo::null(stream, OFlags::WRONLY),
            Target::Fifo(path) => {
                let owner = if self.is_session { 0 } else { self.uid };
                let (write, read) = fifo::output(stream, path, owner)?;
                self.kept.push(read);
                if !self.is_session {
                    return Ok(write);
                }
                let write = fifo::without_waiting(stream, path, write)?;
                let sink = Sink::pipe(write).map_err(|source| Error::Open {
                    stream,
                    path: path.clone(),
                    source,
                })?;
                self.copied(path, sink)
            }
            Target::File(_) | Target::Driver(_) => {
                // The end for the other stream is dropped.
                let [stdout, _] = self.both(target)?;
                Ok(stdout)
            }
        }
    }

    /// The ends for stdout and stderr where one target takes both.
    fn both(&mut self, target: &Target) -> Result<[OwnedFd; 2], Error> {
        match target {
            Target::File(path) => {
                let file = Arc::new(LogFile::open(path)?);
                let sink = || Sink::File(Arc::clone(&file));
                Ok([self.copied(path, sink())?, self.copied(path, sink())?])
            }
            Target::Driver(program) => {
                let (driver, ends) = Driver::start(program, self.owner)?;
                self.logs.drivers.push(driver);
                for end in &ends {
                    fifo::chown_fd("stdout", &program.path, end, self.uid)?;
                }
                Ok(ends)
            }
            Target::Null | Target::Fifo(_) => {
                Ok([self.one("stdout", target)?, self.one("stderr", target)?])
            }
        }
    }

    /// The writing end of a pipe whose bytes go to `sink`, which `path` names.
    ///
    /// The process does not get the file itself: it could truncate it, read it, or make it an executable
    /// of root's on the node.
    fn copied(&mut self, path: &Path, sink: Sink) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Log {
            path: path.to_owned(),
            source,
        };
        let (read, write) = std::io::pipe().map_err(failed)?;
        let write = OwnedFd::from(write);
        fifo::chown_fd("stdout", path, &write, self.uid)?;
        let read = fifo::without_waiting("stdout", path, read.into())?;
        let source = Source::pipe(read).map_err(failed)?;
        let copy = Copying::start(source, sink);
        self.logs.copies.push(copy);
        Ok(write)
    }
}
