//! A client of HTTP servers that run in containers: single requests, and load that counts what is
//! lost.

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpStream;

use crate::containerd::PATIENCE;

/// A server's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether it says that the connection ends with it.
    pub closes: bool,
    /// Its body.
    pub body: String,
}

/// A port of this machine without a listener just now.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// Sends a request without a body over a connection of its own, and reads the answer.
///
/// # Errors
/// There is no whole answer in [`PATIENCE`].
pub async fn get(server: SocketAddr, path: &str) -> Result<Answer> {
    read(send_by(server, Method::GET, path, Full::<Bytes>::default()).await?).await
}

/// Sends a request with this body.
///
/// # Errors
/// As for [`get`].
pub async fn post(server: SocketAddr, path: &str, body: &[u8]) -> Result<Answer> {
    let body = Full::new(Bytes::copy_from_slice(body));
    read(send(server, path, body).await?).await
}

/// Sends a request whose body's length is not told before, in these pieces.
///
/// # Errors
/// As for [`get`].
pub async fn post_pieces(server: SocketAddr, path: &str, pieces: &[&[u8]]) -> Result<Answer> {
    let frames: Vec<Result<_, std::convert::Infallible>> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = StreamBody::new(futures_util::stream::iter(frames));
    read(send(server, path, body).await?).await
}

/// Sends a request over a connection of its own, and gives the answer when its head is there.
///
/// # Errors
/// There is no answer in [`PATIENCE`].
pub async fn send<B>(server: SocketAddr, path: &str, body: B) -> Result<Response<Incoming>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    send_by(server, Method::POST, path, body).await
}

async fn send_by<B>(
    server: SocketAddr,
    method: Method,
    path: &str,
    body: B,
) -> Result<Response<Incoming>>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let work = async {
        let stream = TcpStream::connect(server).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, server.to_string())
            .body(body)?;
        anyhow::Ok(sender.send_request(request).await?)
    };
    let answer = tokio::time::timeout(PATIENCE, work).await;
    answer.with_context(|| format!("{server} does not answer {path}"))?
}

/// Sends a request by HTTP/2, without having asked whether the server knows it.
///
/// # Errors
/// As for [`get`].
pub async fn get_http2(server: SocketAddr, path: &str) -> Result<Answer> {
    let work = async {
        let stream = TcpStream::connect(server).await?;
        let io = TokioIo::new(stream);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let request =
            Request::get(format!("http://{server}{path}")).body(Full::<Bytes>::default())?;
        let response = sender.send_request(request).await?;
        ensure!(response.version() == hyper::Version::HTTP_2);
        anyhow::Ok(response)
    };
    let answer = tokio::time::timeout(PATIENCE, work).await;
    read(answer.context("the server does not answer")??).await
}

/// Sends a request by HTTP/2 with a body that ends in this trailer, and gives those of the answer.
///
/// # Errors
/// As for [`get`].
pub async fn trailers(
    server: SocketAddr,
    path: &str,
    name: &'static str,
    value: &'static str,
) -> Result<BTreeMap<String, String>> {
    let work = async {
        let stream = TcpStream::connect(server).await?;
        let io = TokioIo::new(stream);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        let mut trailers = HeaderMap::new();
        trailers.insert(name, HeaderValue::from_static(value));
        let frames = [
            Frame::data(Bytes::from_static(b"body")),
            Frame::trailers(trailers),
        ];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let request = Request::post(format!("http://{server}{path}")).body(body)?;
        let response = sender.send_request(request).await?;
        let body = response.into_body().collect().await?;
        let trailers = body.trailers().context("there are no trailers")?;
        let said = trailers.iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            (name.to_string(), value.into_owned())
        });
        anyhow::Ok(said.collect())
    };
    let answer = tokio::time::timeout(PATIENCE, work).await;
    answer.context("the server does not answer")?
}

/// Reads an answer to its end.
///
/// # Errors
/// It breaks off, or does not end in [`PATIENCE`].
pub async fn read(response: Response<Incoming>) -> Result<Answer> {
    let closes = response.headers().get(header::CONNECTION);
    let closes = closes.is_some_and(|value| value == "close");
    let status = response.status().as_u16();
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect());
    let body = body.await.context("the answer does not end")??.to_bytes();
    Ok(Answer {
        status,
        closes,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// What came of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Requests that were answered with 200 and the body that was expected.
    pub answered: usize,
    /// Connections that were not let in, and that sent nothing.
    pub refused: usize,
    /// Requests that were sent and got no such answer, with the first few reasons.
    pub lost: Vec<String>,
}

/// Sends requests over as many connections as said, each one request at a time, until they have
/// sent `requests` together, or no connection is let in any more. A connection that the server
/// says it will close is made anew.
///
/// # Errors
/// It does not come to an end.
pub async fn load(
    server: SocketAddr,
    path: &str,
    expected: &str,
    connections: usize,
    requests: usize,
    begun: Arc<AtomicUsize>,
) -> Result<Load> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let (path, expected, begun) = (path.to_owned(), expected.to_owned(), begun.clone());
        clients.push(tokio::spawn(async move {
            client(server, &path, &expected, requests, &begun).await
        }));
    }
    let mut all = Load {
        answered: 0,
        refused: 0,
        lost: Vec::new(),
    };
    for client in clients {
        let done = tokio::time::timeout(8 * PATIENCE, client).await;
        let done = done.context("the load does not come to an end")??;
        all.answered += done.answered;
        all.refused += done.refused;
        all.lost.extend(done.lost);
    }
    Ok(all)
}

async fn client(
    server: SocketAddr,
    path: &str,
    expected: &str,
    requests: usize,
    begun: &AtomicUsize,
) -> Load {
    let mut load = Load {
        answered: 0,
        refused: 0,
        lost: Vec::new(),
    };
    'connections: while begun.load(Ordering::SeqCst) < requests {
        let Ok(stream) = TcpStream::connect(server).await else {
            load.refused += 1;
            break;
        };
        let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
            Ok(made) => made,
            Err(error) => {
                load.lost.push(format!("no connection: {error}"));
                break;
            }
        };
        tokio::spawn(connection);
        while begun.fetch_add(1, Ordering::SeqCst) < requests {
            match ask(&mut sender, server, path, expected).await {
                Ok(closes) => {
                    load.answered += 1;
                    if closes {
                        continue 'connections;
                    }
                }
                Err(error) => {
                    load.lost.push(format!("{error:#}"));
                    continue 'connections;
                }
            }
        }
    }
    load
}

/// Sends one request; says whether it was the last one of its connection.
async fn ask(
    sender: &mut http1::SendRequest<Full<Bytes>>,
    server: SocketAddr,
    path: &str,
    expected: &str,
) -> Result<bool> {
    sender.ready().await.context("closed before the request")?;
    let request = Request::get(path)
        .header(header::HOST, server.to_string())
        .body(Full::default())?;
    let response = sender.send_request(request).await.context("no answer")?;
    let answer = read(response).await?;
    ensure!(
        answer.status == StatusCode::OK.as_u16() && answer.body == expected,
        "an unexpected answer: {answer:?}"
    );
    Ok(answer.closes)
}
