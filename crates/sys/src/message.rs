//! Whole messages with file descriptors over a `SOCK_SEQPACKET` pair.
//!
//! A message is one packet: its bytes and up to [`MAX_FDS`] descriptors arrive together or not
//! at all, and a peer that died reads as an empty packet.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// Most descriptors that one message carries: what a guest learns of its limits by is most.
pub const MAX_FDS: usize = 96;

/// Largest message, in bytes; a [document](send_document) may be larger. Below the kernel's default
/// `wmem_default` of 208 KiB.
pub const MAX_MESSAGE: usize = 128 * 1024;

/// Largest document, in bytes. The arguments and the environment of a program have a few MiB at most,
/// and JSON makes up to six times of that.
pub const MAX_DOCUMENT: u64 = 64 << 20;

/// The first byte of a message that holds its document.
const INLINE: u8 = 0;

/// The first byte of one whose document is in a file, which is its last descriptor.
const IN_FILE: u8 = 1;

/// A connected pair of sockets, both closed on exec.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// A descriptor of ours for what a library has received as a number.
///
/// # Errors
/// `EBADF` if it is not open.
pub fn duplicate(number: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a number that is not open is an error, and nothing else owns the descriptor that is made.
    unsafe {
        let new = libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0);
        if new < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(new))
    }
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

/// Sends a document of any size up to [`MAX_DOCUMENT`], and `fds`, to [`receive_document`].
///
/// # Errors
/// `EMSGSIZE` if it is longer, `EPIPE` if the peer is gone, and those of making a file in memory.
pub fn send_document(socket: impl AsFd, document: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    if document.len() < MAX_MESSAGE {
        let mut message = Vec::with_capacity(1 + document.len());
        message.push(INLINE);
        message.extend_from_slice(document);
        return send(socket, &message, fds);
    }
    if u64::try_from(document.len()).map_or(true, |size| size > MAX_DOCUMENT) {
        return Err(rustix::io::Errno::MSGSIZE.into());
    }
    let file = rustix::fs::memfd_create("medley-document", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(document)?;
    let mut fds = fds.to_vec();
    fds.push(file.as_fd());
    send(socket, &[IN_FILE], &fds)
}

/// Receives what [`send_document`] has sent. The descriptors are closed on exec.
///
/// # Errors
/// `UnexpectedEof` if the peer is gone; `InvalidData` if it sent something else.
pub fn receive_document(socket: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut message, mut fds) = receive(socket)?;
    match message.first() {
        Some(&INLINE) => {
            message.remove(0);
            Ok((message, fds))
        }
        Some(&IN_FILE) => {
            let mut file = File::from(fds.pop().ok_or(io::ErrorKind::InvalidData)?);
            file.rewind()?;
            let mut document = Vec::new();
            file.take(MAX_DOCUMENT).read_to_end(&mut document)?;
            Ok((document, fds))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
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
    use super::{pair, receive, receive_document, send, send_document};
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

    #[test]
    fn a_document_of_any_size_arrives_with_its_descriptors() {
        let (ours, theirs) = pair().unwrap();
        for size in [0, 1, super::MAX_MESSAGE - 1, super::MAX_MESSAGE, 5 << 20] {
            let (mut read, write) = std::io::pipe().unwrap();
            let document: Vec<u8> = (0_u8..=255).cycle().take(size).collect();
            send_document(&ours, &document, &[write.as_fd()]).unwrap();
            drop(write);
            let (bytes, fds) = receive_document(&theirs).unwrap();
            assert!(bytes == document, "{size} bytes arrived as {}", bytes.len());
            assert_eq!(fds.len(), 1);
            drop(fds);
            assert_eq!(read.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn a_document_past_the_limit_is_refused() {
        let (ours, _theirs) = pair().unwrap();
        let document = vec![0; usize::try_from(super::MAX_DOCUMENT).unwrap() + 1];
        let error = send_document(&ours, &document, &[]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
