//! Descriptors of no kind of tokio's own, watched by it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A handle of its own on what `fd` names, which tokio finds readable when that is.
///
/// # Errors
/// If there is no descriptor left, or no tokio runtime with IO.
pub fn readable(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let fd = fd.try_clone_to_owned()?;
    // SAFETY: the wrapper owns the descriptor, which names the same thing for as long as it is
    // registered; an OwnedFd gives no way to swap it. tokio has no safe call for a descriptor
    // that is none of its own kinds.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}
