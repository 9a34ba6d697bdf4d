//! One request: an instance of its own, from its first byte to its answer's last.

use std::fs::File;
use std::future::poll_fn;
use std::io::Write;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use medley_engine::Guest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};

use super::body::{Answer, Flag, Limited, Rest};
use super::call::{Call, Said};
use super::purse::Purse;
use super::settings::Settings;
use super::stdio::Lines;
use super::ticker::Ticker;
use super::{Callable, LinkedHandler};
use crate::host::{Host, Limits, Shared};
use crate::world;

/// What runwasi tells a handler beside its environment: a number for the request.
const REQUEST_ID: &str = "REQUEST_ID";

/// Held by everything that has to end before the server may: a connection, a handler.
pub(super) type Alive = mpsc::Sender<()>;

/// Makes an instance for every request.
pub(super) struct Handlers {
    handler: Callable,
    engine: Engine,
    path: PathBuf,
    guest: Guest,
    /// Opened once, shared by all.
    folders: WasiFilesystemCtx,
    shared: Arc<Shared>,
    purse: Purse,
    stdout: Arc<File>,
    stderr: Arc<File>,
    request_timeout: Option<Duration>,
    max_body: Option<u64>,
    /// One for each request that may be handled at the same time.
    permits: Arc<Semaphore>,
    ticker: Ticker,
    requests: AtomicU64,
}

/// A handler that runs.
type Running = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

impl Handlers {
    pub(super) fn new(
        linked: &LinkedHandler,
        guest: &Guest,
        settings: &Settings,
        concurrency: usize,
    ) -> std::io::Result<Self> {
        let mut builder = WasiCtxBuilder::new();
        // A folder may hold a FIFO, whose opening blocks: not all the other requests too.
        builder.allow_blocking_current_thread(false);
        world::preopens(&mut builder, guest);
        let folders = builder.build().filesystem().clone();
        Ok(Self {
            handler: linked.handler.clone(),
            engine: linked.engine().clone(),
            path: linked.path.clone(),
            guest: guest.clone(),
            folders,
            shared: Shared::new(&guest.env),
            purse: Purse::new(&guest.memory),
            stdout: Arc::new(world::stdio(std::io::stdout())?),
            stderr: Arc::new(world::stdio(std::io::stderr())?),
            request_timeout: settings.request_timeout,
            max_body: settings.max_body,
            permits: Arc::new(Semaphore::new(concurrency)),
            ticker: Ticker::start(linked.engine().clone())?,
            requests: AtomicU64::new(0),
        })
    }

