//! A request and its response on a connection of their own.
//!
//! A connection is not used again: its guest may be gone before the next request, and one that a
//! server has closed meanwhile would lose a request that cannot be sent twice.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use wasmtime_wasi_http::Error;

use super::body::{HEAD_READ_MAX, Sending};
use super::connect::Stream;
use super::failure;

/// Longest head of a response of HTTP/1.1, in bytes.
const HTTP1_HEAD_MAX: usize = 64 << 10;

/// What an HTTP/2 server may send ahead of a guest that does not read, in bytes.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// It, of the connection, whose only request that is. The library ends a connection whose server
/// has sent more small frames ahead than half of these bytes stand for, at up to 256 for each: a
/// stream of small messages must be able to fill the window above.
const HTTP2_WINDOW: u32 = 8 << 20;

/// What a guest may send ahead of an HTTP/2 server that does not read, in bytes.
const HTTP2_SEND_BUFFER: usize = 128 << 10;

/// What is done for the connection as long as the response is read.
pub(super) type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

type Exchanged = Result<(Response<Incoming>, Driver), hyper::Error>;

/// By HTTP/1.1.
pub(super) async fn http1(stream: Box<dyn Stream>, request: Request<Sending>) -> Exchanged {
    let mut builder = conn::http1::Builder::new();
    builder.max_buf_size(HTTP1_HEAD_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let (response, open) = respond(sender.send_request(request), connection.as_mut()).await?;
    let driver = async move {
        if open {
            connection.await.map_err(failure::after_response)?;
        }
        Ok(())
    };
    Ok((response, Box::new(driver)))
}

/// By HTTP/2.
pub(super) async fn http2(stream: Box<dyn Stream>, request: Request<Sending>) -> Exchanged {
    let tasks = Tasks::default();
    let mut builder = conn::http2::Builder::new(tasks.spawner());
    builder
        .max_header_list_size(HEAD_READ_MAX)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let mut connection = Box::pin(connection);
    let (response, open) = respond(sender.send_request(request), connection.as_mut()).await?;
    let driver = async move {
        // There is no other request: the connection ends with this one.
        drop(sender);
        if open {
            connection.as_mut().await.map_err(failure::after_response)?;
        }
        drop(connection);
        tasks.ended().await;
        Ok(())
    };
    Ok((response, Box::new(driver)))
}

/// Waits for a response while the connection is served; says whether that goes on.
async fn respond(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
) -> hyper::Result<(Response<Incoming>, bool)> {
    let mut response = pin!(response);
    let mut open = true;
    let response = std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(response);
        }
        if open {
            let ended = ready!(connection.as_mut().poll(cx));
            open = false;
            ended?;
        }
        response.as_mut().poll(cx)
    });
    let response = response.await?;
    Ok((response, open))
}

/// What the library does beside for an HTTP/2 connection. Ends when this is dropped.
#[derive(Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

/// Begins it. They hold it themselves, and must not keep each other.
#[derive(Clone)]
struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Tasks {
    fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }

    /// Waits until nothing is left to be done.
    async fn ended(&self) {
        let next = |cx: &mut Context<'_>| lock(&self.0).poll_join_next(cx);
        while std::future::poll_fn(next).await.is_some() {}
    }
}

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        if let Some(tasks) = self.0.upgrade() {
            lock(&tasks).spawn(task);
        }
    }
}

fn lock(tasks: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner)
}
