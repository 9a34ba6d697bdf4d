//! Bodies on their way to a handler and back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Sleep};
use wasmtime_wasi_http::{Error, WasiBody};

use super::watched::{self, Open, Watched};

/// Bytes that a client has to send before the answer begins, each time that it has kept the handler
/// waiting for as long as it may: what tells a slow line from a client that means to be slow.
const LEAST: usize = 2048;

/// A request's body: not larger, and not slower, than allowed.
pub(super) struct Upload {
    body: Incoming,
    limit: u64,
    left: u64,
    overflowed: OneWayFlag,
    arrival: Arc<Arrival>,
    /// How long the handler may be kept waiting.
    timeout: Option<Duration>,
    /// How long it has been since there was progress.
    waited: Duration,
    /// Bytes that have come in this time.
    got: usize,
    /// Since when it waits, if it does.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// How the body of a request arrives.
#[derive(Debug)]
pub(super) struct Arrival {
    watched: Arc<Watched>,
    /// Whether the request came by HTTP/2, whose pings tell whether a client is still there.
    http2: bool,
    /// When the last bytes came.
    last: AtomicU64,
    /// Whether the answer has begun.
    answered: OneWayFlag,
    /// Whether all of the request's body has come, or the handler has dropped it.
    over: OneWayFlag,
    /// Whether it has been too slow, and who is told of that.
    too_late: OneWayFlag,
    late: Notify,
}

/// Something that is true from a moment on: of a request's body, that it was larger than allowed; of
/// a handler, that it has failed.
#[derive(Debug, Clone, Default)]
pub(super) struct OneWayFlag(Arc<AtomicBool>);

impl OneWayFlag {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Arrival {
    pub(super) fn new(watched: Arc<Watched>, version: Version) -> Arc<Self> {
        Arc::new(Self {
            watched,
            http2: version == Version::HTTP_2,
            last: AtomicU64::new(watched::now()),
            answered: OneWayFlag::default(),
            over: OneWayFlag::default(),
            too_late: OneWayFlag::default(),
            late: Notify::new(),
        })
    }

    /// When its last bytes came.
    pub(super) fn last(&self) -> Instant {
        watched::instant(self.last.load(Ordering::Relaxed))
    }

    /// Waits until it is too slow.
    pub(super) async fn late(&self) {
        self.late.notified().await;
    }

    /// Whether it has been too slow: what a handler makes of that is not its own failure.
    pub(super) fn is_late(&self) -> bool {
        self.too_late.is_set()
    }

    /// Whether the handler can read nothing more of the request's body.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_set()
    }

    /// The answer has begun: from here on a client may say as little as it likes, if only it says
    /// something.
    pub(super) fn answered(&self) {
        self.answered.set();
    }
}

impl Upload {
    /// Lets at most `limit` bytes of `body` through, and tells `overflowed` of more.
    pub(super) fn new(
        body: Incoming,
        limit: Option<u64>,
        overflowed: OneWayFlag,
        arrival: Arc<Arrival>,
        timeout: Option<Duration>,
    ) -> Self {
        let limit = limit.unwrap_or(u64::MAX);
        Self {
            body,
            limit,
            left: limit,
            overflowed,
            arrival,
            timeout,
            waited: Duration::ZERO,
            got: 0,
            since: None,
            timer: None,
        }
    }

    /// Some more has come.
    fn came(&mut self, size: usize) {
        let answered = self.arrival.answered.is_set();
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
            self.arrival.watched.waits_for_body(0);
        }
        self.arrival.last.store(watched::now(), Ordering::Relaxed);
        self.got = self.got.saturating_add(size);
        if answered || self.got >= LEAST {
            (self.got, self.waited) = (0, Duration::ZERO);
        }
    }

