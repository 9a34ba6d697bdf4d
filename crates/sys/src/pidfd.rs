//! Processes held by descriptor: a signal never reaches a recycled pid.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use medley_types::exit_status;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use tokio::io::unix::AsyncFd;

/// A process, held by its pidfd.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
    pid: Pid,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code, 0 to 255.
    Exited(u8),
    /// This signal ended it.
    Signaled(u8),
}

impl ExitStatus {
    /// The exit status as shells and containerd count it: 128 and the signal's number.
    #[must_use]
    pub fn status(self) -> u32 {
        match self {
            Self::Exited(code) => u32::from(code),
            Self::Signaled(signal) => u32::from(exit_status::of_signal(signal)),
        }
    }
}

impl PidFd {
    /// Opens the process with this pid.
    ///
    /// The caller makes sure that the pid can't be recycled: it is a child of ours that no thread
    /// has reaped.
    ///
    /// # Errors
    /// `ESRCH` if there is no such process.
    pub fn open(pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self { fd, pid })
    }

    /// The process with this pid that another process of ours has opened and sent.
    ///
    /// # Errors
    /// `ESRCH` if `pid` is no pid.
    pub fn received(fd: OwnedFd, pid: i32) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH)?;
        Ok(Self { fd, pid })
    }

    /// Whether the process has not ended. What was read of `/proc/<pid>` before was this process's
    /// if it has not, since its pid belongs to no other until it is reaped.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(!self.wait_for_end(Some(Duration::ZERO))?)
    }

    /// Waits for its end, and says whether it has come within `timeout`.
    ///
    /// # Errors
    /// Those of `poll`.
    pub fn wait_for_end(&self, timeout: Option<Duration>) -> io::Result<bool> {
        crate::watch::wait_readable(self.as_fd(), timeout)
    }

    /// As [`Self::is_alive`], for those who can go on with a living process alone.
    ///
    /// # Errors
    /// `ESRCH` if it has ended.
    pub fn must_live(&self) -> io::Result<()> {
        if self.is_alive()? {
            Ok(())
        } else {
            Err(rustix::io::Errno::SRCH.into())
        }
    }

    /// The pid, in the shim's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends signal number `signal`, real-time ones included.
    ///
    /// # Errors
    /// `ESRCH` if the process has ended and was reaped, `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: pidfd_send_signal reads no memory when its third argument is null. rustix has
        // this call for named signals only; containerd sends any number.
        let result = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Reaps the process if it has ended; it must be a child of the calling process.
    ///
    /// # Errors
    /// `ECHILD` if it is not ours to reap, or not any more.
    pub fn try_reap(&self) -> io::Result<Option<ExitStatus>> {
        let status = rustix::process::waitid(
            WaitId::PidFd(self.fd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
        match status {
            // With NOHANG and a non-blocking pidfd, a process that lives on reads as EAGAIN.
            Ok(None) | Err(rustix::io::Errno::AGAIN) => Ok(None),
            Ok(Some(status)) => Ok(Some(
                match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => {
                        ExitStatus::Exited((code & 0xff).try_into().unwrap_or(u8::MAX))
                    }
                    (None, Some(signal)) => {
                        ExitStatus::Signaled(signal.try_into().unwrap_or(u8::MAX))
                    }
                    (None, None) => ExitStatus::Exited(u8::MAX),
                },
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// A handle that tokio finds readable once the process has ended.
    ///
    /// # Errors
    /// If there is no descriptor left, or no tokio runtime with IO.
    pub fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        crate::watch::readable(self.fd.as_fd())
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{ExitStatus, PidFd};
    use std::process::Command;

    #[test]
    fn a_signal_ends_the_process_and_its_status_is_reaped_once() {
        #[allow(clippy::zombie_processes, reason = "the pidfd under test reaps it")]
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = PidFd::open(child.id().try_into().unwrap()).unwrap();
        assert_eq!(process.try_reap().unwrap(), None);
        process.must_live().unwrap();
        process.signal(15).unwrap();
        let ended = loop {
            if let Some(ended) = process.try_reap().unwrap() {
                break ended;
            }
            std::thread::yield_now();
        };
        assert_eq!(ended, ExitStatus::Signaled(15));
        assert_eq!(ended.status(), 143);
        assert!(process.try_reap().is_err());
        assert!(!process.is_alive().unwrap());
        assert_eq!(
            process.signal(15).unwrap_err().raw_os_error(),
            Some(libc::ESRCH)
        );
    }

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        let process = PidFd::open(std::process::id().try_into().unwrap()).unwrap();
        assert_eq!(
            process.signal(999).unwrap_err().raw_os_error(),
            Some(libc::EINVAL)
        );
    }
}
