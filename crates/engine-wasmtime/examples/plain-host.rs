//! The server that Wasmtime's own manual shows: one tokio task a connection, one instance a request,
//! none of them from a pool. What `test/scripts/bench-http` compares ours with.
//!
//!     plain-host COMPONENT ADDRESS

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use http_body_util::combinators::UnsyncBoxBody;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

type Body = UnsyncBoxBody<bytes::Bytes, Error>;
type Failure = Box<dyn StdError + Send + Sync>;

struct State {
    context: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    table: ResourceTable,
}

struct Hooks;

type Sent = (
    http::Response<Body>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        _: http::Request<Body>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.hooks,
        }
    }
}

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(address)) = (args.next(), args.next()) else {
        return Err("usage: plain-host COMPONENT ADDRESS".into());
    };
    let engine = Engine::default();
    let component = Component::from_file(&engine, path)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    let handler = Arc::new(ProxyPre::new(linker.instantiate_pre(&component)?)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (client, _) = listener.accept().await?;
            let handler = handler.clone();
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let handler = handler.clone();
                    async move { answer(&handler, request).await }
                });
                let served = http1::Builder::new()
                    .keep_alive(true)
                    .serve_connection(TokioIo::new(client), service);
                if let Err(error) = served.await {
                    eprintln!("{error}");
                }
            });
        }
    })
}

async fn answer(
    handler: &Arc<ProxyPre<State>>,
    request: hyper::Request<hyper::body::Incoming>,
) -> io::Result<hyper::Response<Body>> {
    let state = State {
        context: WasiCtx::builder().inherit_stdio().build(),
        http: WasiHttpCtx::new(),
        hooks: Hooks,
        table: ResourceTable::new(),
    };
    let mut store = Store::new(handler.engine(), state);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let request = store
        .data_mut()
        .http()
        .new_incoming_request(Scheme::Http, request)
        .map_err(io::Error::other)?;
    let out = store
        .data_mut()
        .http()
        .new_response_outparam(sender)
        .map_err(io::Error::other)?;
    let handler = handler.clone();
    let task = tokio::spawn(async move {
        let proxy = handler.instantiate_async(&mut store).await?;
        proxy
            .wasi_http_incoming_handler()
            .call_handle(store, request, out)
            .await
    });
    match receiver.await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(code)) => Err(io::Error::other(format!("{code:?}"))),
        Err(_) => match task.await? {
            Ok(()) => Err(io::Error::other("no answer")),
            Err(error) => Err(io::Error::other(error.to_string())),
        },
    }
}
