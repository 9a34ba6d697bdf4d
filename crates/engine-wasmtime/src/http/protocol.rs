//! HTTP as it is spoken to clients: what a head, a stream and a connection may hold, and how long
//! each may take.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

use super::settings::Settings;
use super::watched::Limits;

/// Longest head of a request, in bytes: a larger one is answered with 431.
const HEAD_MAX: usize = 64 << 10;

/// It, of HTTP/2, whose heads are compressed: what it may hold uncompressed.
const HTTP2_HEAD_MAX: u32 = 64 << 10;

/// Requests of one HTTP/2 connection that may be open at the same time: what most servers allow.
const HTTP2_STREAMS: u32 = 128;

/// Requests that an HTTP/2 client may have taken back before we have seen them: more is an attack
/// (CVE-2023-44487). As many as the library has by default.
const HTTP2_RESETS: usize = 20;

/// What an HTTP/2 client may send ahead of a handler that does not read: in one request, in bytes.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// And in all of a connection. The library ends one whose client has sent more small frames ahead than
/// half of these bytes stand for, at up to 256 for each: 8,000 messages may wait for their handlers.
const HTTP2_WINDOW: u32 = 4 << 20;

/// What a handler may send ahead of an HTTP/2 client that does not read, in bytes.
const HTTP2_SEND_BUFFER: usize = 128 << 10;

/// How long an HTTP/2 client may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How clients are served.
pub(super) struct Protocol {
    pub(super) builder: Builder<TokioExecutor>,
    pub(super) limits: Limits,
}

impl Protocol {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        // The times of HTTP/1 are kept by us: the library has none until the first byte. Answers are
        // not held back for requests that follow: what is no request would be taken for one, and its
        // client closed without the answer that says so.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(HEAD_MAX)
            // Most answers are small: one piece costs less than several.
            .writev(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS)
            .max_pending_accept_reset_streams(HTTP2_RESETS)
            .max_header_list_size(HTTP2_HEAD_MAX)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER)
            .keep_alive_interval(settings.ping_interval)
            .keep_alive_timeout(PING_TIMEOUT);
        Self {
            builder,
            limits: Limits::new(settings),
        }
    }
}
