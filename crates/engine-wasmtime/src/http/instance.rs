//! An instance of the handler, and whether it may answer another request.

use std::fs::File;
use std::sync::Arc;

use medley_spin_host::InboundHttp;
use wasmtime::Store;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::HostResponseOutparam;
use wasmtime_wasi_http::p3::bindings::Service;

use super::line_writer::LineWriter;
use crate::store_data::StoreData;

/// The functions that an instance is called by: of WASI 0.2, of 0.3, or of Spin 1.
pub(super) enum Exports {
    Proxy(Proxy),
    Service(Service),
    Inbound(InboundHttp),
}

/// An instance and its store.
pub(super) struct Instance {
    pub(super) store: Store<StoreData>,
    /// Absent until the first call.
    pub(super) exports: Option<Exports>,
    output: Output,
    /// Requests that it was given.
    served: u32,
}

/// What an instance writes to.
pub(super) struct Output {
    stdout: LineWriter,
    stderr: LineWriter,
}

impl Output {
    pub(super) fn new(stdout: &Arc<File>, stderr: &Arc<File>) -> Self {
        Self {
            stdout: LineWriter::new(stdout.clone()),
            stderr: LineWriter::new(stderr.clone()),
        }
    }

    /// Makes it what a guest of this context writes to.
    pub(super) fn give(&self, context: &mut WasiCtxBuilder) {
        context
            .stdout(self.stdout.clone())
            .stderr(self.stderr.clone());
    }
}

impl Instance {
    /// The store of an instance, which is made in it at the first call.
    pub(super) fn new(mut store: Store<StoreData>, output: Output) -> Self {
        store.limiter(StoreData::limiter);
        store.epoch_deadline_async_yield_and_update(1);
        Self {
            store,
            exports: None,
            output,
            served: 0,
        }
    }

    /// A request begins, which so many components have sent one after the other.
    pub(super) fn begin(&mut self, depth: u32) {
        self.store.data_mut().begin(depth);
        self.served = self.served.saturating_add(1);
        self.store.set_epoch_deadline(1);
    }

    /// A request has ended as it should: whether the instance may have another one, of `max` in all.
    ///
    /// One that was refused memory may have been left in a state that its authors never saw. One
    /// that still holds an answer keeps its client waiting until its store is gone.
    pub(super) fn end(&mut self, max: u32) -> bool {
        if self.served >= max || self.store.data().has_refused() {
            return false;
        }
        let mut held = self.store.data_mut().table().iter_mut();
        if held.any(|one| one.is::<HostOutgoingBody>() || one.is::<HostResponseOutparam>()) {
            return false;
        }
        self.output.stdout.end();
        self.output.stderr.end();
        true
    }
}
