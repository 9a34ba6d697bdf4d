//! A pipe whose end is a signal.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

/// The signal that says that a pipe has ended. Its default would end a process as well, but for the
/// first of a pid namespace.
pub const SIGNAL: i32 = libc::SIGIO;

/// A further reading end of the pipe of `reader`, which shares nothing with it: each of the two tells
/// another process of the pipe's end.
///
/// # Errors
/// Those of opening it by `/proc`.
pub fn own_end(reader: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Has the kernel send [`SIGNAL`] to process `pid` once the pipe's last writing end is closed, as long
/// as this reading end is open. It is sent with the caller's rights, with any user that the process has by
/// then.
///
/// # Errors
/// Those of `fcntl`.
pub fn tell_end(reader: &impl AsFd, pid: i32) -> io::Result<()> {
    let fd = reader.as_fd().as_raw_fd();
    // SAFETY: these commands read no memory; the descriptor is open. rustix does not have F_SETOWN.
    let done = unsafe {
        libc::fcntl(fd, libc::F_SETOWN, pid) == 0
            && libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK | libc::O_ASYNC) == 0
    };
    if done {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::{SIGNAL, own_end, tell_end};
    use std::os::fd::AsFd;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_process_hears_of_the_pipes_end_and_not_before() {
        let (reader, writer) = std::io::pipe().unwrap();
        let sleeper = || Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let (mut told, mut spared) = (sleeper(), sleeper());
        let pid = |child: &std::process::Child| i32::try_from(child.id()).unwrap();
        let ends = [&told, &spared].map(|child| {
            let end = own_end(reader.as_fd()).unwrap();
            tell_end(&end, pid(child)).unwrap();
            end
        });
        let [held, let_go] = ends;
        drop(let_go);
        assert!(told.try_wait().unwrap().is_none());
        drop(writer);
        assert_eq!(told.wait().unwrap().signal(), Some(SIGNAL));
        assert!(spared.try_wait().unwrap().is_none());
        spared.kill().unwrap();
        spared.wait().unwrap();
        drop(held);
    }
}
