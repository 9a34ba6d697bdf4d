//! Whole messages with file descriptors over a `SOCK_SEQPACKET` pair.
//!
//! A message is one packet: its bytes and up to [`MAX_FDS`] descriptors arrive together or not
//! at all, and a peer that died reads as an empty packet.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most descriptors that one message carries: stdio, the status pipe, the module, spare.
pub const MAX_FDS: usize = 16;

/// Largest message, in bytes. A spec with a few thousand mounts stays below it; what is larger
/// travels as a descriptor of a file. Below the kernel's default `wmem_default` of 208 KiB.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// A connected pair of sockets, both closed on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Sends `bytes` and `fds` as one message.
///
/// # Errors
/// `EMSGSIZE` if `bytes` is longer than [`MAX_MESSAGE`], `EPIPE` if the peer is gone.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > MAX_MESSAGE || fds.len() > MAX_FDS {
        return Err(rustix::io::Errno::MSGSIZE.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(rustix::io::Errno::MSGSIZE.into());
    }
    loop {
        match rustix::net::sendmsg(
            &socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        ) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Receives one message and its descriptors, which are closed on exec.
///
/// # Errors
/// `UnexpectedEof` if the peer is gone; `InvalidData` if the message was cut.
pub fn receive(socket: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(received) => break received,
        }
    };
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "message between shim and helper was cut",
        ));
    }
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(received.bytes);
    Ok((bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::{pair, receive, send};
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    #[test]
    fn bytes_and_descriptors_arrive_together() {
        let (ours, theirs) = pair().unwrap();
        let (mut read, write) = std::io::pipe().unwrap();
        send(&ours, b"hello", &[write.as_fd()]).unwrap();
        drop(write);
        let (bytes, fds) = receive(&theirs).unwrap();
        assert_eq!(bytes, b"hello");
        for fd in fds {
            std::fs::File::from(fd).write_all(b"through").unwrap();
        }
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[test]
    fn a_dead_peer_is_an_end_of_file() {
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        let error = receive(&theirs).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_message_that_is_too_long_is_refused() {
        let (ours, _theirs) = pair().unwrap();
        assert!(send(&ours, &vec![0; super::MAX_MESSAGE + 1], &[]).is_err());
    }
}