    /// Answers a request. Dropped in the middle, as when its client goes away, it takes the
    /// handler with it.
    pub(super) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        alive: &Alive,
    ) -> Response<Answer> {
        if let Some(limit) = self.max_body
            && length(&request).is_some_and(|length| length > limit)
        {
            return own(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let overflowed = Flag::default();
        let answered = match self.request_timeout {
            None => self.handle(request, overflowed, alive).await,
            Some(time) => {
                let handled = self.handle(request, overflowed, alive);
                match tokio::time::timeout(time, handled).await {
                    Ok(answered) => answered,
                    Err(_) => {
                        self.say(&format!("no answer after {} s", time.as_secs_f64()));
                        Err(StatusCode::GATEWAY_TIMEOUT)
                    }
                }
            }
        };
        answered.unwrap_or_else(own)
    }

    async fn handle(
        self: &Arc<Self>,
        request: Request<Incoming>,
        overflowed: Flag,
        alive: &Alive,
    ) -> Result<Response<Answer>, StatusCode> {
        let permit = self.permits.clone().acquire_owned().await;
        let permit = permit.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let to_head = request.method() == Method::HEAD;
        let (sender, mut receiver) = oneshot::channel();
        let failed = Flag::default();
        let mut running = self.begin(request, &overflowed, sender, permit, &failed)?;

        // Most handlers are done when they first pause, and never need a task of their own.
        let (said, ended) = poll_fn(|cx| {
            let ended = match running.as_mut().poll(cx) {
                Poll::Ready(ended) => Some(ended),
                Poll::Pending => None,
            };
            match Pin::new(&mut receiver).poll(cx) {
                Poll::Ready(Ok(said)) => Poll::Ready((Some(said), ended)),
                _ if ended.is_some() => Poll::Ready((None, ended)),
                _ => Poll::Pending,
            }
        })
        .await;
        let rest = match ended {
            // Nothing of its answer is on its way.
            Some(Err(error)) => return Err(self.failed(&error, &overflowed)),
            Some(Ok(())) => None,
            None => {
                let (handlers, alive) = (self.clone(), alive.clone());
                let task = tokio::spawn(async move {
                    if let Err(error) = running.await {
                        handlers.failed(&error, &Flag::default());
                    }
                    drop(alive);
                });
                Some(Rest::new(task.abort_handle()))
            }
        };
        match said {
            Some(Ok(response)) => {
                let (head, body) = response.into_parts();
                let body =
                    Answer::of_handler(head.status, &head.headers, to_head, body, rest, failed);
                Ok(Response::from_parts(head, body))
            }
            Some(Err(code)) => {
                self.say(&format!("the handler gave up: {code}"));
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
            None => {
                self.say("the handler returned without an answer");
                Err(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// Makes the world of a request, and a call of the handler that waits to be polled.
    fn begin(
        self: &Arc<Self>,
        request: Request<Incoming>,
        overflowed: &Flag,
        sender: oneshot::Sender<Said>,
        permit: OwnedSemaphorePermit,
        failed: &Flag,
    ) -> Result<Running, StatusCode> {
        let turn = self.ticker.turn();
        let mut store = Store::new(&self.engine, self.host());
        store.limiter(Host::limiter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let call = match self.max_body {
            None => Call::new(&self.handler, &mut store, request, sender),
            Some(limit) => {
                let overflowed = overflowed.clone();
                let request = request.map(|body| Limited::new(body, limit, overflowed));
                Call::new(&self.handler, &mut store, request, sender)
            }
        }?;
        let failed = failed.clone();
        Ok(Box::pin(async move {
            let _held = (turn, permit);
            let result = call.make(&mut store).await;
            if result.is_err() {
                failed.set();
            }
            // Not before: it closes the answer's body.
            drop(store);
            result
        }))
    }

    fn host(&self) -> Host {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut builder = WasiCtxBuilder::new();
        world::surroundings(&mut builder, &self.guest);
        builder
            .env(REQUEST_ID, number.to_string())
            .stdout(Lines::new(self.stdout.clone()))
            .stderr(Lines::new(self.stderr.clone()));
        let mut context = builder.build();
        *context.filesystem() = self.folders.clone();
        let limits = Limits::Handler(self.purse.limiter());
        Host::new(context, self.shared.clone(), limits)
    }

    /// Says on stderr why a handler failed, and tells the answer that its client gets.
    fn failed(&self, error: &wasmtime::Error, overflowed: &Flag) -> StatusCode {
        if error.is::<PoolConcurrencyLimitError>() {
            return StatusCode::SERVICE_UNAVAILABLE;
        }
        match error.downcast_ref::<I32Exit>() {
            Some(exit) => self.say(&format!("the handler called exit with {}", exit.0)),
            None => self.say(&format!("{error:?}")),
        }
        if overflowed.is_set() {
            StatusCode::PAYLOAD_TOO_LARGE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }

    /// Writes to the container's log.
    pub(super) fn say(&self, text: &str) {
        let line = format!("{}: {text}\n", self.path.display());
        // A log that is gone is nobody's fault here.
        drop((&*self.stderr).write_all(line.as_bytes()));
    }
}

fn length(request: &Request<Incoming>) -> Option<u64> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

/// The server's own answer.
fn own(status: StatusCode) -> Response<Answer> {
    let reason = status.canonical_reason().unwrap_or_default();
    let body = Full::new(Bytes::from(format!("{reason}\n")));
    let mut response = Response::new(Answer::Own(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
