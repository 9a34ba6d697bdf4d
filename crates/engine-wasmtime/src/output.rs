//! The guest's stdout and stderr.

use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, OutputFile, StdoutStream};
use wasmtime_wasi::p2::OutputStream;

use crate::world;

/// An unbuffered handle of our own stdout or stderr: whatever the guest wrote is out, however
/// the process ends. Unlike [`OutputFile`] it knows whether it is a terminal.
pub(crate) struct Output {
    file: OutputFile,
    terminal: bool,
}

impl Output {
    pub(crate) fn of(stream: impl AsFd) -> std::io::Result<Self> {
        let file = world::stdio(stream)?;
        Ok(Self {
            terminal: file.is_terminal(),
            file: OutputFile::new(file),
        })
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        self.terminal
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.file.async_stream()
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        self.file.p2_stream()
    }
}
