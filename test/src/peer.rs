//! Servers that guests send requests to: one that tells what it was asked, by HTTP/1.1 or HTTP/2, with
//! TLS or without; and one that says what a test has it say.

use anyhow::{Context, Result, ensure};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::Certificate;

/// A running server; it is gone when it is dropped.
#[derive(Debug)]
pub struct Peer {
    address: SocketAddr,
    accepting: AbortHandle,
}

impl Peer {
    /// Answers every request with its own body and trailers, `/count` with the number of its bytes,
    /// `/big?N` with as many, `/messages?N` with as many pieces of ten bytes; and with these headers:
    /// `x-version`, `x-method`, `x-uri` as it was said, and `x-got-NAME` for each header.
    ///
    /// # Errors
    /// It cannot listen there.
    pub async fn reflecting(ip: IpAddr) -> Result<Self> {
        Self::accepting(ip, |stream| async move {
            serve(stream).await;
            Ok(())
        })
        .await
    }

    /// The same with TLS, which offers these protocols, the preferred one first.
    ///
    /// # Errors
    /// It cannot listen there, or the certificate is none.
    pub async fn secure(ip: IpAddr, certificate: &Certificate, speaks: &[&str]) -> Result<Self> {
        let chain = CertificateDer::pem_file_iter(certificate.chain())?;
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(certificate.key())?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = speaks.iter().map(|name| name.as_bytes().to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::accepting(ip, move |stream| {
            let acceptor = acceptor.clone();
            async move {
                serve(acceptor.accept(stream).await?).await;
                Ok(())
            }
        })
        .await
    }

    /// Does with each connection what `talk` does.
    ///
    /// # Errors
    /// It cannot listen there.
    pub async fn accepting<F>(
        ip: IpAddr,
        talk: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind((ip, 0)).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // How a connection ends is what is tested.
                tokio::spawn(talk(stream));
            }
        });
        Ok(Self {
            address,
            accepting: accepting.abort_handle(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let builder = auto::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), service_fn(reflect));
    // A client may go away whenever it likes.
    served.await.ok();
}

type Reflected = BoxBody<Bytes, hyper::Error>;

async fn reflect(request: Request<Incoming>) -> Result<Response<Reflected>, hyper::Error> {
    let (head, body) = request.into_parts();
    let mut headers = HeaderMap::new();
    let mut say = |name: &str, value: &[u8]| {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    };
    say("x-version", format!("{:?}", head.version).as_bytes());
    say("x-method", head.method.as_str().as_bytes());
    say("x-uri", head.uri.to_string().as_bytes());
    for (name, value) in &head.headers {
        say(&format!("x-got-{name}"), value.as_bytes());
    }
    let number = head.uri.query().and_then(|query| query.parse().ok());
    let number: usize = number.unwrap_or_default();
    let body = match head.uri.path() {
        "/count" => {
            let bytes = body.collect().await?.to_bytes();
            of_pieces([Bytes::from(bytes.len().to_string())])
        }
        "/big" => of_pieces([Bytes::from(vec![b'x'; number])]),
        "/messages" => of_pieces(std::iter::repeat_n(
            Bytes::from_static(b"0123456789"),
            number,
        )),
        _ => body.boxed(),
    };
    let mut response = Response::new(body);
    *response.headers_mut() = headers;
    Ok(response)
}

fn of_pieces<I>(pieces: I) -> Reflected
where
    I: IntoIterator<Item = Bytes>,
    I::IntoIter: Send + Sync + 'static,
{
    let frames = pieces.into_iter().map(|piece| Ok(Frame::data(piece)));
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames of HTTP/2.
pub mod kind {
    #![expect(missing_docs, reason = "as RFC 9113 has them")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames of HTTP/2.
pub mod flag {
    #![expect(missing_docs, reason = "as RFC 9113 has them")]
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
}

/// A frame of HTTP/2, as it is sent.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A field, as HPACK says it without a table.
pub fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        match u8::try_from(text.len()).ok().filter(|length| *length < 127) {
            Some(length) => bytes.push(length),
            // Seven bits at a time, the lowest first.
            None => {
                bytes.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    bytes.extend(u8::try_from(rest % 128 + 128));
                    rest /= 128;
                }
                bytes.extend(u8::try_from(rest));
            }
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// The status 200, as HPACK has it.
pub const OK: &[u8] = &[0x88];

/// A frame of HTTP/2, as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What it is.
    pub kind: u8,
    /// And more of that.
    pub flags: u8,
    /// Of which stream, 0 for the connection.
    pub stream: u32,
    /// What it says.
    pub payload: Vec<u8>,
}

impl Received {
    /// The reason of a reset or a farewell.
    pub fn reason(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// Reads an HTTP/2 client's preface and its frames up to the end of the head of its request.
///
/// # Errors
/// It speaks something else.
pub async fn read_request(stream: &mut TcpStream) -> Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    ensure!(preface == PREFACE, "no HTTP/2: {preface:?}");
    loop {
        let frame = read_frame(stream).await?;
        if frame.kind == kind::HEADERS && frame.flags & flag::END_HEADERS != 0 {
            return Ok(());
        }
    }
}

/// Reads a frame.
///
/// # Errors
/// There is none.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Received> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.context("no frame")?;
    let [first, second, third, kind, flags, id @ ..] = head;
    let length = u32::from_be_bytes([0, first, second, third]);
    let mut payload = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut payload).await?;
    Ok(Received {
        kind,
        flags,
        stream: u32::from_be_bytes(id),
        payload,
    })
}

/// Connects to a server as a client of HTTP/2 that has said its preface and no settings.
///
/// # Errors
/// The server does not listen.
pub async fn connect(server: SocketAddr) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(PREFACE).await?;
    let settings = frame(kind::SETTINGS, flag::NONE, 0, &[]);
    stream.write_all(&settings).await?;
    Ok(stream)
}

/// The head of a request, as HPACK has it.
pub fn head(method: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "server.example"),
        (":path", path),
    ];
    fields.map(|(name, value)| field(name, value)).concat()
}
