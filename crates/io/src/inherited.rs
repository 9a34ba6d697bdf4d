//! Our own stdio, for a process that outlives us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, OFlags, Uid};
use rustix::io::Errno;

use crate::{ContainerStdio, Error, fifo};

/// What a process of the node's user `uid` inherits of ours.
///
/// # Errors
/// [`Error::Open`] if there are no descriptors left.
pub fn inherited(uid: u32) -> Result<ContainerStdio, Error> {
    Ok(ContainerStdio {
        stdin: own("stdin", rustix::stdio::stdin(), uid)?,
        stdout: own("stdout", rustix::stdio::stdout(), uid)?,
        stderr: own("stderr", rustix::stdio::stderr(), uid)?,
    })
}

/// Nothing to read, and nowhere to write.
///
/// # Errors
/// [`Error::Open`] if `/dev/null` can't be opened.
pub fn nowhere() -> Result<ContainerStdio, Error> {
    Ok(ContainerStdio {
        stdin: fifo::null("stdin", OFlags::RDONLY)?,
        stdout: fifo::null("stdout", OFlags::WRONLY)?,
        stderr: fifo::null("stderr", OFlags::WRONLY)?,
    })
}

fn own(stream: &'static str, fd: BorrowedFd<'_>, uid: u32) -> Result<OwnedFd, Error> {
    let own = fd.try_clone_to_owned().map_err(|source| Error::Open {
        stream,
        path: format!("/dev/{stream}").into(),
        source,
    })?;
    give(&own, uid);
    Ok(own)
}

/// Gives the process's user what it reads or writes, as runc does, so that it may open `/dev/stdout`
/// again. A device that all share, and what can't be given, stay whose they are.
fn give(fd: &impl AsFd, uid: u32) {
    let Ok(file) = rustix::fs::fstat(fd) else {
        return;
    };
    let shared = FileType::from_raw_mode(file.st_mode) == FileType::CharacterDevice
        && rustix::fs::major(file.st_rdev) == 1;
    if shared || file.st_uid == uid {
        return;
    }
    match rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>) {
        Ok(()) | Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::NOTSUP) => {}
        Err(errno) => log::debug!("stdio is not given to the user {uid}: {errno}"),
    }
}
