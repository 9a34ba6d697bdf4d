//! Requests that a component sends: `wasi:http/outgoing-handler`, in WASI 0.3 `wasi:http/client`.
//!
//! | file | what |
//! |---|---|
//! | `knowledge` | which servers are known to speak HTTP/2 |
//! | `target` | whom a request is for, as its server is told |
//! | `connect` | a connection, secured if need be, and what is spoken on it |
//! | `exchange` | a request and its response on it, by HTTP/1.1 or HTTP/2 |
//! | `body` | bodies on their way out and in |
//! | `failure` | what a guest is told of what goes wrong |

mod body;
mod connect;
mod exchange;
mod failure;
mod knowledge;
mod target;

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderName, Request, Response, Version};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

use body::{BodyError, Sending, Timed};
use connect::TlsConfig;
use exchange::Driver;
use knowledge::Knowledge;

use crate::outgoing::{Outgoing, Way};
use crate::variables;

/// How long each step of a request may take if the guest does not say: Wasmtime's own
/// default.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Sends a guest's requests.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    ways: Arc<Ways>,
    /// What a component of an application may connect to.
    rules: Option<Arc<Outgoing>>,
    /// How many components have sent a request for the one that is answered.
    depth: u32,
}

/// What it knows of servers.
#[derive(Debug)]
struct Ways {
    trust: TlsConfig,
    knowledge: Knowledge,
}

impl HttpClient {
    /// For a guest with this environment.
    pub(crate) fn new(env: &[(String, String)]) -> Result<Self, variables::Error> {
        Ok(Self {
            ways: Arc::new(Ways {
                trust: TlsConfig::new(env),
                knowledge: Knowledge::new(env)?,
            }),
            rules: None,
            depth: 0,
        })
    }

    /// The same, for a component that has rules.
    pub(crate) fn of_component(&self, rules: Arc<Outgoing>) -> Self {
        Self {
            ways: self.ways.clone(),
            rules: Some(rules),
            depth: 0,
        }
    }

    /// From now on for a request that so many components have sent one after the other.
    pub(crate) fn begin(&mut self, depth: u32) {
        self.depth = depth;
    }
}

/// Headers that a guest may neither see nor set.
static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> =
    LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));

impl WasiHttpHooks for HttpClient {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        FORBIDDEN.clone()
    }

    /// The request says it by its address, of which `target` makes the header.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Driver,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Driver), Error>> + Send> {
        let ways = self.ways.clone();
        let depth = self.depth;
        let way = self
            .rules
            .as_ref()
            .map(|rules| rules.way(request.uri(), depth));
        let mut request = request;
        Box::new(async move {
            match way {
                None => {}
                Some(Way::Out(uri)) => *request.uri_mut() = uri,
                Some(Way::Denied) => return Err(Error::HttpRequestDenied),
                Some(Way::TooDeep) => return Err(Error::LoopDetected),
                Some(Way::Chained(chain, component)) => {
                    let response = chain.call(component, request, depth + 1).await?;
                    let done: Driver = Box::new(std::future::ready(Ok(())));
                    return Ok((response, done));
                }
            }
            send(ways, request, options.unwrap_or_default()).await
        })
    }
}

async fn send(
    ways: Arc<Ways>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Driver), Error> {
    target::check(&mut request)?;
    let known = ways.knowledge.of(&request);
    let connect = options.connect_timeout.unwrap_or(TIMEOUT);
    let connected = connect::open(&ways.trust, request.uri(), known);
    let (stream, version) = tokio::time::timeout(connect, connected)
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    target::name(&mut request, version)?;

    let said = BodyError::default();
    let request = request.map(|body| Sending::new(body, said.clone()));
    let first_byte = options.first_byte_timeout.unwrap_or(TIMEOUT);
    let exchange = async {
        if version == Version::HTTP_2 {
            exchange::http2(stream, request).await
        } else {
            exchange::http1(stream, request).await
        }
    };
    let (response, driver) = tokio::time::timeout(first_byte, exchange)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)?
        .map_err(|error| said.or(|| failure::before_response(error)))?;
    body::check_head(response.headers())?;
    let between = options.between_bytes_timeout.unwrap_or(TIMEOUT);
    let response = response.map(|body| Timed::new(body, between, said).boxed_unsync());
    Ok((response, driver))
}
