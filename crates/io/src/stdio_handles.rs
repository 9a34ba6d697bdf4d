//! The handles on a process's stdio that the shim keeps as long as the process runs.

use std::os::fd::OwnedFd;
use std::sync::Mutex;

use crate::copy_output::Copying;
use crate::driver::Driver;
use crate::lock::lock;
use crate::terminal::Terminal;
use crate::{Error, Size};

/// The shim's handles on the stdio of one process.
#[derive(Debug)]
pub struct StdioHandles {
    /// Guards the writing end of stdin: as long as it is open, the container sees no end of input.
    stdin: Mutex<Option<OwnedFd>>,
    /// Guards the reading ends: as long as they are open, the container gets no SIGPIPE, and what
    /// was not read yet is not lost. Not being writers, they don't keep the real reader from
    /// seeing the end.
    outputs: Mutex<Vec<OwnedFd>>,
    terminal: Option<Box<Terminal>>,
    logs: Option<Box<Logs>>,
}

/// What is under way for output that is logged.
#[derive(Debug, Default)]
pub(crate) struct Logs {
    pub(crate) copies: Vec<Copying>,
    pub(crate) drivers: Vec<Driver>,
}

impl StdioHandles {
    pub(crate) fn new(
        stdin: Option<OwnedFd>,
        outputs: Vec<OwnedFd>,
        logs: Logs,
        terminal: Option<Terminal>,
    ) -> Self {
        Self {
            stdin: Mutex::new(stdin),
            outputs: Mutex::new(outputs),
            terminal: terminal.map(Box::new),
            logs: (!logs.copies.is_empty() || !logs.drivers.is_empty()).then(|| Box::new(logs)),
        }
    }

    /// Takes the master of the terminal that the process has got, and begins to copy. Needs a tokio
    /// runtime around it.
    ///
    /// # Errors
    /// [`Error::Terminal`] if it can't be used; [`Error::NoTerminal`] if none was asked for.
    pub fn connect(&self, master: OwnedFd) -> Result<(), Error> {
        let terminal = self.terminal.as_ref().ok_or(Error::NoTerminal)?;
        terminal.connect(master)
    }

    /// Sets the terminal's size; of one that is yet to be made, the size that it will have.
    ///
    /// # Errors
    /// [`Error::NoTerminal`], or [`Error::Terminal`] if the kernel refuses it.
    pub fn resize(&self, size: Size) -> Result<(), Error> {
        let terminal = self.terminal.as_ref().ok_or(Error::NoTerminal)?;
        terminal.resize(size)
    }

    /// Lets the container see the end of its input, once the other writers are gone too.
    pub fn close_stdin(&self) {
        drop(lock(&self.stdin).take());
    }

    /// Once the process has ended: waits until its terminal's last bytes are where they belong, and
    /// lets the reader see the end. A reader that takes nothing is not waited for.
    pub async fn drain(&self) {
        self.close_stdin();
        if let Some(terminal) = &self.terminal {
            terminal.drain().await;
        }
    }

    /// Lets go of everything, after what [`Self::drain`] does, and once what was to be logged is. May
    /// be called again.
    pub async fn close(&self) {
        self.drain().await;
        if let Some(terminal) = &self.terminal {
            terminal.close();
        }
        lock(&self.outputs).clear();
        let Some(logs) = &self.logs else { return };
        // All at once: each is waited for as long as containerd waits for all.
        let copies: Vec<_> = logs.copies.iter().map(Copying::finish).collect();
        for copied in copies {
            copied.await;
        }
        for driver in &logs.drivers {
            driver.finish().await;
        }
    }
}
