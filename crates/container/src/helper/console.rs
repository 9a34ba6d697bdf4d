//! In the helper: a terminal of the container, whose slave a process gets and whose master goes
//! to the shim.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use medley_sys::in_root;
use medley_sys::pidfd::PidFd;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use crate::protocol::TerminalRequest;

/// What opens a new terminal of a devpts mount. `/dev/ptmx` is only a link to it, which a
/// container may have pointed elsewhere.
const MULTIPLEXER: &str = "dev/pts/ptmx";

/// What `statfs` calls a devpts: `DEVPTS_SUPER_MAGIC` of `linux/magic.h`.
const DEVPTS: u64 = 0x1cd1;

/// The multiplexer's device number.
const MULTIPLEXER_DEVICE: (u32, u32) = (5, 2);

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot {what} for the terminal")]
    Socket {
        what: &'static str,
        source: io::Error,
    },
    #[error("the container's init sent no terminal")]
    NoMaster,
    #[error("cannot open a terminal at /{MULTIPLEXER} inside the container")]
    Open(#[source] io::Error),
    #[error(
        "/{MULTIPLEXER} inside the container does not belong to a devpts mount: there is no \
         terminal to be had"
    )]
    NotDevpts,
    #[error("cannot {what} the terminal")]
    Prepare {
        what: &'static str,
        source: io::Error,
    },
}

/// Where libcontainer's init sends the master of the terminal that it makes.
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ConsoleSocket {
    /// Listens in the directory of the container's state.
    pub(crate) fn listen(state: &Path) -> Result<Self, Error> {
        const NAME: &str = "console.sock";
        let failed = |source| Error::Socket {
            what: "listen on a socket",
            source,
        };
        // A bundle's path is too long for a socket's address; one through a descriptor is not.
        let dir = std::fs::File::open(state).map_err(failed)?;
        // That of an attempt which failed.
        match std::fs::remove_file(state.join(NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let through = Path::new("/proc/self/fd")
            .join(dir.as_fd().as_raw_fd().to_string())
            .join(NAME);
        let listener = UnixListener::bind(through).map_err(failed)?;
        // A connection that is not there once the container is made never comes.
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            listener,
            path: state.join(NAME),
        })
    }

    /// Where it is. libcontainer connects by a short link of its own.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The master of the terminal of a container that was made.
    pub(crate) fn receive(self, request: &TerminalRequest) -> Result<OwnedFd, Error> {
        let failed = |source| Error::Socket {
            what: "receive a descriptor",
            source,
        };
        let (connection, _) = self.listener.accept().map_err(failed)?;
        let (_, fds) = medley_sys::message::receive(&connection).map_err(failed)?;
        let master = fds.into_iter().next().ok_or(Error::NoMaster)?;
        std::fs::remove_file(&self.path).map_err(failed)?;
        prepare(&master, request)?;
        Ok(master)
    }
}

/// Opens a terminal of the container that process `init` is in: master and slave.
///
/// From outside of its namespaces, where we may give it to whom we like, and by paths that are
/// resolved inside.
pub(crate) fn open(init: &PidFd, request: &TerminalRequest) -> Result<(OwnedFd, OwnedFd), Error> {
    let failed = |errno: rustix::io::Errno| Error::Open(errno.into());
    let root = rustix::fs::open(
        format!("/proc/{}/root", init.pid()),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(failed)?;
    // The root was init's, and not that of a process that has its pid by now.
    init.must_live().map_err(Error::Open)?;
    let master = open_master(root.as_fd())?;
    let slave = prepare(&master, request)?;
    Ok((master, slave))
}

/// Opens a terminal of the container with this root: master and slave, which root owns.
pub(crate) fn open_in(root: BorrowedFd<'_>) -> Result<(OwnedFd, OwnedFd), Error> {
    let master = open_master(root)?;
    let slave = open_slave(&master)?;
    Ok((master, slave))
}

fn open_master(root: BorrowedFd<'_>) -> Result<OwnedFd, Error> {
    let failed = |errno: rustix::io::Errno| Error::Open(errno.into());
    let open = |flags| in_root::open(root, Path::new(MULTIPLEXER), flags).map_err(failed);
    // Named first, opened then: what is no multiplexer notices nothing.
    let seen = open(OFlags::PATH)?;
    must_be_multiplexer(&seen)?;
    let master = open(OFlags::RDWR | OFlags::NOCTTY)?;
    must_be_multiplexer(&master)?;
    rustix::pty::unlockpt(&master).map_err(failed)?;
    Ok(master)
}

/// By the master, not by a path that leads where the container wants.
fn open_slave(master: &OwnedFd) -> Result<OwnedFd, Error> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let opened = rustix::pty::ioctl_tiocgptpeer(master, flags);
    opened.map_err(|errno| Error::Prepare {
        what: "open",
        source: errno.into(),
    })
}

fn must_be_multiplexer(fd: &OwnedFd) -> Result<(), Error> {
    let failed = |errno: rustix::io::Errno| Error::Open(errno.into());
    let kind = rustix::fs::fstatfs(fd).map_err(failed)?.f_type;
    let device = rustix::fs::fstat(fd).map_err(failed)?.st_rdev;
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    if u64::try_from(kind).is_ok_and(|kind| kind == DEVPTS) && device == MULTIPLEXER_DEVICE {
        Ok(())
    } else {
        Err(Error::NotDevpts)
    }
}

/// Gives the terminal its owner and its first size, and opens its slave.
fn prepare(master: &OwnedFd, request: &TerminalRequest) -> Result<OwnedFd, Error> {
    let failed = |what| {
        move |errno: rustix::io::Errno| Error::Prepare {
            what,
            source: errno.into(),
        }
    };
    let slave = open_slave(master)?;
    rustix::fs::fchown(&slave, Some(Uid::from_raw(request.owner)), None::<Gid>)
        .map_err(failed("give the user"))?;
    if let Some((rows, columns)) = request.size {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(master, size).map_err(failed("set the size of"))?;
    }
    Ok(slave)
}
