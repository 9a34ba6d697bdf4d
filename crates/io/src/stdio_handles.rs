//! The ends of a process's stdio that the shim keeps open while the process runs.

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
    /// A writing end of stdin: while it is open, the container reads no end of input.
    stdin: Mutex<Option<OwnedFd>>,
    /// Reading ends of the outputs: while they are open, the container gets no SIGPIPE, and bytes that
    /// were not read yet are not lost. The real reader still sees the end, as these are no writers.
    outputs: Mutex<Vec<OwnedFd>>,
    terminal: Option<Box<Terminal>>,
    logs: Option<Box<Logs>>,
}

/// The copies and drivers of logged output.
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

    /// Takes the master of the process's terminal and begins to copy. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`Error::Terminal`] if it can't be used; [`Error::NoTerminal`] if the process has no terminal.
    pub fn connect(&self, master: OwnedFd) -> Result<(), Error> {
        let terminal = self.terminal.as_ref().ok_or(Error::NoTerminal)?;
        terminal.connect(master)
    }

    /// Sets the terminal's size. If it does not exist yet, it gets this size later.
    ///
    /// # Errors
    /// [`Error::NoTerminal`], or [`Error::Terminal`] if the kernel refuses it.
    pub fn resize(&self, size: Size) -> Result<(), Error> {
        let terminal = self.terminal.as_ref().ok_or(Error::NoTerminal)?;
        terminal.resize(size)
    }

    /// Closes the shim's writing end of stdin. The input ends once the other writers have closed theirs.
    pub fn close_stdin(&self) {
        drop(lock(&self.stdin).take());
    }

    /// Called once the process has ended. Waits until the terminal's last bytes are written, and closes
    /// the output so that its reader sees the end. A reader that takes nothing is not waited for.
    pub async fn drain(&self) {
        self.close_stdin();
        if let Some(terminal) = &self.terminal {
            terminal.drain().await;
        }
    }

    /// Does what [`Self::drain`] does, waits until logged output is written, and closes everything. May be
    /// called again.
    pub async fn close(&self) {
        self.drain().await;
        if let Some(terminal) = &self.terminal {
            terminal.close();
        }
        lock(&self.outputs).clear();
        let Some(logs) = &self.logs else { return };
        // All at the same time: one alone may take as long as containerd waits for all.
        let copies: Vec<_> = logs.copies.iter().map(Copying::finish).collect();
        for copied in copies {
            copied.await;
        }
        for driver in &logs.drivers {
            driver.finish().await;
        }
    }
}
