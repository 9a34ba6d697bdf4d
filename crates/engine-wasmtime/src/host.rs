//! What the engine keeps for one component, and the interfaces that it gives to it.

use std::sync::Arc;

use medley_engine::{Ended, Guest, Preopen};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Engine, ResourceLimiter};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types as p3;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::files::{Files, Opened, WasiFiles};
use crate::http::Part;
use crate::keyvalue::{self, Buckets};
use crate::limiter::Limiter;
use crate::outgoing::Outgoing;
use crate::{chain, variables, world};

/// What the engine keeps for one component.
pub(crate) struct Host {
    context: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
    shared: Arc<Shared>,
    limits: Limits,
    table: ResourceTable,
    /// What it has opened.
    pub(crate) opened: Opened,
    #[cfg(feature = "nn")]
    nn: wasmtime_wasi_nn::wit::WasiNnCtx,
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
    preopens: Vec<Preopen>,
}

impl Shared {
    /// For guests in this world.
    pub(crate) fn new(guest: &Guest) -> Result<Arc<Self>, variables::Error> {
        Ok(Arc::new(Self {
            variables: guest.env.iter().cloned().collect(),
            buckets: Buckets::default(),
            outgoing: Outgoing::new(&guest.env)?,
            preopens: guest.preopens.clone(),
        }))
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
            opened: Opened::default(),
            #[cfg(feature = "nn")]
            nn: crate::nn::context(),
        }
    }

    /// The folders that it finds open, by their names.
    pub(crate) fn preopens(&self) -> &[Preopen] {
        &self.shared.preopens
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

/// The packages that the linker has, of which a component takes what it needs, and the versions
/// of each: of a release every patch, of a draft the one.
pub(crate) const PROVIDED: &[(&str, &[&str])] = &[
    ("wasi:cli/", &["0.2", "0.3"]),
    ("wasi:clocks/", &["0.2", "0.3"]),
    ("wasi:config/", &["0.2.0-rc.1"]),
    ("wasi:filesystem/", &["0.2", "0.3"]),
    ("wasi:http/", &["0.2", "0.3"]),
    ("wasi:io/", &["0.2"]),
    ("wasi:keyvalue/", &["0.2.0-draft"]),
    #[cfg(feature = "nn")]
    ("wasi:nn/", &["0.2.0-rc-2024-10-28"]),
    ("wasi:random/", &["0.2", "0.3"]),
    ("wasi:sockets/", &["0.2", "0.3"]),
];

/// Whether `version` is one of `provided`.
pub(crate) fn provides(provided: &[&str], version: &str) -> bool {
    provided.iter().any(|known| {
        let patch = version
            .strip_prefix(known)
            .and_then(|rest| rest.strip_prefix('.'));
        version == *known || patch.is_some_and(|patch| patch.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// Whether an interface is one of WASI 0.3.
pub(crate) fn is_of_0_3(interface: &str) -> bool {
    let version = interface.split_once('@').map(|(_, version)| version);
    interface.starts_with("wasi:") && version.is_some_and(|version| provides(&["0.3"], version))
}

/// A linker with all that `component` may import: what it does not is left out, which most
/// starts are the quicker for. What is of WASI 0.3 needs an engine of a concurrent profile.
pub(crate) fn linker(engine: &Engine, component: &Component) -> wasmtime::Result<Linker<Host>> {
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
        wasmtime_wasi_config::add_to_linker(&mut linker, |host: &mut Host| {
            WasiConfig::from(&host.shared.variables)
        })?;
    }
    #[cfg(feature = "nn")]
    if imports("wasi:nn/") {
        crate::nn::add_to_linker(&mut linker, |host: &mut Host| {
            crate::nn::view(&mut host.table, &mut host.nn)
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

#[cfg(test)]
mod tests {
    use super::{is_of_0_3, provides};

    #[test]
    fn a_release_has_every_patch_and_no_draft() {
        for version in ["0.2.0", "0.2.12", "0.3.0"] {
            assert!(provides(&["0.2", "0.3"], version), "{version}");
        }
        for version in [
            "0.1.0",
            "0.20.0",
            "0.3.0-rc-2026-01-06",
            "0.4.0",
            "1.0.0",
            "",
        ] {
            assert!(!provides(&["0.2", "0.3"], version), "{version}");
        }
        assert!(provides(&["0.2.0-draft"], "0.2.0-draft"));
        assert!(!provides(&["0.2.0-draft"], "0.2.0"));
    }

    #[test]
    fn only_wasis_own_interfaces_are_of_wasi_0_3() {
        assert!(is_of_0_3("wasi:cli/run@0.3.0"));
        for name in ["wasi:cli/run@0.2.3", "wasi:cli/run", "moon:base/door@0.3.0"] {
            assert!(!is_of_0_3(name), "{name}");
        }
    }
}
