//! What Wasmtime keeps with each component's store.

use std::sync::Arc;

use medley_engine::{Guest, GuestExit, Preopen};
use medley_spin_host::ComponentHost;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::files::Opened;
use crate::http_client::HttpClient;
use crate::keyvalue::{self, Buckets};
use crate::limiter::StoreLimiter;
use crate::outgoing::Outgoing;
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
    /// What a component of an application may connect to. Any other may connect to all.
    rules: Option<Arc<Outgoing>>,
    /// What a component may use of Spin's interfaces.
    spin: Arc<ComponentHost>,
}

impl ProcessShared {
    /// For guests with these arguments and this environment.
    pub(crate) fn new(guest: &Guest) -> Result<Arc<Self>, variables::Error> {
        Ok(Arc::new(Self {
            variables: guest.env.iter().cloned().collect(),
            buckets: Buckets::default(),
            outgoing: HttpClient::new(&guest.env)?,
            preopens: guest.preopens.clone(),
            rules: None,
            spin: ComponentHost::bare(guest.env.iter().cloned().collect()),
        }))
    }

    /// For a component of an application, which has these `variables`. `guest` is the component, and `outgoing`
    /// what all of the application send their requests by.
    pub(crate) fn of_component(
        guest: &Guest,
        variables: impl IntoIterator<Item = (String, String)>,
        outgoing: &HttpClient,
        rules: Arc<Outgoing>,
        spin: Arc<ComponentHost>,
    ) -> Arc<Self> {
        Arc::new(Self {
            variables: variables.into_iter().collect(),
            buckets: Buckets::default(),
            outgoing: outgoing.of_component(rules.clone()),
            preopens: guest.preopens.clone(),
            rules: Some(rules),
            spin,
        })
    }

    /// What opens its dirs.
    pub(crate) fn open_dir(&self) -> wasi_ctx::OpenDir {
        match self.rules {
            Some(_) => crate::application::open_dir,
            None => wasi_ctx::dir,
        }
    }

    /// Gives a guest the network.
    pub(crate) fn network(&self, builder: &mut WasiCtxBuilder) {
        wasi_ctx::network(builder);
        if let Some(rules) = &self.rules {
            rules.limit(builder);
        }
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

    /// A request begins, which so many components have sent one after the other.
    pub(crate) fn begin(&mut self, depth: u32) {
        self.outgoing.begin(depth);
    }

    /// The dirs that it finds open, by their names.
    pub(crate) fn preopens(&self) -> &[Preopen] {
        &self.shared.preopens
    }

    /// Its environment, as `wasi:config` gives it.
    pub(crate) fn variables(&self) -> &WasiConfigVariables {
        &self.shared.variables
    }

    /// Its buckets.
    pub(crate) fn keyvalue(&mut self) -> keyvalue::View<'_> {
        keyvalue::View {
            buckets: &self.shared.buckets,
            table: &mut self.table,
        }
    }

    /// What it may use of Spin's interfaces.
    pub(crate) fn spin(&mut self) -> medley_spin_host::View<'_> {
        medley_spin_host::View {
            host: &self.shared.spin,
            table: &mut self.table,
        }
    }

    /// Its graphs and tensors.
    #[cfg(feature = "nn")]
    pub(crate) fn nn(&mut self) -> wasmtime_wasi_nn::wit::WasiNnView<'_> {
        crate::nn::view(&mut self.table, &mut self.nn)
    }

    /// Whom Wasmtime asks for memory.
    pub(crate) fn limiter(&mut self) -> &mut dyn ResourceLimiter {
        &mut *self.limiter
    }

    /// Whether its guest was refused memory.
    pub(crate) fn has_refused(&self) -> bool {
        self.limiter.has_refused()
    }

    /// All resources of its guest.
    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
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
