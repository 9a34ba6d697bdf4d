//! What an instance is called with, by the WASI that it is of, and what it says.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::uri::{Parts, Scheme};
use http::{Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use medley_spin_host::InboundHttp;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::{InstancePre, Resource};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types as p2;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

use super::Callable;
use super::instance::{Exports, Instance};
use crate::store_data::StoreData;

/// The largest body that a component gets as one value, in bytes.
const MAX_WHOLE_BODY: usize = 16 << 20;

/// What a handler answers: a response, or the name of an error.
pub(super) type HandlerResponse = Result<Response<WasiBody>, String>;

/// What is told of a request when it is over.
type Completion = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A call that can be made.
pub(super) enum Call {
    Proxy {
        handler: Arc<ProxyPre<StoreData>>,
        request: Resource<HostIncomingRequest>,
        out: Resource<HostResponseOutparam>,
    },
    Service {
        handler: Arc<ServicePre<StoreData>>,
        request: p3::Request,
        over: Completion,
        sender: oneshot::Sender<HandlerResponse>,
    },
    Inbound {
        handler: Arc<InstancePre<StoreData>>,
        request: Request<WasiBody>,
        sender: oneshot::Sender<HandlerResponse>,
    },
}

impl Call {
    /// Puts a request into `store`, whose answer goes to `sender`.
    pub(super) fn new<B>(
        handler: &Callable,
        store: &mut Store<StoreData>,
        request: Request<B>,
        sender: oneshot::Sender<HandlerResponse>,
    ) -> Result<Self, StatusCode>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Error>,
    {
        let mut http = store.data_mut().http();
        match handler {
            Callable::Proxy(handler) => {
                // It names no authority.
                let request = http
                    .new_incoming_request(p2::Scheme::Http, request)
                    .map_err(|_| StatusCode::BAD_REQUEST)?;
                let say = move |said: Result<_, p2::ErrorCode>| {
                    // Its client may have gone away.
                    sender.send(said.map_err(|code| format!("{code:?}"))).ok();
                };
                let out = http
                    .new_response_outparam_from_callback(say)
                    .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
                Ok(Self::Proxy {
                    handler: handler.clone(),
                    request,
                    out,
                })
            }
            Callable::Service(handler) => {
                let request = absolute(request).ok_or(StatusCode::BAD_REQUEST)?;
                let (request, over) = p3::Request::from_http(http.hooks, request);
                Ok(Self::Service {
                    handler: handler.clone(),
                    request,
                    over: Box::pin(over),
                    sender,
                })
            }
            Callable::Inbound(handler) => Ok(Self::Inbound {
                handler: handler.clone(),
                request: request.map(|body| body.map_err(Into::into).boxed_unsync()),
                sender,
            }),
        }
    }

    /// Makes the call in `instance`, whose store has the request. Returns once the instance has done
    /// all that the request asks of it.
    pub(super) async fn make(self, instance: &mut Instance) -> wasmtime::Result<()> {
        let Instance { store, exports, .. } = instance;
        match self {
            Self::Proxy {
                handler,
                request,
                out,
            } => {
                let made = match exports.take() {
                    Some(Exports::Proxy(made)) => made,
                    _ => handler.instantiate_async(&mut *store).await?,
                };
                let handler = made.wasi_http_incoming_handler();
                handler.call_handle(store, request, out).await?;
                *exports = Some(Exports::Proxy(made));
                Ok(())
            }
            Self::Service {
                handler,
                request,
                over,
                sender,
            } => {
                let made = match exports.take() {
                    Some(Exports::Service(made)) => made,
                    _ => handler.instantiate_async(&mut *store).await?,
                };
                let handled = store.run_concurrent(async |accessor| {
                    let said = match made.handle(accessor, request).await? {
                        Ok(response) => Ok(
                            accessor.with(|mut access| response.into_http(&mut access, over))?
                        ),
                        Err(code) => Err(format!("{code:?}")),
                    };
                    // The body takes one end along, and drops it when no more is asked for.
                    let (held, gone) = oneshot::channel::<Infallible>();
                    let hold =
                        |body: WasiBody| body.map_err(move |error| (error, &held).0).boxed_unsync();
                    sender.send(said.map(|response| response.map(hold))).ok();
                    // Its body may come out of another stream, with no call that is under way.
                    gone.await.ok();
                    poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                    Ok(())
                });
                handled.await.flatten()?;
                *exports = Some(Exports::Service(made));
                Ok(())
            }
            Self::Inbound {
                handler,
                request,
                sender,
            } => {
                let made = match exports.take() {
                    Some(Exports::Inbound(made)) => made,
                    _ => {
                        let instance = handler.instantiate_async(&mut *store).await?;
                        InboundHttp::new(&mut *store, &instance)?
                    }
                };
                let (head, body) = request.into_parts();
                let Some(body) = collected(body).await? else {
                    let mut response = Response::new(WasiBody::default());
                    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                    sender.send(Ok(response)).ok();
                    *exports = Some(Exports::Inbound(made));
                    return Ok(());
                };
                let response = made.call(store, Request::from_parts(head, body)).await?;
                let whole = |body| {
                    Full::new(body)
                        .map_err(|never| match never {})
                        .boxed_unsync()
                };
                // Its client may have gone away.
                sender.send(Ok(response.map(whole))).ok();
                *exports = Some(Exports::Inbound(made));
                Ok(())
            }
        }
    }
}

/// A whole body; `None` if it is larger than a component may be given as one value.
async fn collected(mut body: WasiBody) -> wasmtime::Result<Option<Bytes>> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > MAX_WHOLE_BODY {
            return Ok(None);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Some(bytes.freeze()))
}

/// A request with its scheme and authority, which HTTP/1.1 has in a header; `None` if it names no
/// authority.
fn absolute<B>(mut request: Request<B>) -> Option<Request<B>> {
    let mut parts: Parts = std::mem::take(request.uri_mut()).into_parts();
    if parts.authority.is_none() {
        let host = request.headers().get(header::HOST)?;
        parts.authority = Some(host.to_str().ok()?.parse().ok()?);
    }
    parts.scheme = Some(Scheme::HTTP);
    *request.uri_mut() = Uri::from_parts(parts).ok()?;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::absolute;
    use http::Request;

    fn uri_of(uri: &str, host: Option<&str>) -> Option<String> {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        absolute(request.body(()).unwrap()).map(|request| request.uri().to_string())
    }

    #[test]
    fn a_request_names_whom_it_was_sent_to() {
        let wanted = Some("http://a.example:8080/x?y=1".to_owned());
        assert_eq!(uri_of("/x?y=1", Some("a.example:8080")), wanted);
        assert_eq!(uri_of("http://a.example:8080/x?y=1", Some("b")), wanted);
        assert_eq!(uri_of("/x", None), None);
        assert_eq!(uri_of("/x", Some("not a host")), None);
    }
}
