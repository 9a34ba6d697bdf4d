//! A connection to a request's server, and what is spoken on it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use http::Version;
use http::uri::{Scheme, Uri};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::Error;

use super::knowledge::KnownServer;
use crate::tls_roots::{self, SSL_CERT_FILE};

/// What HTTP/2 and HTTP/1.1 are called in TLS.
const HTTP2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";

/// Whom a guest trusts.
#[derive(Debug)]
pub(super) struct TlsConfig {
    /// A file with authorities that the guest's environment names.
    file: Option<PathBuf>,
    /// One configuration for all requests, made when the first one needs it.
    tls: OnceLock<Configs>,
}

/// It, by what the server is offered.
#[derive(Debug)]
struct Configs {
    either: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl TlsConfig {
    /// For a guest with this environment.
    pub(super) fn new(env: &[(String, String)]) -> Self {
        let file = env.iter().rev().find(|(name, _)| name == SSL_CERT_FILE);
        let file = file.map(|(_, path)| path).filter(|path| !path.is_empty());
        Self {
            file: file.map(PathBuf::from),
            tls: OnceLock::new(),
        }
    }

    fn tls(&self, known: KnownServer) -> Result<TlsConnector, Error> {
        let configs = match self.tls.get() {
            Some(configs) => configs,
            None => {
                let made = self.configs()?;
                self.tls.get_or_init(|| made)
            }
        };
        let config = match known {
            KnownServer::Http2 => &configs.http2,
            KnownServer::Nothing => &configs.either,
        };
        Ok(TlsConnector::from(config.clone()))
    }

    fn configs(&self) -> Result<Configs, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::InternalError(Some(error.to_string())))?
            .with_root_certificates(tls_roots::find(self.file.as_deref()))
            .with_no_client_auth();
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP11.to_vec()];
        let mut http2 = config.clone();
        http2.alpn_protocols = vec![HTTP2.to_vec()];
        Ok(Configs {
            either: Arc::new(config),
            http2: Arc::new(http2),
        })
    }
}

/// A connection to a server.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the server of this address.
pub(super) async fn open(
    trust: &TlsConfig,
    uri: &Uri,
    known: KnownServer,
) -> Result<(Box<dyn Stream>, Version), Error> {
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
    let version = match known {
        KnownServer::Http2 => Version::HTTP_2,
        KnownServer::Nothing => Version::HTTP_11,
    };
    if !secure {
        return Ok((Box::new(stream), version));
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let stream = trust
        .tls(known)?
        .connect(name, stream)
        .await
        .map_err(not_secured)?;
    // One that does not say what it speaks has not been asked in words that it knows.
    let version = match stream.get_ref().1.alpn_protocol() {
        Some(protocol) if protocol == HTTP2 => Version::HTTP_2,
        Some(_) => Version::HTTP_11,
        None => version,
    };
    Ok((Box::new(stream), version))
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
