//! Signals as something to read, for a process that passes them on.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Every signal that can be held back.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Holds back every signal from here on, for threads that are made later as well. Programs that are
    /// run from here on begin with the same, unless they undo it.
    ///
    /// # Errors
    /// Those of `sigprocmask` and `signalfd`.
    pub fn of_all() -> io::Result<Self> {
        // SAFETY: an all-zero set is a valid one for `sigfillset` to fill; the sets outlive the calls, and
        // the descriptor that `signalfd` gives belongs to no other owner.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            if libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next signal that has come, if one has.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn next(&self) -> io::Result<Option<i32>> {
        const SIZE: usize = size_of::<libc::signalfd_siginfo>();
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        // SAFETY: the buffer is ours and has the size that is given.
        let size = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), SIZE) };
        if size < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        // SAFETY: all-zero bytes are a valid value, which the kernel has overwritten.
        let info = unsafe { info.assume_init() };
        Ok(i32::try_from(info.ssi_signo)
            .ok()
            .filter(|signal| *signal > 0))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
