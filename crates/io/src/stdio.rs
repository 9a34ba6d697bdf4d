//! Where stdio goes, and the ends that a process gets.

use std::os::fd::OwnedFd;

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