    /// Nothing comes: ready when it has not for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let answered = self.arrival.answered.is_set();
        if self.since.is_none() {
            let now = Instant::now();
            self.since = Some(now);
            self.arrival.watched.waits_for_body(watched::now());
            if let Some(timeout) = self.timeout {
                let deadline = now + timeout.saturating_sub(self.waited);
                match &mut self.timer {
                    Some(timer) => timer.as_mut().reset(deadline),
                    None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
                }
            }
        }
        match &mut self.timer {
            // Two that converse may be silent for as long as they like.
            Some(_) if answered && self.arrival.http2 => Poll::Pending,
            Some(timer) => timer.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.poll_late(cx));
            self.arrival.too_late.set();
            self.arrival.late.notify_one();
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        let size = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        self.came(size);
        match self
            .left
            .checked_sub(u64::try_from(size).unwrap_or(u64::MAX))
        {
            Some(left) => {
                self.left = left;
                if frame.is_none() || self.body.is_end_stream() {
                    self.arrival.over.set();
                }
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

/// A handler that has gone away waits for nothing.
impl Drop for Upload {
    fn drop(&mut self) {
        self.arrival.over.set();
        if self.since.is_some() {
            self.arrival.watched.waits_for_body(0);
        }
    }
}

/// Whether a client takes what a handler has given to its answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Taking(Arc<AtomicU64>);

impl Taking {
    /// Something has been given, or the next thing is asked for.
    fn set(&self, given: bool) {
        let moment = if given { watched::now() } else { 0 };
        self.0.store(moment, Ordering::Relaxed);
    }

    /// Waits until nothing has been taken for as long as `timeout`.
    pub(super) async fn stalled(&self, timeout: Option<Duration>) {
        let Some(timeout) = timeout else {
            return std::future::pending().await;
        };
        let timeout = watched::millis(timeout).max(1);
        loop {
            let now = watched::now();
            let given = self.0.load(Ordering::Relaxed);
            let deadline = if given == 0 { now } else { given }.saturating_add(timeout);
            if deadline <= now {
                return;
            }
            tokio::time::sleep_until(watched::instant(deadline)).await;
        }
    }
}

/// What is left of a handler after its answer has begun. Stopped when dropped.
#[derive(Debug)]
pub(super) struct HandlerTask {
    task: Option<AbortHandle>,
    taking: Taking,
}

impl HandlerTask {
    pub(super) fn new(task: AbortHandle, taking: Taking) -> Self {
        Self {
            task: Some(task),
            taking,
        }
    }

    /// Lets it run to its end.
    fn leave(&mut self) {
        self.task = None;
        self.taking.set(false);
    }
}

impl Drop for HandlerTask {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The body of an answer.
pub(super) enum ResponseBody {
    /// A handler's.
    Handler {
        /// The bytes.
        body: WasiBody,
        /// How many are to come, where that is said.
        left: Option<u64>,
        /// The handler, if it runs on. A client that goes away in the middle of its answer takes
        /// it along; one that has all of it does not.
        rest: Option<HandlerTask>,
        /// Whether the handler has failed, set before its end of the body is closed: what it has
        /// not finished must not pass for whole.
        failed: OneWayFlag,
    },
    /// The server's own.
    Own(Full<Bytes>),
}

impl ResponseBody {
    /// The body of a handler's answer with this head.
    pub(super) fn of_handler(
        status: StatusCode,
        headers: &HeaderMap,
        to_head: bool,
        body: WasiBody,
        mut rest: Option<HandlerTask>,
        failed: OneWayFlag,
    ) -> Self {
        let length = headers.get(header::CONTENT_LENGTH);
        let left = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let empty = to_head
            || left == Some(0)
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        // It is never polled, so that dropping it would mean nothing.
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

impl Body for ResponseBody {
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
                if let Some(rest) = rest {
                    rest.taking.set(false);
                }
                let frame = ready!(Pin::new(body).poll_frame(cx));
                if frame.is_none() && failed.is_set() {
                    return Poll::Ready(Some(Err(Error::HttpProtocolError)));
                }
                if let (Some(left), Some(Ok(frame))) = (left.as_mut(), &frame) {
                    let size = frame.data_ref().map_or(0, Bytes::len);
                    *left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
                }
                let complete = frame.is_none() || *left == Some(0);
                match rest {
                    Some(rest) if complete => rest.leave(),
                    Some(rest) => rest.taking.set(true),
                    None => {}
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

/// The body of an answer that is open until it has been sent.
pub(super) struct Opened {
    answer: ResponseBody,
    _open: Open,
}

impl Opened {
    pub(super) fn new(answer: ResponseBody, open: Open) -> Self {
        Self {
            answer,
            _open: open,
        }
    }
}

impl Body for Opened {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.answer).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}
