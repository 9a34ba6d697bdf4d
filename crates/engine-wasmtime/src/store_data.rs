//! What Wasmtime keeps with each component's store, and the linker with the interfaces that work on it.

use std::sync::Arc;

use medley_engine::{Guest, GuestExit, Preopen};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types as p3;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::files::{Files, Opened, WasiFiles};
use crate::http_client::HttpClient;
use crate::keyvalue::{self, Buckets};
use crate::limiter::StoreLimiter;
use crate::wasi_version::is_of_0_3;
use crate::{variables, wasi_ctx};

/// What the engine keeps for one component.
pub(crate) struct StoreData {
    context: WasiCtx,
    http: WasiHttpCtx,
    outgoing: HttpClient,
    shared: Arc<ProcessShared>,
    limiter: Box<dyn StoreLimiter>,
    table: ResourceTable,
    /// What it has opened.
    pub(crate) opened: Opened,
    #[cfg(feature = "nn")]
    nn: wasmtime_wasi_nn::wit::WasiNnCtx,
}

/// What all components of a process have in common.
pub(crate) struct ProcessShared {
    /// The environment, as `wasi:config` gives it.
    variables: WasiConfigVariables,
    buckets: Buckets,
    outgoing: HttpClient,
    preopens: Vec<Preopen>,
}

impl ProcessShared {
    /// For guests with these arguments and this environment.
    pub(crate) fn new(guest: &Guest) -> Result<Arc<Self>, variables::Error> {
        Ok(Arc::new(Self {
            variables: guest.env.iter().cloned().collect(),
            buckets: Buckets::default(),
            outgoing: HttpClient::new(&guest.env)?,
            preopens: guest.preopens.clone(),
        }))
    }
}

impl StoreData {
    /// The data of one component's store.
    pub(crate) fn new(
        context: WasiCtx,
        shared: Arc<ProcessShared>,
        limiter: impl StoreLimiter + 'static,
    ) -> Self {
        Self {
            context,
            http: WasiHttpCtx::new(),
            outgoing: shared.outgoing.clone(),
            shared,
            limiter: Box::new(limiter),
            table: ResourceTable::new(),
            opened: Opened::default(),
            #[cfg(feature = "nn")]
            nn: crate::nn::context(),
        }
    }

    /// The dirs that it finds open, by their names.
    pub(crate) fn preopens(&self) -> &[Preopen] {
        &self.shared.preopens
    }

    /// Whom Wasmtime asks for memory.
    pub(crate) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut *self.limiter
    }

    /// Why it could not be instantiated.
    pub(crate) fn not_started(&self, error: &wasmtime::Error) -> GuestExit {
        wasi_ctx::not_started(error, self.limiter.refused())
    }
}

impl WasiView for StoreData {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for StoreData {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: &mut self.outgoing,
        }
    }
}

/// A linker with all that `component` may import: what it does not is left out, which most
/// starts are the quicker for. What is of WASI 0.3 needs an engine of a concurrent profile.
pub(crate) fn linker(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Linker<StoreData>> {
    let ty = component.component_type();
    let any = |wanted: &dyn Fn(&str) -> bool| ty.imports(engine).any(|(name, _)| wanted(name));
    let imports = |package: &str| any(&|name| name.starts_with(package));
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    if imports("wasi:filesystem/") {
        linker.allow_shadowing(true);
        p2::add_to_linker::<_, WasiFiles>(&mut linker, |host| Files(host))?;
        linker.allow_shadowing(false);
    }
    if any(&is_of_0_3) {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        linker.allow_shadowing(true);
        p3::add_to_linker::<_, WasiFiles>(&mut linker, |host| Files(host))?;
        linker.allow_shadowing(false);
    }
    if imports("wasi:http/") {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if any(&|name| name.starts_with("wasi:http/") && is_of_0_3(name)) {
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    if imports("wasi:config/") {
        wasmtime_wasi_config::add_to_linker(&mut linker, |host: &mut StoreData| {
            WasiConfig::from(&host.shared.variables)
        })?;
    }
    #[cfg(feature = "nn")]
    if imports("wasi:nn/") {
        crate::nn::add_to_linker(&mut linker, |host: &mut StoreData| {
            crate::nn::view(&mut host.table, &mut host.nn)
        })?;
    }
    if imports("wasi:keyvalue/") {
        keyvalue::add_to_linker(&mut linker, |host: &mut StoreData| keyvalue::View {
            buckets: &host.shared.buckets,
            table: &mut host.table,
        })?;
    }
    Ok(linker)
}
