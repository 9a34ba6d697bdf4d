//! What the engine keeps for one component, and the interfaces that it gives to it.

use std::sync::Arc;

use medley_engine::Ended;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::http::Part;
use crate::keyvalue::{self, Buckets};
use crate::limiter::Limiter;
use crate::outgoing::Outgoing;
use crate::{chain, world};

/// What the engine keeps for one component.
pub(crate) struct Host {
    context: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    shared: Arc<Shared>,
    limits: Limits,
    table: ResourceTable,
}

/// Who says how much memory a component may have.
pub(crate) enum Limits {
    /// Its container, whose only guest it is.
    Alone(Limiter),
    /// The server, of which it is one handler.
    Handler(Limiter<Part>),
}

/// What all components of a process have in common.
pub(crate) struct Shared {
    /// The environment, as `wasi:config` gives it.
    variables: WasiConfigVariables,
    buckets: Buckets,
    outgoing: Outgoing,
}

impl Shared {
    /// For guests with this environment.
    pub(crate) fn new(env: &[(String, String)]) -> Arc<Self> {
        Arc::new(Self {
            variables: env.iter().cloned().collect(),
            buckets: Buckets::default(),
            outgoing: Outgoing::new(env),
        })
    }
}

impl Host {
    /// The world of one component.
    pub(crate) fn new(context: WasiCtx, shared: Arc<Shared>, limits: Limits) -> Self {
        Self {
            context,
            http: WasiHttpCtx::new(),
            outgoing: shared.outgoing.clone(),
            shared,
            limits,
            table: ResourceTable::new(),
        }
    }

    /// Whom Wasmtime asks for memory.
    pub(crate) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        match &mut self.limits {
            Limits::Alone(limiter) => limiter,
            Limits::Handler(limiter) => limiter,
        }
    }

    /// Why it could not be instantiated.
    pub(crate) fn not_started(&self, error: &wasmtime::Error) -> Ended {
        match &self.limits {
            Limits::Alone(limiter) => world::not_started(error, limiter),
            Limits::Handler(_) => Ended::NotStarted(chain(error)),
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}

/// The packages that the linker has, of which a component takes what it needs, and the version
/// of each, as far as it matters.
pub(crate) const PROVIDED: &[(&str, &str)] = &[
    ("wasi:cli/", "0.2."),
    ("wasi:clocks/", "0.2."),
    ("wasi:config/", "0.2."),
    ("wasi:filesystem/", "0.2."),
    ("wasi:http/", "0.2."),
    ("wasi:io/", "0.2."),
    ("wasi:keyvalue/", "0.2."),
    ("wasi:random/", "0.2."),
    ("wasi:sockets/", "0.2."),
];

/// A linker with all that `component` may import: what it does not is left out, which most
/// starts are the quicker for.
pub(crate) fn linker(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<Host>> {
    let ty = component.component_type();
    let imports = |package| {
        ty.imports(engine)
            .any(|(name, _)| name.starts_with(package))
    };
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    if imports("wasi:http/") {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if imports("wasi:config/") {
        wasmtime_wasi_config::add_to_linker(&mut linker, |host: &mut Host| {
            WasiConfig::from(&host.shared.variables)
        })?;
    }
    if imports("wasi:keyvalue/") {
        keyvalue::add_to_linker(&mut linker, |host: &mut Host| keyvalue::View {
            buckets: &host.shared.buckets,
            table: &mut host.table,
        })?;
    }
    Ok(linker)
}
