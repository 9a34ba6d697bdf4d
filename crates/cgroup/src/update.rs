//! A container's limits, changed while it runs.
//!
//! What an update names is checked against what holds now, and only then written, file by file.
//! If the kernel refuses one, those before it get back what was in them, in reverse order. As
//! other runtimes have it, a number that is 0 names nothing and -1 is no limit.

mod check;
mod disks;
mod enable;
mod error;
mod limits;
mod systemd;
mod v1;
mod v2;
mod values;
mod write;

pub(crate) use check::check;
pub use error::UpdateError;
pub(crate) use values::CPU_PERIOD;
pub(crate) use write::put;

#[cfg(test)]
mod tests;
