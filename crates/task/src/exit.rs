//! How a process, or a sandbox, ended.

use std::time::SystemTime;

/// How and when a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// 0 to 255; 128 and the signal's number if a signal ended it.
    pub status: u32,
    /// When the shim learnt of it.
    pub at: SystemTime,
}
