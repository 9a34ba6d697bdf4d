//! A guest's stdout and stderr: our own, without a buffer.

use std::fs::File;
use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, OutputFile, StdoutStream};
use wasmtime_wasi::p2::OutputStream;

/// An unbuffered handle of our own stdout or stderr: what the guest wrote is out, however the
/// process ends.
pub(crate) fn stdio(stream: impl AsFd) -> std::io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

/// An unbuffered handle of our own stdout or stderr: what the guest wrote is out, however the
/// process ends. Unlike [`OutputFile`] it knows whether it is a terminal.
pub(crate) struct Output {
    file: OutputFile,
    terminal: bool,
}

impl Output {
    pub(crate) fn of(stream: impl AsFd) -> std::io::Result<Self> {
        let file = stdio(stream)?;
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
