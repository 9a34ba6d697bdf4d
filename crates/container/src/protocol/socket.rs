//! How requests and replies go over the socket.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use medley_sys::message;

use super::descriptors::{IncomingFds, MissingFd, OutgoingFds, Slot};
use super::reply::{Failure, Reply};
use super::request::Request;

/// Why a message could not be received.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error("cannot receive a request")]
    Receive(#[source] io::Error),
    #[error("cannot read the request")]
    Read(#[from] serde_json::Error),
    #[error("cannot read the request")]
    Fds(#[from] MissingFd),
}

impl Request<BorrowedFd<'_>> {
    /// Sends the request to a helper.
    pub(crate) fn send(self, socket: &OwnedFd) -> io::Result<()> {
        let mut fds = OutgoingFds::new();
        let Ok(wire) = self.try_map(&mut |fd| Ok::<Slot, Infallible>(fds.put(fd)));
        message::send_document(socket, &serde_json::to_vec(&wire)?, fds.as_slice())
    }
}

impl Request<OwnedFd> {
    /// Takes the next request of the shim.
    pub(crate) fn receive(socket: &OwnedFd) -> Result<Self, ReceiveError> {
        let (bytes, fds) = message::receive_document(socket).map_err(ReceiveError::Receive)?;
        let wire: Request<Slot> = serde_json::from_slice(&bytes)?;
        let mut fds = IncomingFds::new(fds);
        Ok(wire.try_map(&mut |slot| fds.take(slot))?)
    }
}

/// Sends a helper's reply to the shim.
pub(crate) fn send_reply<R: Reply>(socket: &OwnedFd, reply: Result<R, Failure>) -> io::Result<()> {
    let mut fds = OutgoingFds::new();
    let wire = reply.map(|reply| reply.pack(&mut fds));
    let bytes = serde_json::to_vec(&wire)?;
    let fds: Vec<_> = fds.as_slice().iter().map(AsFd::as_fd).collect();
    message::send_document(socket, &bytes, &fds)
}

/// Takes a helper's reply. One that was received and makes no sense is [`io::ErrorKind::InvalidData`].
pub(crate) fn receive_reply<R: Reply>(socket: &OwnedFd) -> io::Result<Result<R, Failure>> {
    let (bytes, fds) = message::receive_document(socket)?;
    let wire: Result<R::Wire, Failure> = serde_json::from_slice(&bytes).map_err(malformed)?;
    let mut fds = IncomingFds::new(fds);
    match wire {
        Ok(wire) => Ok(Ok(R::unpack(wire, &mut fds).map_err(malformed)?)),
        Err(failure) => Ok(Err(failure)),
    }
}

fn malformed(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
