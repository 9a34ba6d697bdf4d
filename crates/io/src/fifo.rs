//! The FIFOs that containerd and its clients make.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::Error;

/// A client must open its end within this time. Clients do so before they call Create. A Delete waits for
/// a Create that was given up, and has 5 s from containerd.
const PEER_TIMEOUT: Duration = Duration::from_secs(1);

/// And one with input for an exec within this one: it opens its end before it calls Exec too. What comes
/// later is read as well.
const WRITER_TIMEOUT: Duration = Duration::from_millis(100);

/// Pause between two looks at a FIFO that nothing has open at its other end.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The reading end of an exec's stdin: its input ends when the client closes its end. Where no client has
/// opened that in time, as one without input that has closed it already, a writing end is given too, and
/// the input ends when that is closed.
pub(crate) fn session_input(path: &Path, uid: u32) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    const STREAM: &str = "stdin";
    // It never waits, and is the peer that a client's open may wait for.
    let read = open_fifo(STREAM, path, OFlags::RDONLY)?;
    let keeper = match has_writer_soon(&read) {
        Ok(true) => None,
        Ok(false) => Some(open_fifo(STREAM, path, OFlags::RDWR)?),
        Err(errno) => {
            return Err(Error::Open {
                stream: STREAM,
                path: path.to_owned(),
                source: errno.into(),
            });
        }
    };
    chown_fd(STREAM, path, &read, uid)?;
    Ok((read, keeper))
}

/// Whether a client has opened a FIFO, for which it has some time: without one a read is the end of input.
fn has_writer_soon(read: &OwnedFd) -> rustix::io::Result<bool> {
    let deadline = Instant::now() + WRITER_TIMEOUT;
    let (_unread, copy) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    loop {
        // It takes nothing out: of an empty FIFO with a writer there is nothing yet, and of one without
        // never.
        match rustix::pipe::tee(read, &copy, 1, SpliceFlags::NONBLOCK) {
            Ok(0) => {}
            Ok(_) | Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        // One that has come and gone.
        let mut seen = [PollFd::new(read, PollFlags::empty())];
        if rustix::event::poll(&mut seen, Some(&Timespec::default()))? > 0 {
            return Ok(true);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

pub(crate) fn input(path: &Path, uid: u32) -> Result<(OwnedFd, Option<OwnedFd>), Error> {
    const STREAM: &str = "stdin";
    // Opened for both directions first: that never waits, and is the peer of the opens below.
    let both = open_fifo(STREAM, path, OFlags::RDWR)?;
    let read = open_fifo(STREAM, path, OFlags::RDONLY)?;
    let write = open_fifo(STREAM, path, OFlags::WRONLY)?;
    drop(both);
    chown_fd(STREAM, path, &read, uid)?;
    Ok((read, Some(write)))
}

/// Sets `O_NONBLOCK` on an end.
pub(crate) fn without_waiting(
    stream: &'static str,
    path: &Path,
    fd: OwnedFd,
) -> Result<OwnedFd, Error> {
    rustix::io::ioctl_fionbio(&fd, true).map_err(|errno| Error::Open {
        stream,
        path: path.to_owned(),
        source: errno.into(),
    })?;
    Ok(fd)
}

/// The writing end of an output, and a reading end that keeps writers from SIGPIPE.
pub(crate) fn output(
    stream: &'static str,
    path: &Path,
    uid: u32,
) -> Result<(OwnedFd, OwnedFd), Error> {
    let write = open_for_reader(stream, path)?;
    let read = open_fifo(stream, path, OFlags::RDONLY)?;
    chown_fd(stream, path, &write, uid)?;
    Ok((write, read))
}

/// Opens the writing end once a reader has the FIFO open.
///
/// A client may be about to open it. If the container had ended before that, the client would wait for a
/// writer for ever.
fn open_for_reader(stream: &'static str, path: &Path) -> Result<OwnedFd, Error> {
    let deadline = Instant::now() + PEER_TIMEOUT;
    loop {
        match open_fifo(stream, path, OFlags::WRONLY) {
            Err(Error::Open { source, .. })
                if source.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) =>
            {
                if Instant::now() > deadline {
                    // No reader came in time: containerd may be down, and will read later.
                    let _both = open_fifo(stream, path, OFlags::RDWR)?;
                    return open_fifo(stream, path, OFlags::WRONLY);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
            result => return result,
        }
    }
}

pub(crate) fn open_fifo(
    stream: &'static str,
    path: &Path,
    flags: OFlags,
) -> Result<OwnedFd, Error> {
    let failed = |source: io::Error| Error::Open {
        stream,
        path: path.to_owned(),
        source,
    };
    let fd = rustix::fs::open(
        path,
        flags | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )
    .map_err(|errno| failed(errno.into()))?;
    let file = File::from(fd);
    if !file.metadata().map_err(failed)?.file_type().is_fifo() {
        return Err(Error::NotAFifo {
            stream,
            path: path.to_owned(),
        });
    }
    // The open must not block, but the container expects stdio that blocks.
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(|errno| failed(errno.into()))?;
    Ok(file.into())
}

pub(crate) fn chown_fd(
    stream: &'static str,
    path: &Path,
    fd: &OwnedFd,
    uid: u32,
) -> Result<(), Error> {
    if uid == 0 {
        return Ok(());
    }
    rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None::<Gid>).map_err(|errno| Error::Open {
        stream,
        path: path.to_owned(),
        source: errno.into(),
    })
}

pub(crate) fn null(stream: &'static str, flags: OFlags) -> Result<OwnedFd, Error> {
    const NULL: &str = "/dev/null";
    rustix::fs::open(NULL, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| Error::Open {
        stream,
        path: NULL.into(),
        source: errno.into(),
    })
}
