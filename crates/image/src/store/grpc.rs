//! gRPC on a Unix socket, as much of it as calls take that send one message.
//!
//! Protocol: gRPC over HTTP/2, <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
//!
//! The messages are in `message`, by prost. tonic 0.14 could make the three calls, and would bring 11
//! more crates into the shim, which has 293. It would save this file of some 280 lines, but not the
//! sentences about a containerd that is not there, does not answer or refuses.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::net::UnixStream;

/// Longest wait for the next sign of life. A busy containerd takes milliseconds; one that takes
/// this long does not work.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What containerd may send ahead, in bytes. It sends content in messages of 1 MiB.
const WINDOW: u32 = 4 << 20;

/// Largest message, in bytes: that of containerd's own clients.
const MAX_MESSAGE: usize = 16 << 20;

/// In front of each message: whether it is compressed, one byte, and its length, four.
const PREFIX: usize = 5;

/// gRPC's status codes, as far as they mean something here.
const OK: u32 = 0;
const NOT_FOUND: u32 = 5;

/// Why containerd did not answer as it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its socket is not there.
    #[error("cannot connect to containerd at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It said nothing for too long.
    #[error("containerd at {} does not answer within {} s", path.display(), TIMEOUT.as_secs())]
    Timeout {
        /// The socket.
        path: PathBuf,
    },
    /// The call could not be made, or broke off.
    #[error("the call {method} to containerd at {} broke off", path.display())]
    Transport {
        /// Its service and name.
        method: String,
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It said no.
    #[error("containerd refuses the call {method}: {message} (code {code})")]
    Refused {
        /// Its service and name.
        method: String,
        /// gRPC's.
        code: u32,
        /// containerd's words.
        message: String,
    },
}

impl Error {
    /// Whether what was asked for is not there.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == NOT_FOUND)
    }
}

/// What is wrong with a reply.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProtocolError {
    #[error("it is HTTP status {0}, not gRPC")]
    Status(StatusCode),
    #[error("it is cut")]
    Cut,
    #[error("it is compressed, which was not asked for")]
    Compressed,
    #[error("a message of {0} bytes is too large")]
    TooLarge(usize),
    #[error("it has no status")]
    NoStatus,
}

/// A connection to one containerd, for calls in one of its namespaces.
pub struct Connection {
    path: PathBuf,
    namespace: HeaderValue,
    sender: SendRequest<Bytes>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects. Needs a runtime around it, as every call does.
    ///
    /// # Errors
    /// [`Error::Connect`] and [`Error::Timeout`].
    pub async fn open(path: &Path, namespace: &str) -> Result<Self, Error> {
        let refused = |source| Error::Connect {
            path: path.to_owned(),
            source,
        };
        let invalid = |error: http::header::InvalidHeaderValue| {
            refused(std::io::Error::new(std::io::ErrorKind::InvalidInput, error))
        };
        let namespace = HeaderValue::from_str(namespace).map_err(invalid)?;
        let socket = with_timeout(path, UnixStream::connect(path)).await?;
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .enable_push(false);
        let (sender, connection) = with_timeout(path, builder.handshake(socket.map_err(refused)?))
            .await?
            .map_err(|error| refused(std::io::Error::other(error)))?;
        // What it ends with, the call under way ends with too.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self {
            path: path.to_owned(),
            namespace,
            sender,
        })
    }

    /// Calls `method` (`/service/name`) with one message, and gives each of the reply's to `take`,
    /// which ends the call by an error of its own.
    ///
    /// # Errors
    /// [`Error`], and those of `take`.
    pub async fn call<E: From<Error>>(
        &mut self,
        method: &'static str,
        message: &[u8],
        mut take: impl FnMut(Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.path.clone();
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| Error::Transport {
            method: method.to_owned(),
            path: path.clone(),
            source,
        };
        let failed = |error: h2::Error| broken(error.into());
        let protocol = |error: ProtocolError| E::from(broken(error.into()));

        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://localhost{method}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .header("containerd-namespace", &self.namespace)
            .body(())
            .map_err(|error| broken(error.into()))?;
        let mut sender = with_timeout(&path, self.sender.clone().ready())
            .await?
            .map_err(failed)?;
        let (reply, mut body) = sender.send_request(request, false).map_err(failed)?;
        body.send_data(prefixed(message), true).map_err(failed)?;

        let (head, mut body) = with_timeout(&path, reply)
            .await?
            .map_err(failed)?
            .into_parts();
        if head.status != StatusCode::OK {
            return Err(protocol(ProtocolError::Status(head.status)));
        }
        // A reply without a message has its status in front.
        if let Some(status) = status(&head.headers) {
            return Ok(checked(method, status)?);
        }
        let mut pending = BytesMut::new();
        while let Some(data) = with_timeout(&path, body.data()).await? {
            let data = data.map_err(failed)?;
            body.flow_control()
                .release_capacity(data.len())
                .map_err(failed)?;
            pending.extend_from_slice(&data);
            while let Some(message) = next_message(&mut pending).map_err(protocol)? {
                take(message.freeze())?;
            }
        }
        if !pending.is_empty() {
            return Err(protocol(ProtocolError::Cut));
        }
        let trailers = with_timeout(&path, body.trailers())
            .await?
            .map_err(failed)?;
        let status = trailers.as_ref().and_then(status);
        Ok(checked(
            method,
            status.ok_or_else(|| protocol(ProtocolError::NoStatus))?,
        )?)
    }
}

