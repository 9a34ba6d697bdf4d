//! Requests that one component of an application sends to another: to `<component>.spin.internal`, without a
//! connection.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::{Request, Response};
use medley_spin::routes::Match;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use wasmtime_wasi_http::{Error, WasiBody};

use super::handler::Handler;
use super::request::DrainToken;
use super::site;
use crate::outgoing::MAX_DEPTH;

/// What is told of the client of such a request.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The components of an application, as soon as its server is there.
#[derive(Default)]
pub(crate) struct Chain(OnceLock<Parts>);

struct Parts {
    handlers: BTreeMap<String, Arc<Handler>>,
    /// Where the server listens, for a component of it.
    server: Option<SocketAddr>,
    /// For each depth, one for each request that may be handled at the same time. A request waits for deeper ones
    /// alone, of which the deepest wait for none: so all of them come to their turn.
    permits: Vec<Arc<Semaphore>>,
    /// What the server waits for when it is to end.
    alive: mpsc::WeakSender<()>,
}

/// What a request to another component has until its handler is done.
pub(super) struct Held {
    _permit: OwnedSemaphorePermit,
    _alive: Option<DrainToken>,
}

impl Chain {
    /// Says what there is, how many requests may be handled at the same time, and what the server waits for. Only
    /// the first time counts.
    pub(super) fn set(
        &self,
        handlers: BTreeMap<String, Arc<Handler>>,
        server: Option<SocketAddr>,
        concurrency: usize,
        alive: &DrainToken,
    ) {
        let server = server.map(|address| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
            _ => address,
        });
        let permits = (0..MAX_DEPTH).map(|_| Arc::new(Semaphore::new(concurrency)));
        let parts = Parts {
            handlers,
            server,
            permits: permits.collect(),
            alive: alive.downgrade(),
        };
        drop(self.0.set(parts));
    }

    /// As if a server listened there that has no components.
    #[cfg(test)]
    pub(crate) fn listen(&self, server: SocketAddr) {
        let (alive, _) = mpsc::channel(1);
        self.set(BTreeMap::new(), Some(server), 1, &alive);
    }

    /// Where the application's own server listens.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        self.0.get()?.server
    }

    /// Has a component answer a request, which is the `depth`th one after the other.
    pub(crate) async fn call(
        self: Arc<Self>,
        component: String,
        mut request: Request<WasiBody>,
        depth: u32,
    ) -> Result<Response<WasiBody>, Error> {
        let parts = self.0.get().ok_or(Error::DestinationNotFound)?;
        let handler = parts.handlers.get(&component);
        let handler = handler.ok_or(Error::DestinationNotFound)?;
        let held = parts.hold(depth).await?;
        let found = Match {
            trigger: 0,
            based: "/...",
            raw: "/...",
            rest: request.uri().path().to_owned(),
            names: Vec::new(),
        };
        site::tell(&mut request, CLIENT, &found);
        handler.chained(request, depth, held).await
    }
}

impl Parts {
    /// Waits for the turn of a request that is the `depth`th one after the other.
    async fn hold(&self, depth: u32) -> Result<Held, Error> {
        let level = depth
            .checked_sub(1)
            .and_then(|level| usize::try_from(level).ok());
        let permits = level.and_then(|level| self.permits.get(level));
        let permit = permits.ok_or(Error::LoopDetected)?.clone().acquire_owned();
        Ok(Held {
            _permit: permit.await.map_err(|_| Error::ConnectionTerminated)?,
            _alive: self.alive.upgrade(),
        })
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}
