//! A command line that can't be understood.

/// Exit status of one.
pub(super) const MISUSED: u8 = 2;

/// Why it can't be understood, as a sentence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Usage(pub(super) String);
