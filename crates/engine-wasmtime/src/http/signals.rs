//! The signals that ask a server to end: every one that ends a program which has no handler for
//! it, as an image's `STOPSIGNAL` may be any of them (nginx has SIGQUIT, httpd SIGWINCH, systemd
//! SIGRTMIN+3). Those of a fault of the program itself are not among them.

use std::io::{self, IsTerminal};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use libc::c_int;
use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

/// Those that have names.
const NAMED: [c_int; 13] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGTERM,
    libc::SIGSTKFLT,
    libc::SIGXCPU,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
];

/// Where the handler writes the numbers of signals to.
static HEARD: AtomicI32 = AtomicI32::new(-1);

/// The signals that have come.
#[derive(Debug)]
pub(super) struct Signals(Receiver);

impl Signals {
    /// Hears of signals from now on. Must be called within a runtime.
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        // A signal handler must not wait.
        rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK)?;
        let receiver = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        // Stays open as long as the process: a handler may run at any time.
        HEARD.store(OwnedFd::from(writer).into_raw_fd(), Ordering::Release);
        for signal in NAMED {
            handle(signal)?;
        }
        for signal in libc::SIGRTMIN()..=libc::SIGRTMAX() {
            handle(signal)?;
        }
        // A terminal sends it when it changes its size. Without one it is httpd's STOPSIGNAL.
        if !io::stdin().is_terminal() && !io::stdout().is_terminal() {
            handle(libc::SIGWINCH)?;
        }
        Ok(Self(receiver))
    }

    /// The number of the next one.
    pub(super) async fn next(&mut self) -> u8 {
        match self.0.read_u8().await {
            Ok(signal) => signal,
            // The other end is never closed.
            Err(_) => std::future::pending().await,
        }
    }
}

extern "C" fn hear(signal: c_int) {
    let number = u8::try_from(signal).unwrap_or_default();
    // SAFETY: write and errno are async-signal-safe, the byte lives through the call, and errno is
    // what it was when the interrupted code goes on.
    unsafe {
        let errno = *libc::__errno_location();
        let pipe = HEARD.load(Ordering::Acquire);
        libc::write(pipe, (&raw const number).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

fn handle(signal: c_int) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid one (no flags, empty mask).
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = hear as *const () as usize;
    // On the alternate stack if there is one: a handler's own stack may be used up.
    action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: `action` is initialised, its handler is async-signal-safe, and the old action is
    // not asked for. rustix has no sigaction.
    let result = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
