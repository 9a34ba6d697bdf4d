//! Descriptors in a message.
//!
//! A message is generic over its descriptors: [`BorrowedFd`](std::os::fd::BorrowedFd) or
//! [`OwnedFd`] where it is sent, [`OwnedFd`] where it was received, and [`Slot`] on the wire. So each
//! descriptor has a name, a message that lacks one does not compile, and one that names a descriptor
//! which did not come with it is refused.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// The place of a descriptor among those that go with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slot(usize);

/// The descriptors of a message that is about to be sent.
#[derive(Debug)]
pub(crate) struct OutgoingFds<F>(Vec<F>);

impl<F> OutgoingFds<F> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn put(&mut self, fd: F) -> Slot {
        self.0.push(fd);
        Slot(self.0.len() - 1)
    }

    pub(crate) fn as_slice(&self) -> &[F] {
        &self.0
    }
}

/// The descriptors that came with a message, each to be taken once.
#[derive(Debug)]
pub(crate) struct IncomingFds(Vec<Option<OwnedFd>>);

/// A message that cannot be taken for what it says.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the message names descriptor {slot} of {came}, which is not there or named twice")]
pub(crate) struct MissingFd {
    slot: usize,
    came: usize,
}

impl IncomingFds {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    pub(crate) fn take(&mut self, Slot(slot): Slot) -> Result<OwnedFd, MissingFd> {
        let came = self.0.len();
        let fd = self.0.get_mut(slot).and_then(Option::take);
        fd.ok_or(MissingFd { slot, came })
    }
}
