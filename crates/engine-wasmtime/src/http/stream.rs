//! A client's socket, which tells how it goes on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::clients::Place;
use super::watched::Watched;

/// How long a client has to read the last answer of a connection on which it still sends.
const LINGER: Duration = Duration::from_secs(1);

/// What it may send meanwhile, in bytes.
const LINGER_BYTES: usize = 1 << 20;

/// A client's socket.
#[derive(Debug)]
pub(super) struct Stream {
    /// Gone when it is dropped, not before.
    io: Option<TokioIo<TcpStream>>,
    watched: Arc<Watched>,
    /// Kept as long as the socket, which takes up a file.
    place: Option<Place>,
}

impl Stream {
    pub(super) fn new(stream: TcpStream, watched: Arc<Watched>, place: Place) -> Self {
        Self {
            io: Some(TokioIo::new(stream)),
            watched,
            place: Some(place),
        }
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.watched.cannot_write(),
            Poll::Ready(_) => self.watched.has_written(),
        }
        result
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = Pin::new(io).poll_read(cx, buf);
        if result.is_ready() {
            self.watched.has_read();
        }
        result
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = Pin::new(io).poll_write(cx, bytes);
        self.written(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Some(io) => Pin::new(io).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(TokioIo::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = Pin::new(io).poll_write_vectored(cx, bytes);
        self.written(result)
    }
}

/// To close a socket with bytes that have not been read resets the connection, by which a client may
/// lose the answer that tells why.
impl Drop for Stream {
    fn drop(&mut self) {
        if !self.watched.linger.load(Ordering::Relaxed) || self.watched.is_leaving() {
            return;
        }
        let (Some(io), Some(place)) = (self.io.take(), self.place.take()) else {
            return;
        };
        // At the end of the process there is no runtime, and nothing to wait for.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let watched = self.watched.clone();
        runtime.spawn(async move {
            let rest = tokio::time::timeout(LINGER, discard(io.into_inner()));
            tokio::select! {
                rest = rest => drop(rest),
                _ = watched.evicted() => {}
            }
            drop(place);
        });
    }
}

async fn discard(mut stream: TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = [0; 4096];
    let mut left = LINGER_BYTES;
    loop {
        let read = stream.read(&mut bytes).await?;
        left = left.saturating_sub(read);
        if read == 0 || left == 0 {
            return Ok(());
        }
    }
}
