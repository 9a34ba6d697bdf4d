//! The container ends of stdio.
//!
//! containerd and its clients make FIFOs and name them in Create. A container without a terminal
//! gets the FIFO itself: its bytes are not copied. The shim keeps a second handle of each, so
//! that a reader that goes away (a restart of containerd, a client that detaches) does not send
//! SIGPIPE to the container, and a writer that goes away does not end its stdin. The output of
//! an exec is copied: a process that it leaves behind may keep its end open for ever, and the reader
//! must see the end all the same.
//!
//! A process with a terminal gets the slave. The shim keeps the master, and copies between it and the
//! FIFOs in tasks: no thread, and no more memory than one chunk.
//!
//! Output can be logged as well: appended to a file (`file:`), or given to a program (`binary:`,
//! `binary-v2:`), as containerd's own shim does.

mod copy_output;
mod driver;
mod error;
mod fifo;
mod inherited;
mod lock;
mod log_file;
mod master;
mod open;
mod stdio;
mod stdio_handles;
mod target;
mod terminal;
mod terminal_input;

pub use copy_output::all_copied;
pub use error::Error;
pub use inherited::{inherited, nowhere};
pub use stdio::{ContainerStdio, Owner, Size, Stdio};
pub use stdio_handles::StdioHandles;

#[cfg(test)]
mod tests;
