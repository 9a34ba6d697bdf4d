//! The container ends of stdio.
//!
//! containerd and its clients make FIFOs and name them in Create. A container without a terminal
//! gets the FIFO itself: nobody copies its bytes. The shim keeps a second handle of each, so
//! that a reader that goes away (a restart of containerd, a client that detaches) does not send
//! SIGPIPE to the container, and a writer that goes away does not end its stdin.
//!
//! A process with a terminal gets its slave. The master is the shim's, whose tasks copy between
//! it and the FIFOs: no thread, and no more memory than one chunk.

mod copy;
mod fifo;
mod keeper;
mod terminal;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

pub use keeper::Keeper;

use terminal::Terminal;

/// Where a container's stdio goes, as containerd names it. An empty path is `/dev/null`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stdio {
    /// What the container reads.
    pub stdin: String,
    /// Where its output goes.
    pub stdout: String,
    /// Where its error output goes; a terminal has none of its own.
    pub stderr: String,
    /// Whether the container asked for a terminal.
    pub terminal: bool,
}

/// A terminal's, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Why stdio could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The FIFO or device could not be opened.
    #[error("cannot open {stream} at {path:?}")]
    Open {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The path as containerd gave it.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// The path is something else than a FIFO.
    #[error("{stream} at {path:?} is not a FIFO")]
    NotAFifo {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The path as containerd gave it.
        path: PathBuf,
    },
    /// The path names a way of logging that this version does not have.
    #[error("{stream} {uri:?} is not supported: this version writes to FIFOs only")]
    Scheme {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The URI as containerd gave it.
        uri: String,
    },
    /// A terminal was asked for, and a place for error output too.
    #[error(
        "stderr is {stderr:?}, but a terminal has one output: leave stderr empty, or ask for no \
         terminal"
    )]
    TerminalWithStderr {
        /// As containerd gave it.
        stderr: String,
    },
    /// The master can't be used.
    #[error("cannot {what} the terminal")]
    Terminal {
        /// What was tried.
        what: &'static str,
        /// The system's word.
        source: io::Error,
    },
    /// There is no terminal.
    #[error("it has no terminal")]
    NoTerminal,
}

/// The ends that the container gets. With a terminal they are `/dev/null`, until it has that.
#[derive(Debug)]
pub struct ContainerEnds {
    /// For reading.
    pub stdin: OwnedFd,
    /// For writing.
    pub stdout: OwnedFd,
    /// For writing.
    pub stderr: OwnedFd,
}

impl Stdio {
    /// Opens everything, the container's ends owned by its user `uid`, so that it may open
    /// `/dev/stdout` again.
    ///
    /// # Errors
    /// [`Error`] if a path can't be used; nothing stays open then.
    pub fn open(&self, uid: u32) -> Result<(ContainerEnds, Keeper), Error> {
        self.open_with(uid, fifo::input)
    }

    /// As [`Self::open`], for a process that lives no longer than its client: an exec.
    ///
    /// # Errors
    /// As of [`Self::open`].
    pub fn open_session(&self, uid: u32) -> Result<(ContainerEnds, Keeper), Error> {
        self.open_with(uid, fifo::session_input)
    }

    fn open_with(
        &self,
        uid: u32,
        input: impl FnOnce(&str, u32) -> Result<(OwnedFd, Option<OwnedFd>), Error>,
    ) -> Result<(ContainerEnds, Keeper), Error> {
        if self.terminal {
            return self.open_terminal();
        }
        let (stdin, stdin_writer) = input(&self.stdin, uid)?;
        let (stdout, stdout_reader) = fifo::output("stdout", &self.stdout, uid)?;
        let (stderr, stderr_reader) = fifo::output("stderr", &self.stderr, uid)?;
        let outputs = [stdout_reader, stderr_reader]
            .into_iter()
            .flatten()
            .collect();
        let ends = ContainerEnds {
            stdin,
            stdout,
            stderr,
        };
        Ok((ends, Keeper::new(stdin_writer, outputs, None)))
    }

    /// The input stays open until it is closed, of an exec too: a client may detach and come back.
    fn open_terminal(&self) -> Result<(ContainerEnds, Keeper), Error> {
        if !self.stderr.is_empty() && self.stderr != self.stdout {
            return Err(Error::TerminalWithStderr {
                stderr: self.stderr.clone(),
            });
        }
        let (input, stdin_writer) = fifo::watched_input(&self.stdin)?;
        let (output, stdout_reader) = fifo::watched_output(&self.stdout)?;
        let ends = ContainerEnds {
            stdin: fifo::null("stdin", rustix::fs::OFlags::RDONLY)?,
            stdout: fifo::null("stdout", rustix::fs::OFlags::WRONLY)?,
            stderr: fifo::null("stderr", rustix::fs::OFlags::WRONLY)?,
        };
        let terminal = Terminal::new(input, output);
        let outputs = stdout_reader.into_iter().collect();
        Ok((ends, Keeper::new(stdin_writer, outputs, Some(terminal))))
    }
}

#[cfg(test)]
mod tests;
