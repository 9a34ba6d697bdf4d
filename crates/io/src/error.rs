//! Why stdio could not be set up.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The URI names a host.
    #[error(
        "{stream} {uri:?} names the host {host:?}, and this node is meant: begin its path with a third \
         slash, as in {scheme}:///var/log/it"
    )]
    Host {
        /// `stdin`, `stdout` or `stderr`.
        stream: &'static str,
        /// The URI as containerd gave it.
        uri: String,
        /// What stands before the path.
        host: String,
        /// Of the URI.
        scheme: String,
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
