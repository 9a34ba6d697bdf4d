//! One client: HTTP/1.1 or, with prior knowledge, HTTP/2.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderValue, Version, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::request::{Alive, Handlers};

/// How long a client may take to send the head of its next request: what keeps an idle connection
/// open, and a slow one from being so for ever. Longer than the 60 seconds of most proxies, which
/// must be the first to close it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a connection stays open, when the server is to end, without a request: one may be on
/// its way, and would be lost.
const LINGER: Duration = Duration::from_secs(1);

/// What is known of a connection.
#[derive(Debug, Default)]
struct Watched {
    /// Requests that have begun.
    begun: AtomicU64,
    /// Requests whose answer has not begun.
    waiting: AtomicUsize,
    http2: AtomicBool,
}

/// A request that waits for its answer.
struct Waiting<'a>(&'a Watched);

impl Watched {
    fn begin(&self, version: Version) -> Waiting<'_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        Waiting(self)
    }

    /// Waits until the connection may be closed with nobody noticing.
    async fn closable(&self) {
        loop {
            // HTTP/2 says which was the last request that counts.
            if self.http2.load(Ordering::Relaxed) {
                return;
            }
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(LINGER).await;
            if self.begun.load(Ordering::Relaxed) == begun
                && self.waiting.load(Ordering::Relaxed) == 0
            {
                return;
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves a client until it goes away, or `drain` says that the server is to end.
pub(super) async fn serve(
    stream: TcpStream,
    handlers: Arc<Handlers>,
    mut drain: watch::Receiver<bool>,
    alive: Alive,
) {
    let watched = Arc::new(Watched::default());
    let service = service_fn({
        let (watched, drain, alive) = (watched.clone(), drain.clone(), alive.clone());
        move |request: http::Request<hyper::body::Incoming>| {
            let (watched, drain) = (watched.clone(), drain.clone());
            let (handlers, alive) = (handlers.clone(), alive.clone());
            async move {
                let version = request.version();
                let waiting = watched.begin(version);
                let mut response = handlers.answer(request, &alive).await;
                drop(waiting);
                if version < Version::HTTP_2 && *drain.borrow() {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .pipeline_flush(true);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let closable = async {
        // An error is a server that is gone, which is no reason to stay.
        drop(drain.wait_for(|drain| *drain).await);
        watched.closable().await;
    };
    // How a client ends a connection is its own affair: nothing of it is for the log.
    tokio::select! {
        // In this order: a request that has arrived while this task had no turn is read before the
        // connection is found idle, or closing it would reset it.
        biased;
        ended = connection.as_mut() => drop(ended),
        () = closable => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
    drop(alive);
}
