//! The exit statuses that Medley makes itself. Those below 256 that a shell would give mean what they
//! mean to shells (POSIX, "Exit Status for Commands").

/// A program that is there and can't be executed, or a process that can't become what it is to be.
pub const NOT_EXECUTABLE: u8 = 126;

/// A program that is not there.
pub const NOT_FOUND: u8 = 127;

/// A process that a signal ended has this and the signal's number.
pub const SIGNALED: u8 = 128;

/// A guest that trapped: SIGABRT, as of a C program that aborts.
pub const TRAPPED: u8 = SIGNALED + 6;

/// What SIGKILL ended, or is taken to have ended.
pub const KILLED: u8 = SIGNALED + 9;

/// A process whose status could not be learnt, or that was never started.
pub const UNKNOWN: u8 = 255;
