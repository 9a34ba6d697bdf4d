//! A process in the foreground: the signals that we get are its own, and so is our terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;

use medley_sys::pidfd::{ExitStatus, PidFd};
use medley_sys::signal_fd::SignalFd;
use medley_sys::{children, watch};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, OutputModes, Termios};

use crate::failure::Failure;

/// Most that is copied at once, in bytes.
const CHUNK: usize = 32 << 10;

/// What goes on between us and a process.
#[derive(Debug)]
pub(crate) struct Session {
    signals: SignalFd,
    terminal: Option<Terminal>,
}

/// Begins to copy between our stdio and a terminal, if there is one.
pub(crate) fn begin(terminal: Option<OwnedFd>, signals: SignalFd) -> Result<Session, Failure> {
    let terminal = terminal.map(Terminal::new).transpose()?;
    Ok(Session { signals, terminal })
}

impl Session {
    /// Waits for the end of `process`, a child of ours, and gives its exit status.
    pub(crate) fn wait(mut self, process: &PidFd) -> Result<u8, Failure> {
        let ended = self.pass_signals(process);
        if let Some(terminal) = &mut self.terminal {
            terminal.finish();
        }
        let status = ended?.status();
        Ok(u8::try_from(status).unwrap_or(u8::MAX))
    }

    fn pass_signals(&self, process: &PidFd) -> Result<ExitStatus, Failure> {
        let failed = Failure::when("wait for the process");
        loop {
            let ready = watch::wait_any(&[process.as_fd(), self.signals.as_fd()], None);
            if ready.map_err(&failed)? == Some(0)
                && let Some(ended) = children::reap(process).map_err(&failed)?
            {
                return Ok(ended);
            }
            while let Some(signal) = self.signals.next().map_err(&failed)? {
                self.pass(signal, process);
            }
        }
    }

    fn pass(&self, signal: i32, process: &PidFd) {
        match Signal::from_named_raw(signal) {
            Some(Signal::CHILD) => {
                // What came to us as its subreaper.
                if let Err(error) = children::reap_orphans() {
                    log::debug!("orphans are not reaped: {error}");
                }
            }
            Some(Signal::WINCH) if self.terminal.is_some() => {
                if let Some(terminal) = &self.terminal {
                    terminal.resize();
                }
            }
            _ => {
                if let Err(error) = process.signal(signal) {
                    log::debug!("signal {signal} is not passed on: {error}");
                }
            }
        }
    }
}

/// The master of the process's terminal, and our own in raw mode.
#[derive(Debug)]
struct Terminal {
    master: OwnedFd,
    /// What our own was before.
    before: Option<Termios>,
    output: Option<JoinHandle<()>>,
}

impl Terminal {
    fn new(master: OwnedFd) -> Result<Self, Failure> {
        let failed = Failure::when("copy from and to the terminal");
        let again = || master.try_clone().map(File::from).map_err(&failed);
        let (mut from, mut to) = (again()?, again()?);
        let mut terminal = Self {
            master,
            before: None,
            output: None,
        };
        terminal.leave_line_ends();
        terminal.resize();
        terminal.become_raw();
        // Its end is that of this process.
        std::thread::spawn(move || copy(&mut std::io::stdin().lock(), &mut to));
        let output = std::thread::spawn(move || copy(&mut from, &mut std::io::stdout().lock()));
        terminal.output = Some(output);
        Ok(terminal)
    }

    /// Gives the process's terminal the size of ours.
    fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin())
            && let Err(errno) = rustix::termios::tcsetwinsize(&self.master, size)
        {
            log::debug!("the terminal's size is not set: {errno}");
        }
    }

    /// What the process writes is shown as it is: ours adds what a line's end needs.
    fn leave_line_ends(&self) {
        let changed = rustix::termios::tcgetattr(&self.master).and_then(|mut settings| {
            settings.output_modes.remove(OutputModes::ONLCR);
            rustix::termios::tcsetattr(&self.master, OptionalActions::Now, &settings)
        });
        if let Err(errno) = changed {
            log::debug!("the terminal's line ends stay as they are: {errno}");
        }
    }

    fn become_raw(&mut self) {
        let stdin = rustix::stdio::stdin();
        let Ok(before) = rustix::termios::tcgetattr(stdin) else {
            return;
        };
        let mut raw = before.clone();
        let output = before.output_modes;
        raw.make_raw();
        // Which has to put a line's end there that the process leaves to it.
        raw.output_modes = output;
        if rustix::termios::tcsetattr(stdin, OptionalActions::Now, &raw).is_ok() {
            self.before = Some(before);
        }
    }

    /// Copies what is left of the output, and gives our terminal back as it was.
    fn finish(&mut self) {
        if let Some(output) = self.output.take()
            && output.join().is_err()
        {
            log::warn!("the copying of the terminal's output failed");
        }
        self.give_back();
    }

    fn give_back(&mut self) {
        if let Some(before) = self.before.take()
            && let Err(errno) =
                rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &before)
        {
            log::warn!("the terminal's settings could not be restored: {errno}");
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Copies until either end is closed: a master whose last slave is closed is read with an error.
fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return,
            Ok(size) => {
                let written = to.write_all(&chunk[..size]).and_then(|()| to.flush());
                if written.is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
