//! The same containers for a command that ends before they do: it makes one, or opens one that another
//! command has made, by what is on record of it.
//!
//! No process of ours stays: init waits by itself to be started, its stdio is the command's own, and the
//! terminal's master is handed to who asked for it.

mod commands;
mod create;
mod exec;
mod record;
mod start;
mod state_dir;

pub use super::about::About;
pub use commands::Commands;
pub use create::{Created, NewContainer};
pub use exec::{ExecProcess, NewProcess};
pub use record::{Record, Status};
pub use state_dir::{Exists, StateDir};
