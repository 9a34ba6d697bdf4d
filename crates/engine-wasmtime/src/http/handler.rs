//! A component that answers requests: what all its instances have in common.

use std::fs::File;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use medley_engine::Guest;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wasmtime::{Engine, PoolConcurrencyLimitError, Store};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};
use wasmtime_wasi_http::{Error, WasiBody};

use super::body::{Arrival, HandlerTask, OneWayFlag, ResponseBody, Taking, Upload};
use super::call::{Call, HandlerResponse};
use super::chain::Held;
use super::idle_instances::IdleInstances;
use super::instance::{Instance, Output};
use super::memory_budget::SharedBudget;
use super::settings::Settings;
use super::ticker::Ticker;
use super::{Callable, LinkedHandler};
use crate::store_data::{ProcessShared, StoreData};
use crate::wasi_ctx;

/// What runwasi adds to a handler's environment: the number of its request. An instance that answers
/// several has the number of the first.
const REQUEST_ID: &str = "REQUEST_ID";

/// One component.
pub(super) struct Handler {
    callable: Callable,
    engine: Engine,
    /// What stands before what the log is told.
    name: String,
    guest: Guest,
    /// Opened once, shared by all.
    dirs: WasiFilesystemCtx,
    shared: Arc<ProcessShared>,
    budget: SharedBudget,
    idle: Arc<IdleInstances>,
    stdout: Arc<File>,
    stderr: Arc<File>,
    body_timeout: Option<Duration>,
    max_body: Option<u64>,
    ticker: Ticker,
    requests: AtomicU64,
}

/// A component, and what it is given.
pub(crate) struct Hosted<'l> {
    pub(crate) linked: &'l LinkedHandler,
    /// What stands before what the log is told.
    pub(crate) name: String,
    pub(crate) guest: Guest,
    pub(crate) shared: Arc<ProcessShared>,
}

/// A handler that runs.
pub(super) type Running = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send>>;

impl Handler {
    pub(super) fn new(
        hosted: Hosted<'_>,
        settings: &Settings,
        ticker: Ticker,
        budget: &SharedBudget,
        (stdout, stderr): (&Arc<File>, &Arc<File>),
    ) -> Self {
        let Hosted {
            linked,
            name,
            guest,
            shared,
        } = hosted;
        let mut builder = WasiCtxBuilder::new();
        // A dir may hold a FIFO, whose opening blocks: not all the other requests too.
        builder.allow_blocking_current_thread(false);
        wasi_ctx::preopens(&mut builder, &guest, shared.open_dir());
        let dirs = builder.build().filesystem().clone();
        let idle = IdleInstances::new(settings.instance_reuse, settings.idle_instance_timeout);
        budget.may_end(&idle);
        Self {
            callable: linked.handler.clone(),
            engine: linked.engine().clone(),
            name,
            budget: budget.clone(),
            guest,
            dirs,
            shared,
            idle,
            stdout: stdout.clone(),
            stderr: stderr.clone(),
            body_timeout: settings.body_timeout,
            max_body: settings.max_body,
            ticker,
            requests: AtomicU64::new(0),
        }
    }

    /// Makes a call of the handler that waits to be polled.
    pub(super) fn begin(
        self: &Arc<Self>,
        request: Request<Incoming>,
        arrival: Option<&Arc<Arrival>>,
        overflowed: &OneWayFlag,
        sender: oneshot::Sender<HandlerResponse>,
        permit: OwnedSemaphorePermit,
        failed: &OneWayFlag,
    ) -> Result<Running, StatusCode> {
        let turn = self.ticker.turn();
        let mut instance = self.idle.take().unwrap_or_else(|| self.instance());
        instance.begin(0);
        let store = &mut instance.store;
        let call = match arrival {
            None => Call::new(&self.callable, store, request, sender),
            Some(arrival) => {
                let (overflowed, arrival) = (overflowed.clone(), arrival.clone());
                let (limit, timeout) = (self.max_body, self.body_timeout);
                let request =
                    request.map(|body| Upload::new(body, limit, overflowed, arrival, timeout));
                Call::new(&self.callable, store, request, sender)
            }
        }?;
        let (failed, arrival, idle) = (failed.clone(), arrival.cloned(), self.idle.clone());
        Ok(Box::pin(async move {
            let _held = (turn, permit);
            let result = call.make(&mut instance).await;
            match &result {
                // An instance that holds an unread body would keep the connection from its next request.
                Ok(()) if arrival.is_none_or(|arrival| arrival.is_over()) => idle.put(instance),
                // It closes the answer's body: whether it has failed has to be known before.
                _ => {
                    if result.is_err() {
                        failed.set();
                    }
                    drop(instance);
                }
            }
            result
        }))
    }

    /// Answers a request of another component, whose sender waits for it. Dropped in the middle of its answer, as when
    /// that sender ends, it takes the handler along.
    pub(super) async fn chained(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        depth: u32,
        held: Held,
    ) -> Result<Response<WasiBody>, Error> {
        let turn = self.ticker.turn();
        let mut instance = self.idle.take().unwrap_or_else(|| self.instance());
        instance.begin(depth);
        let to_head = request.method() == Method::HEAD;
        let (sender, said) = oneshot::channel();
        let call = Call::new(&self.callable, &mut instance.store, request, sender);
        let call = call.map_err(|_| Error::HttpRequestUriInvalid)?;
        let (handler, failed) = (self.clone(), OneWayFlag::default());
        let failing = failed.clone();
        let task = tokio::spawn(async move {
            let _held = (turn, held);
            match call.make(&mut instance).await {
                Ok(()) => handler.idle.put(instance),
                Err(error) => {
                    // It closes the answer's body: whether it has failed has to be known before.
                    failing.set();
                    drop(instance);
                    handler.failed(&error, &OneWayFlag::default());
                }
            }
        });
        let rest = HandlerTask::new(task.abort_handle(), Taking::default());
        match said.await {
            Ok(Ok(response)) => {
                let (head, body) = response.into_parts();
                let (status, rest) = (head.status, Some(rest));
                let body =
                    ResponseBody::of_handler(status, &head.headers, to_head, body, rest, failed);
                Ok(Response::from_parts(head, body.boxed_unsync()))
            }
            Ok(Err(code)) => {
                self.say(&format!("the handler gave up: {code}"));
                Err(Error::InternalError(Some(
                    "the component gave up".to_owned(),
                )))
            }
            Err(_) => Err(Error::InternalError(Some(
                "the component ended without an answer".to_owned(),
            ))),
        }
    }

    /// A new instance.
    fn instance(&self) -> Instance {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut builder = WasiCtxBuilder::new();
        wasi_ctx::args_env(&mut builder, &self.guest);
        self.shared.network(&mut builder);
        builder.env(REQUEST_ID, number.to_string());
        let output = Output::new(&self.stdout, &self.stderr);
        output.give(&mut builder);
        let mut context = builder.build();
        *context.filesystem() = self.dirs.clone();
        let host = StoreData::new(context, self.shared.clone(), self.budget.limiter());
        Instance::new(Store::new(&self.engine, host), output)
    }

    /// Says on stderr why a handler failed, and tells the answer that its client gets.
    pub(super) fn failed(&self, error: &wasmtime::Error, overflowed: &OneWayFlag) -> StatusCode {
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
        say(&self.stderr, &self.name, text);
    }
}

/// Writes to the container's log.
pub(super) fn say(mut log: &File, name: &str, text: &str) {
    let line = format!("{name}: {text}\n");
    // A log that is gone is no fault of the handler or of the client.
    drop(log.write_all(line.as_bytes()));
}
