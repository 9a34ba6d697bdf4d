//! How far a process's life has come.

use std::fmt;

use crate::exit::Exit;

/// How far a process's life has come. Only pausing ever goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It waits to be started.
    Created,
    /// Start is under way: its event is not out yet.
    Starting,
    /// The program runs.
    Running,
    /// Pause is under way.
    Pausing,
    /// Stopped where it stands.
    Paused,
    /// Resume is under way.
    Resuming,
    /// It has ended, and its exit event is out.
    Stopped(Exit),
    /// Delete is under way.
    Deleting(Exit),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Pausing => "being paused",
            Self::Paused => "paused",
            Self::Resuming => "being resumed",
            Self::Stopped(_) => "stopped",
            Self::Deleting(_) => "being deleted",
        })
    }
}

impl Status {
    /// How it ended, if it has.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::Stopped(exit) | Self::Deleting(exit) => Some(exit),
            Self::Created
            | Self::Starting
            | Self::Running
            | Self::Pausing
            | Self::Paused
            | Self::Resuming => None,
        }
    }

    /// Something, unless a start is under way.
    pub(crate) fn not_starting(self) -> Option<()> {
        (self != Self::Starting).then_some(())
    }
}
