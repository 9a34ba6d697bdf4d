//! Bodies of requests on their way out, and of responses on their way in.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use super::failure;

/// Largest head of a response, and most of its trailers, as HTTP/2 counts them, in bytes.
const HEAD_MAX: usize = 64 << 10;

/// What of them an HTTP/2 connection reads: more than is allowed, or it could not be told that it
/// is too much. The library cuts trailers without a word.
pub(super) const HEAD_READ_MAX: u32 = 128 << 10;

/// What HTTP/2 counts for a field beside its name and value, in bytes.
const PER_FIELD: usize = 32;

/// Shortest interval that a timer takes; stands for a timeout of zero.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// Refuses a response whose head is too large.
pub(super) fn check_head(headers: &HeaderMap) -> Result<(), Error> {
    let most = u32::try_from(HEAD_MAX).ok();
    if size(headers) > HEAD_MAX {
        return Err(Error::HttpResponseHeaderSectionSize(most));
    }
    Ok(())
}

fn check_trailers(trailers: &HeaderMap) -> Result<(), Error> {
    let most = u32::try_from(HEAD_MAX).ok();
    if size(trailers) > HEAD_MAX {
        return Err(Error::HttpResponseTrailerSectionSize(most));
    }
    Ok(())
}

fn size(headers: &HeaderMap) -> usize {
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + PER_FIELD);
    sizes.sum()
}

/// Why a guest's own body failed, of which the library does not tell.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyError(Arc<Mutex<Option<Error>>>);

impl BodyError {
    fn say(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// That, or else what has been made of the library's error.
    pub(super) fn or(&self, other: impl FnOnce() -> Error) -> Error {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        said.unwrap_or_else(other)
    }
}

/// A request's body.
pub(super) struct Sending {
    body: WasiBody,
    said: BodyError,
}

impl Sending {
    /// Tells `said` why it failed, if it does.
    pub(super) fn new(body: WasiBody, said: BodyError) -> Self {
        Self { body, said }
    }
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            // Trailers without a field are none: Go's gRPC takes them for a breach of the protocol.
            Some(Ok(frame)) if frame.trailers_ref().is_some_and(HeaderMap::is_empty) => None,
            Some(Err(error)) => {
                self.said.say(error);
                Some(Err(Error::HttpProtocolError))
            }
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response's body that may not pause for longer than the guest allows.
pub(super) struct Timed<B> {
    body: B,
    pause: Duration,
    /// Runs while the guest waits: what it does in between is not the server's pause.
    timer: Pin<Box<tokio::time::Sleep>>,
    waiting: bool,
    said: BodyError,
}

impl<B> Timed<B> {
    pub(super) fn new(body: B, pause: Duration, said: BodyError) -> Self {
        let pause = pause.max(AT_ONCE);
        Self {
            body,
            pause,
            timer: Box::pin(tokio::time::sleep(pause)),
            waiting: false,
            said,
        }
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = false;
            return Poll::Ready(frame.map(|frame| {
                let frame = frame.map_err(|error| {
                    let told = || failure::after_response(error);
                    self.said.or(told)
                })?;
                if let Some(trailers) = frame.trailers_ref() {
                    check_trailers(trailers)?;
                }
                Ok(frame)
            }));
        }
        if !self.waiting {
            self.waiting = true;
            let deadline = tokio::time::Instant::now() + self.pause;
            self.timer.as_mut().reset(deadline);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
