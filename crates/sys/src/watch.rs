//! Descriptors of no kind of tokio's own, watched by it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A handle of its own on what `fd` names, which tokio finds readable when that is.
///
/// # Errors
/// If there is no descriptor left, or no tokio runtime with IO.
pub fn readable(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    reader(fd.try_clone_to_owned()?)
}

/// `fd`, which tokio finds readable when it is.
///
/// # Errors
/// See [`readable`].
pub fn reader(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE)
}

/// `fd`, which tokio finds writable when it is.
///
/// # Errors
/// See [`readable`].
pub fn writer(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::WRITABLE)
}

/// `fd`, which tokio finds readable and writable when it is.
///
/// # Errors
/// See [`readable`].
pub fn both(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    register(fd, Interest::READABLE | Interest::WRITABLE)
}

/// Waits until `fd` is readable or its peer is gone, and says whether that came within `timeout`.
///
/// # Errors
/// Those of `poll`.
pub fn wait_readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    Ok(wait_any(&[fd], timeout)?.is_some())
}

/// Waits until one of `fds` is readable or its peer is gone, and gives the place of the first one that
/// is; `None` if none is within `timeout`.
///
/// # Errors
/// Those of `poll`.
pub fn wait_any(fds: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Option<usize>> {
    let mut watched: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(Timespec::try_from).transpose();
        let left = left.map_err(io::Error::other)?;
        match rustix::event::poll(&mut watched, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(_) => return Ok(watched.iter().position(|fd| !fd.revents().is_empty())),
        }
    }
}

fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the wrapper owns the descriptor, which names the same thing for as long as it is
    // registered; an OwnedFd gives no way to swap it. tokio has no safe call for a descriptor
    // that is none of its own kinds.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(Into::into)
}
