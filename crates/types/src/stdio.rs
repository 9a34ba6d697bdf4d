//! Where a process's stdio goes.

/// Where a process's stdio goes, as containerd names it: FIFOs by their paths, logs by URIs. An empty
/// one is `/dev/null`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StdioPaths {
    /// What the process reads.
    pub stdin: String,
    /// Where its output goes.
    pub stdout: String,
    /// Where its error output goes; a terminal has none of its own.
    pub stderr: String,
    /// Whether it has a terminal.
    pub terminal: bool,
}
