//! The streaming server: streams of a process or of a port, over one WebSocket.

use crate::containerd::PATIENCE;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// The subprotocol that carries streams: the first byte of a message is the stream's number.
const PROTOCOL: &str = "v4.channel.k8s.io";

/// Streams that go on until they are closed.
#[derive(Debug)]
pub struct Streams {
    socket: WebSocketStream<TcpStream>,
    /// What has come on each stream and was not taken yet.
    waiting: Vec<(u8, Vec<u8>)>,
}

impl Streams {
    /// The number of stdin, and of a forwarded port's data.
    pub const STDIN: u8 = 0;
    /// The number of stdout.
    pub const STDOUT: u8 = 1;
    /// The number of stderr.
    pub const STDERR: u8 = 2;
    /// The number of the stream that tells how a process ended.
    pub const STATUS: u8 = 3;
    /// The number of the stream that takes a terminal's sizes.
    const RESIZE: u8 = 4;

    pub(super) async fn open(url: &str) -> Result<Self> {
        let address = url.strip_prefix("http://").context("not http")?;
        let address = address.split('/').next().unwrap_or_default();
        let mut ask = url.replacen("http", "ws", 1).into_client_request()?;
        ask.headers_mut()
            .insert("Sec-WebSocket-Protocol", PROTOCOL.parse()?);
        let connection = TcpStream::connect(address).await?;
        let (socket, _) = tokio_tungstenite::client_async(ask, connection)
            .await
            .with_context(|| format!("the streaming server refuses {url}"))?;
        Ok(Self {
            socket,
            waiting: Vec::new(),
        })
    }

    /// Writes to stdin, or to the forwarded port.
    ///
    /// # Errors
    /// The server has hung up.
    pub async fn send(&mut self, text: &[u8]) -> Result<()> {
        self.send_on(Self::STDIN, text).await
    }

    /// Gives the terminal a size, in characters.
    ///
    /// # Errors
    /// The server has hung up.
    pub async fn resize(&mut self, width: u16, height: u16) -> Result<()> {
        let size = serde_json::json!({ "Width": width, "Height": height }).to_string();
        self.send_on(Self::RESIZE, size.as_bytes()).await
    }

    async fn send_on(&mut self, stream: u8, text: &[u8]) -> Result<()> {
        let mut bytes = vec![stream];
        bytes.extend_from_slice(text);
        Ok(self.socket.send(Message::binary(bytes)).await?)
    }

    /// The next piece of any stream and the stream's number; none at the end of all.
    ///
    /// # Errors
    /// The connection's, or nothing comes in [`PATIENCE`].
    pub async fn next(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next());
            let Some(message) = next.await.context("nothing comes over the streams")? else {
                return Ok(None);
            };
            let message = message?;
            if message.is_close() {
                return Ok(None);
            }
            if let Some((stream, bytes)) = message.into_data().split_first()
                && !bytes.is_empty()
            {
                return Ok(Some((*stream, bytes.to_vec())));
            }
        }
    }

    /// Reads until what came on `stream` contains `text`, and takes it from there.
    ///
    /// # Errors
    /// The streams end without it; says what came.
    pub async fn expect(&mut self, stream: u8, text: &str) -> Result<()> {
        loop {
            let pieces = self.waiting.iter().filter(|(number, _)| *number == stream);
            let all: Vec<u8> = pieces.flat_map(|(_, bytes)| bytes.clone()).collect();
            if String::from_utf8_lossy(&all).contains(text) {
                self.waiting.retain(|(number, _)| *number != stream);
                return Ok(());
            }
            match self.next().await {
                Ok(Some(piece)) => self.waiting.push(piece),
                Ok(None) => bail!("the streams ended without `{text}`: {}", self.shown()),
                Err(error) => {
                    return Err(error.context(format!("no `{text}`: {}", self.shown())));
                }
            }
        }
    }

    fn shown(&self) -> String {
        let pieces = self.waiting.iter();
        let shown = pieces.map(|(stream, bytes)| (stream, String::from_utf8_lossy(bytes)));
        format!("{:?}", shown.collect::<Vec<_>>())
    }

    /// Hangs up.
    pub async fn close(mut self) {
        // The server may have hung up first.
        drop(self.socket.close(None).await);
    }
}
