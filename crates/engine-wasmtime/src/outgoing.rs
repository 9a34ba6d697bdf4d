//! Requests that a component sends: `wasi:http/outgoing-handler`.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{HeaderName, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody,
    WasiHttpHooks,
};

use crate::roots::{self, SSL_CERT_FILE};

/// How long each step of a request may take if the guest does not say: as of Wasmtime's own
/// default.
const PATIENCE: Duration = Duration::from_secs(600);

/// Shortest interval that a timer takes; stands for a timeout of zero.
const AT_ONCE: Duration = Duration::from_nanos(1);

/// Sends a guest's requests.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing(Arc<Trust>);

/// Whom it trusts.
#[derive(Debug)]
struct Trust {
    /// A file with authorities that the guest's environment names.
    file: Option<PathBuf>,
    /// One configuration for all requests, made when the first one needs it.
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Outgoing {
    /// For a guest with this environment.
    pub(crate) fn new(env: &[(String, String)]) -> Self {
        let file = env.iter().rev().find(|(name, _)| name == SSL_CERT_FILE);
        let file = file.map(|(_, path)| path).filter(|path| !path.is_empty());
        Self(Arc::new(Trust {
            file: file.map(PathBuf::from),
            tls: OnceLock::new(),
        }))
    }
}

/// What is done for the connection as long as the response is read.
type Driver = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Headers that a guest may neither see nor set.
static FORBIDDEN: LazyLock<ForbiddenHeaderFilter> =
    LazyLock::new(|| Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name)));

impl WasiHttpHooks for Outgoing {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        FORBIDDEN.clone()
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Driver,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Driver), Error>> + Send> {
        Box::new(send(self.0.clone(), request, options.unwrap_or_default()))
    }
}

impl Trust {
    fn tls(&self) -> Result<TlsConnector, Error> {
        if let Some(config) = self.tls.get() {
            return Ok(TlsConnector::from(config.clone()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::InternalError(Some(error.to_string())))?
            .with_root_certificates(roots::find(self.file.as_deref()))
            .with_no_client_auth();
        let config = self.tls.get_or_init(|| Arc::new(config));
        Ok(TlsConnector::from(config.clone()))
    }
}

/// A connection to a server.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn send(
    trust: Arc<Trust>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Driver), Error> {
    let connect = options.connect_timeout.unwrap_or(PATIENCE);
    let stream = tokio::time::timeout(connect, connect_to(&trust, request.uri()))
        .await
        .map_err(|_| Error::ConnectionTimeout)??;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(Error::from)?;
    // To the server itself only the path is said; the authority is in the header `host`.
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));

    let first_byte = options.first_byte_timeout.unwrap_or(PATIENCE);
    let mut connection = Box::pin(connection);
    let mut closed = false;
    let response = async {
        let mut response = std::pin::pin!(sender.send_request(request));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = response.as_mut().poll(cx) {
                return Poll::Ready(response.map_err(Error::from));
            }
            if !closed {
                let ended = ready!(connection.as_mut().poll(cx));
                closed = true;
                ended.map_err(Error::from)?;
            }
            response.as_mut().poll(cx).map_err(Error::from)
        })
        .await
    };
    let response = tokio::time::timeout(first_byte, response)
        .await
        .map_err(|_| Error::ConnectionReadTimeout)??;
    let between = options.between_bytes_timeout.unwrap_or(PATIENCE);
    let response = response.map(|body| Timed::new(body, between).boxed_unsync());
    let driver = async move {
        if closed {
            return Ok(());
        }
        connection.await.map_err(Error::from)
    };
    Ok((response, Box::new(driver)))
}

async fn connect_to(trust: &Trust, uri: &Uri) -> Result<Box<dyn Stream>, Error> {
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let secure = uri.scheme() == Some(&Scheme::HTTPS);
    let port = authority
        .port_u16()
        .unwrap_or(if secure { 443 } else { 80 });
    // An IPv6 address stands in brackets there, and nowhere else.
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port))
        .await
        .map_err(Error::Connect)?;
    stream.set_nodelay(true).map_err(Error::Connect)?;
    if !secure {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let stream = trust
        .tls()?
        .connect(name, stream)
        .await
        .map_err(not_secured)?;
    Ok(Box::new(stream))
}

/// What a guest is told of a connection that cannot be secured.
fn not_secured(error: io::Error) -> Error {
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented};
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(InvalidCertificate(_) | NoCertificatesPresented) => Error::TlsCertificateError,
        Some(AlertReceived(alert)) => Error::TlsAlertReceived {
            alert_id: Some(u8::from(*alert)),
            alert_message: alert.as_str().map(str::to_owned),
        },
        _ => Error::Tls(error),
    }
}

/// A response's body that may not pause for longer than the guest allows.
struct Timed {
    body: hyper::body::Incoming,
    pause: Duration,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Timed {
    fn new(body: hyper::body::Incoming, pause: Duration) -> Self {
        let pause = pause.max(AT_ONCE);
        Self {
            body,
            pause,
            timer: Box::pin(tokio::time::sleep(pause)),
        }
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let next = tokio::time::Instant::now() + self.pause;
            self.timer.as_mut().reset(next);
            return Poll::Ready(frame.map(|frame| frame.map_err(Error::from)));
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
