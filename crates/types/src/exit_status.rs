//! The exit statuses that Medley makes itself. Those below 256 that a shell would give mean what they
//! mean to shells (POSIX, "Exit Status for Commands").

/// A program that is there and can't be executed, or a process that can't become what it is to be.
pub const NOT_EXECUTABLE: u8 = 126;

/// A program that is not there.
pub const NOT_FOUND: u8 = 127;

/// A process that a signal ended has this and the signal's number.
const SIGNALED: u8 = 128;

/// The status of a process that the signal `number` ended.
#[must_use]
pub const fn of_signal(number: u8) -> u8 {
    SIGNALED.saturating_add(number)
}

/// A guest that trapped: SIGABRT, as of a C program that aborts.
pub const TRAPPED: u8 = of_signal(6);

/// What SIGKILL ended, or is taken to have ended.
pub const KILLED: u8 = of_signal(9);

/// A process whose status could not be learnt, or that was never started.
pub const UNKNOWN: u8 = 255;
