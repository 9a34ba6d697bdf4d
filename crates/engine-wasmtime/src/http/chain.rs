//! Requests that one component of an application sends to another: to `<component>.spin.internal`, without a
//! connection.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use http::{Request, Response};
use medley_spin::routes::Match;
use wasmtime_wasi_http::{Error, WasiBody};

use super::handler::Handler;
use super::site;

/// What is told of the client of such a request.
const CLIENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The components of an application, as soon as its server is there.
#[derive(Default)]
pub(crate) struct Chain(OnceLock<Parts>);

struct Parts {
    handlers: BTreeMap<String, Arc<Handler>>,
    /// Where the server listens, for a component of it.
    server: Option<SocketAddr>,
}

impl Chain {
    /// Says what there is. Only the first time counts.
    pub(super) fn set(&self, handlers: BTreeMap<String, Arc<Handler>>, server: Option<SocketAddr>) {
        let server = server.map(|address| match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, address.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, address.port()).into(),
            _ => address,
        });
        let parts = Parts { handlers, server };
        drop(self.0.set(parts));
    }

    /// As if a server listened there that has no components.
    #[cfg(test)]
    pub(crate) fn listen(&self, server: SocketAddr) {
        self.set(BTreeMap::new(), Some(server));
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
        let handler = self
            .0
            .get()
            .and_then(|parts| parts.handlers.get(&component))
            .ok_or(Error::DestinationNotFound)?;
        let found = Match {
            trigger: 0,
            based: "/...",
            raw: "/...",
            rest: request.uri().path().to_owned(),
            names: Vec::new(),
        };
        site::tell(&mut request, CLIENT, &found);
        handler.chained(request, depth).await
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").finish_non_exhaustive()
    }
}
