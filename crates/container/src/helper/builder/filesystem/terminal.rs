//! In the container: the terminal of its init, which is one of its own devpts.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use medley_sys::in_root::{self, Missing};
use medley_sys::message;
use medley_sys::mount::MountClone;

use super::Error;
use crate::helper::console;

/// Where programs look for it.
const CONSOLE: &str = "/dev/console";

/// What its master is called where it is sent to.
const NAME: &[u8] = b"/dev/ptmx";

/// Makes it the stdio of this process, and sends its master to `socket`. To be the controlling one it has to
/// wait for a session.
pub(super) fn make(root: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> Result<(), Error> {
    let (master, slave) = console::open_in(root).map_err(Error::Console)?;
    let put = in_root::make(root, Path::new(CONSOLE), Missing::File)
        .and_then(|at| MountClone::of_dir(slave.as_fd())?.attach_on(at.as_fd()));
    put.map_err(|source| Error::Terminal("mount", source))?;
    message::send(socket, NAME, &[master.as_fd()])
        .map_err(|source| Error::Terminal("hand over", source))?;
    let dup = rustix::stdio::dup2_stdin(&slave)
        .and_then(|()| rustix::stdio::dup2_stdout(&slave))
        .and_then(|()| rustix::stdio::dup2_stderr(&slave));
    dup.map_err(|errno| Error::Terminal("take", errno.into()))
}
