//! The container ends of stdio.
//!
//! containerd and its clients make FIFOs and name them in Create. A container without a terminal
//! gets the FIFO itself: its bytes are not copied. The shim keeps a second handle of each, so
//! that a reader that goes away (a restart of containerd, a client that detaches) does not send
//! SIGPIPE to the container, and a writer that goes away does not end its stdin. The output of
//! an exec is copied: a process that it leaves behind may keep its end open for ever, and the reader
//! must see the end all the same.
//!
//! A process with a terminal gets the slave. The shim keeps the master, and copies between it and the
//! FIFOs in tasks: no thread, and no more memory than one chunk.
//!
//! Output can be logged as well: appended to a file (`file:`), or given to a program (`binary:`,
//! `binary-v2:`), as containerd's own shim does.

mod copy_output;
mod driver;
mod fifo;
mod lock;
mod log_file;
mod master;
mod open;
mod stdio_handles;
mod target;
mod terminal;
mod terminal_input;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

pub use copy_output::all_copied;
pub use stdio_handles::StdioHandles;

/// Where a container's stdio goes, as containerd names it: FIFOs by their paths, logs by URIs. An
/// empty path is `/dev/null`.
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
    /// The process, for a logging driver.
    pub owner: Owner,
}

/// The process whose output a logging driver gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owner {
    /// The container's id, or the exec's.
    pub id: String,
    /// containerd's namespace.
    pub namespace: String,
}

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Columns.
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
        /// The system's error.
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
    /// The URI names an unknown way of logging.
    #[error(
        "{stream} {uri:?} has a scheme that is not known: there are fifo, file, binary and \
         binary-v2, and paths of FIFOs"
    )]
    Scheme {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The URI as containerd gave it.
        uri: String,
    },
    /// The URI names no file.
    #[error("{stream} {uri:?} names no absolute path")]
    NoPath {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The URI as containerd gave it.
        uri: String,
    },
    /// A log file can't be used.
    #[error("cannot log to {}", path.display())]
    Log {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A logging driver can't be run.
    #[error("cannot run the logging driver {}", path.display())]
    Driver {
        /// Its path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A logging driver takes too long.
    #[error("the logging driver {} has not said within {limit:?} that it is ready", path.display())]
    DriverNotReady {
        /// Its path.
        path: PathBuf,
        /// The timeout.
        limit: Duration,
    },
    /// A `binary-v2` logging driver closed its pipe without having said that it is ready.
    #[error(
        "the logging driver {} ended, or closed descriptor 5, without having said that it is ready",
        path.display()
    )]
    DriverSilent {
        /// Its path.
        path: PathBuf,
    },
    /// The master can't be used.
    #[error("cannot {what} the terminal")]
    Terminal {
        /// What was tried.
        what: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// There is no terminal.
    #[error("it has no terminal")]
    NoTerminal,
}

/// The ends that the container gets. With a terminal they are `/dev/null`, which the slave replaces.
#[derive(Debug)]
pub struct ContainerStdio {
    /// For reading.
    pub stdin: OwnedFd,
    /// For writing.
    pub stdout: OwnedFd,
    /// For writing.
    pub stderr: OwnedFd,
}

#[cfg(test)]
mod tests;
