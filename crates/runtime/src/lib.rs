//! Between the Task API and the containers of this node.
//!
//! The Task API is asynchronous and knows no container; what makes containers waits and knows no
//! call. Each trait of `medley-task` has its local implementation here, which moves what may wait to
//! a thread and translates requests and errors.

mod blocking;
mod container;
mod exit;
mod local;
mod oom;
pub mod options;
mod process;
mod sandbox;

pub use medley_io::all_copied;

pub use local::{Defaults, LocalRuntime};
