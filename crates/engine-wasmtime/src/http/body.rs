//! Bodies on their way to a handler and back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::task::AbortHandle;
use wasmtime_wasi_http::{Error, WasiBody};

/// A request's body, which may not be larger than allowed.
pub(super) struct Limited {
    body: Incoming,
    limit: u64,
    left: u64,
    overflowed: Flag,
}

/// Something that is true from a moment on: of a request's body, that it was larger than allowed; of
/// a handler, that it has failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Flag(Arc<AtomicBool>);

impl Flag {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Limited {
    /// Lets at most `limit` bytes of `body` through, and tells `overflowed` of more.
    pub(super) fn new(body: Incoming, limit: u64, overflowed: Flag) -> Self {
        Self {
            body,
            limit,
            left: limit,
            overflowed,
        }
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        match self
            .left
            .checked_sub(u64::try_from(size).unwrap_or(u64::MAX))
        {
            Some(left) => {
                self.left = left;
                Poll::Ready(frame.map(|frame| frame.map_err(Error::from)))
            }
            None => {
                self.overflowed.set();
                Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.limit)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is left of a handler after its answer has begun. Stopped when dropped.
#[derive(Debug)]
pub(super) struct Rest(Option<AbortHandle>);

impl Rest {
    pub(super) fn new(task: AbortHandle) -> Self {
        Self(Some(task))
    }

    /// Lets it run to its end.
    fn leave(&mut self) {
        self.0 = None;
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// The body of an answer.
pub(super) enum Answer {
    /// A handler's.
    Handler {
        /// The bytes.
        body: WasiBody,
        /// How many are to come, where that is said.
        left: Option<u64>,
        /// The handler, if it runs on. A client that goes away in the middle of its answer takes
        /// it along; one that has all of it does not.
        rest: Option<Rest>,
        /// Whether the handler has failed, set before its end of the body is closed: what it has
        /// not finished must not pass for whole.
        failed: Flag,
    },
    /// The server's own.
    Own(Full<Bytes>),
}

impl Answer {
    /// The body of a handler's answer with this head.
    pub(super) fn of_handler(
        status: StatusCode,
        headers: &HeaderMap,
        to_head: bool,
        body: WasiBody,
        mut rest: Option<Rest>,
        failed: Flag,
    ) -> Self {
        let length = headers.get(header::CONTENT_LENGTH);
        let left = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let empty = to_head
            || left == Some(0)
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        // Nobody asks for it, so that dropping it would mean nothing.
        if empty && let Some(rest) = &mut rest {
            rest.leave();
        }
        Self::Handler {
            body,
            left,
            rest,
            failed,
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut *self {
            Self::Own(body) => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Self::Handler {
                body,
                left,
                rest,
                failed,
            } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if frame.is_none() && failed.is_set() {
                    return Poll::Ready(Some(Err(Error::HttpProtocolError)));
                }
                if let (Some(left), Some(Ok(frame))) = (left.as_mut(), &frame) {
                    let size = frame.data_ref().map_or(0, Bytes::len);
                    *left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
                }
                let complete = frame.is_none() || *left == Some(0);
                if complete && let Some(rest) = rest {
                    rest.leave();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Handler { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Handler { body, .. } => body.size_hint(),
        }
    }
}
