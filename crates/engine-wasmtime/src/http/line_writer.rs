//! What handlers write to stdout and stderr: in whole lines, so that those of requests that are
//! handled at the same time do not run into each other.

use std::fs::File;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// Longest line that is kept together, in bytes: what a pipe takes in one piece.
const LINE_MAX: usize = 4096;

/// Most that a guest writes at once, in bytes.
const WRITE_MAX: usize = 64 << 10;

/// An instance's stdout or stderr.
#[derive(Debug, Clone)]
pub(super) struct LineWriter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    /// Guards the beginning of a line, whose end is not written yet.
    begun: Mutex<Vec<u8>>,
}

impl LineWriter {
    pub(super) fn new(file: Arc<File>) -> Self {
        Self(Arc::new(Shared {
            file,
            begun: Mutex::default(),
        }))
    }

    fn write_lines(&self, bytes: &[u8]) -> io::Result<()> {
        let mut begun = self.0.begun();
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if begun.len() + bytes.len() > LINE_MAX => bytes.len(),
            None => 0,
        };
        let (whole, rest) = bytes.split_at(whole);
        if !whole.is_empty() {
            if begun.is_empty() {
                (&*self.0.file).write_all(whole)?;
            } else {
                begun.extend_from_slice(whole);
                let line = std::mem::take(&mut *begun);
                (&*self.0.file).write_all(&line)?;
            }
        }
        begun.extend_from_slice(rest);
        Ok(())
    }

    /// The end of a request is the end of its last line.
    pub(super) fn end(&self) {
        self.0.end();
    }
}

impl Shared {
    fn begun(&self) -> MutexGuard<'_, Vec<u8>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        let begun = std::mem::take(&mut *self.begun());
        if !begun.is_empty() {
            // That the log is gone can be told to no one else.
            drop((&*self.file).write_all(&begun));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.end();
    }
}

impl IsTerminal for LineWriter {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineWriter {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

// As the trait's macro would write it.
impl Pollable for LineWriter {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl OutputStream for LineWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_lines(&bytes)
            .map_err(|error| StreamError::LastOperationFailed(error.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        // Of no use to tell lines apart: the usual adapter flushes after every write.
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }
}

impl AsyncWrite for LineWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(self.write_lines(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::LineWriter;
    use std::io::Read;
    use std::sync::Arc;

    #[test]
    fn lines_of_two_requests_do_not_run_into_each_other() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = Arc::new(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
        let (one, two) = (LineWriter::new(file.clone()), LineWriter::new(file));
        one.write_lines(b"one, ").unwrap();
        two.write_lines(b"two, ").unwrap();
        one.write_lines(b"first\none, ").unwrap();
        two.write_lines(b"first\n").unwrap();
        two.write_lines(b"two, last").unwrap();
        one.write_lines(b"last\n").unwrap();
        drop((one, two));
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "one, first\ntwo, first\none, last\ntwo, last");
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let file = Arc::new(std::fs::File::from(std::os::fd::OwnedFd::from(writer)));
        let lines = LineWriter::new(file);
        lines.write_lines(&[b'x'; 3000]).unwrap();
        lines.write_lines(&[b'x'; 3000]).unwrap();
        let mut bytes = [0; 6000];
        // They are there before the request ends.
        reader.read_exact(&mut bytes[..3000]).unwrap();
        drop(lines);
        reader.read_exact(&mut bytes[3000..]).unwrap();
        assert_eq!(bytes, [b'x'; 6000]);
    }
}
