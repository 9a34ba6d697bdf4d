//! One client: HTTP/1.1 or, with prior knowledge, HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderValue, Version, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::watch;

use super::body::Opened;
use super::request::{Alive, Handlers};
use super::settings::Settings;
use super::stream::Stream;
use super::watched::{Limits, Overdue, Watched, now};

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
    builder: Builder<TokioExecutor>,
    limits: Limits,
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

/// Serves a client until it goes away or has used up its time, or `drain` says that the server is to
/// end.
pub(super) async fn serve(
    stream: Stream,
    watched: Arc<Watched>,
    handlers: Arc<Handlers>,
    mut drain: watch::Receiver<bool>,
    alive: Alive,
) {
    let service = service_fn({
        let (watched, drain, alive) = (watched.clone(), drain.clone(), alive.clone());
        let handlers = handlers.clone();
        move |request: http::Request<hyper::body::Incoming>| {
            let (watched, drain) = (watched.clone(), drain.clone());
            let (handlers, alive) = (handlers.clone(), alive.clone());
            async move {
                let version = request.version();
                let waiting = watched.begin(version);
                let open = watched.open();
                let mut response = handlers.answer(request, &watched, &alive).await;
                drop(waiting);
                if version < Version::HTTP_2 && *drain.borrow() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response.map(|answer| Opened::new(answer, open)))
            }
        }
    });
    let protocol = &handlers.protocol;
    let connection = protocol.builder.serve_connection(stream, service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = false;
    let mut told = None;
    let mut closable = std::pin::pin!(async {
        // An error is a server that is gone, which is no reason to stay.
        drop(drain.wait_for(|drain| *drain).await);
        watched.closable().await;
    });
    loop {
        let overdue = tokio::select! {
            // In this order: a request that has arrived while this task had no turn is read before
            // the connection is found idle, or closing it would reset it.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    broken(&handlers, &watched, error.as_ref());
                }
                break;
            }
            () = closable.as_mut(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            overdue = watched.overdue(protocol.limits, told) => overdue,
            overdue = watched.evicted() => overdue,
        };
        if overdue == Overdue::Slow || told.is_some() {
            break;
        }
        told = Some(now());
        connection.as_mut().graceful_shutdown();
    }
    drop(alive);
}

/// How a client ends a connection is its own affair, and not for the log. One that sends what is no
/// request is told, and so is the log.
fn broken(handlers: &Handlers, watched: &Watched, error: &(dyn std::error::Error + 'static)) {
    let Some(error) = error.downcast_ref::<hyper::Error>() else {
        return;
    };
    if error.is_parse() || error.is_parse_too_large() {
        watched.linger.store(true, Ordering::Relaxed);
        handlers.say_of_clients(&format!("a client sent what is no request: {error}"));
    }
}
