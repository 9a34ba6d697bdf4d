//! The caller's sockets: for the master of a terminal, and for a pidfd.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use crate::args::Flag;
use crate::failure::Failure;

pub(crate) const SOCKET: Flag = Flag::with(
    "console-socket",
    "",
    "SOCKET",
    "the socket that the master of the terminal is sent to",
);
pub(crate) const PIDFD_SOCKET: Flag = Flag::with(
    "pidfd-socket",
    "",
    "SOCKET",
    "the socket that the pidfd is sent to",
);

/// What goes with a descriptor: the name that it has for runc.
const MASTER: &[u8] = b"/dev/ptmx";

/// A socket that takes descriptors.
#[derive(Debug)]
pub(crate) struct ConsoleSocket(UnixStream);

impl ConsoleSocket {
    /// Connects to it before anything is made.
    pub(crate) fn connect(path: &str) -> Result<Self, Failure> {
        let connected = UnixStream::connect(path);
        let failed = Failure::when(format!("connect to the socket {path}"));
        connected.map(Self).map_err(failed)
    }

    /// Sends a descriptor.
    pub(crate) fn send(&self, fd: &impl AsFd) -> Result<(), Failure> {
        medley_sys::message::send(&self.0, MASTER, &[fd.as_fd()])
            .map_err(Failure::when("send a descriptor to the caller's socket"))
    }
}

/// Refuses a terminal that has no taker, and a taker of no terminal.
pub(crate) fn check(detach: bool, terminal: bool, socket: Option<&str>) -> Result<(), Failure> {
    if detach && terminal && socket.is_none() {
        return Err(Failure::new(
            "cannot allocate tty if medley will detach without setting console socket",
        ));
    }
    if !(detach && terminal) && socket.is_some() {
        return Err(Failure::new(
            "cannot use console socket if medley will not detach or allocate tty",
        ));
    }
    Ok(())
}