/// Waits, but not for ever.
async fn with_timeout<T>(path: &Path, wait: impl Future<Output = T>) -> Result<T, Error> {
    tokio::time::timeout(TIMEOUT, wait)
        .await
        .map_err(|_| Error::Timeout {
            path: path.to_owned(),
        })
}

fn prefixed(message: &[u8]) -> Bytes {
    // Ours are names: far below four gigabytes.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat().into()
}

/// Takes the first message off what has arrived, if it is there as a whole.
pub(super) fn next_message(pending: &mut BytesMut) -> Result<Option<BytesMut>, ProtocolError> {
    let Some((prefix, _)) = pending.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 {
        return Err(ProtocolError::Compressed);
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(ProtocolError::TooLarge(length));
    }
    if pending.len() < PREFIX + length {
        return Ok(None);
    }
    pending.advance(PREFIX);
    Ok(Some(pending.split_to(length)))
}

/// gRPC's status and message, if these headers or trailers have them.
fn status(headers: &HeaderMap) -> Option<(u32, String)> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse().ok()?;
    let message = headers
        .get("grpc-message")
        .map(|message| decoded(message.as_bytes()))
        .unwrap_or_default();
    Some((code, message))
}

fn checked(method: &str, (code, message): (u32, String)) -> Result<(), Error> {
    if code == OK {
        return Ok(());
    }
    Err(Error::Refused {
        method: method.to_owned(),
        code,
        message,
    })
}

/// A `grpc-message`, in which what is no plain text is written as `%` and two hex digits.
fn decoded(message: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(message.len());
    let mut rest = message;
    while let [first, behind @ ..] = rest {
        let hex = behind
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{MAX_MESSAGE, ProtocolError, decoded, next_message, prefixed};
    use bytes::BytesMut;

    #[test]
    fn messages_are_taken_when_they_are_whole() {
        let both = [
            &prefixed(b"one")[..],
            &prefixed(b"")[..],
            &prefixed(b"three")[..],
        ]
        .concat();
        let mut pending = BytesMut::new();
        let mut messages = Vec::new();
        for byte in both {
            pending.extend_from_slice(&[byte]);
            while let Some(message) = next_message(&mut pending).unwrap() {
                messages.push(message.to_vec());
            }
        }
        assert_eq!(messages, [&b"one"[..], b"", b"three"]);
        assert!(pending.is_empty());
    }

    #[test]
    fn messages_that_were_not_asked_for_are_refused() {
        let mut compressed = BytesMut::from(&b"\x01\0\0\0\x01x"[..]);
        assert!(matches!(
            next_message(&mut compressed),
            Err(ProtocolError::Compressed)
        ));
        let length = u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes();
        let mut large = BytesMut::from(&[&[0][..], &length].concat()[..]);
        assert!(matches!(
            next_message(&mut large),
            Err(ProtocolError::TooLarge(_))
        ));
    }

    #[test]
    fn a_status_message_is_decoded() {
        assert_eq!(
            decoded(b"image %22a%22: not found"),
            r#"image "a": not found"#
        );
        assert_eq!(decoded(b"100%"), "100%");
        assert_eq!(decoded(b"%zz%C3%A4"), "%zz\u{e4}");
    }
}
