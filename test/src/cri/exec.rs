//! Processes in a container: exec probes, and `kubectl exec` over the streaming server.

use super::{CriContainer, request, timed};
use crate::containerd::PATIENCE;
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use k8s_cri::v1;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// The subprotocol that carries a process's streams: the first byte of a message is the stream's
/// number.
const PROTOCOL: &str = "v4.channel.k8s.io";

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;

/// What a process said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its exit status.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl CriContainer {
    /// Runs a command to its end, as an exec probe does. No `timeout`, in seconds, is 0.
    ///
    /// # Errors
    /// The CRI plugin's answer.
    pub async fn exec_sync(&self, command: &[&str], timeout: i64) -> Result<Executed> {
        let ask = v1::ExecSyncRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(ToString::to_string).collect(),
            timeout,
        };
        let answer = timed(self.cri.runtime.clone().exec_sync(request(ask))).await?;
        Ok(Executed {
            code: answer.exit_code,
            stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
        })
    }

    /// Runs a command as `kubectl exec -i` does, and sends it `input`, whose end it can't be told.
    ///
    /// # Errors
    /// The CRI plugin's answer, or that of its streaming server.
    pub async fn exec(&self, command: &[&str], input: &str) -> Result<Executed> {
        let ask = v1::ExecRequest {
            container_id: self.id.clone(),
            cmd: command.iter().map(ToString::to_string).collect(),
            tty: false,
            stdin: true,
            stdout: true,
            stderr: true,
        };
        let url = timed(self.cri.runtime.clone().exec(request(ask)))
            .await?
            .url;
        let streamed = tokio::time::timeout(PATIENCE, stream(&url, input)).await;
        streamed.with_context(|| format!("{command:?} does not end"))?
    }
}

/// Opens the streams behind a URL of the streaming server, and reads them to their end.
async fn stream(url: &str, input: &str) -> Result<Executed> {
    let address = url.strip_prefix("http://").context("not http")?;
    let address = address.split('/').next().unwrap_or_default();
    let mut ask = url.replacen("http", "ws", 1).into_client_request()?;
    ask.headers_mut()
        .insert("Sec-WebSocket-Protocol", PROTOCOL.parse()?);
    let connection = TcpStream::connect(address).await?;
    let (mut socket, _) = tokio_tungstenite::client_async(ask, connection).await?;
    let mut bytes = vec![STDIN];
    bytes.extend_from_slice(input.as_bytes());
    socket.send(Message::binary(bytes)).await?;
    let executed = read(&mut socket).await;
    // The server may have hung up first.
    drop(socket.close(None).await);
    executed
}

async fn read(socket: &mut WebSocketStream<TcpStream>) -> Result<Executed> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(message) = socket.next().await {
        let message = message?;
        if !message.is_binary() {
            continue;
        }
        let bytes = message.into_data();
        match bytes.split_first() {
            Some((&STDOUT, text)) => stdout.extend_from_slice(text),
            Some((&STDERR, text)) => stderr.extend_from_slice(text),
            Some((&STATUS, status)) => {
                return Ok(Executed {
                    code: exit_code(status)?,
                    stdout: String::from_utf8_lossy(&stdout).into_owned(),
                    stderr: String::from_utf8_lossy(&stderr).into_owned(),
                });
            }
            _ => {}
        }
    }
    bail!("the streams ended without a status")
}

/// The exit code of Kubernetes' `Status` object.
fn exit_code(status: &[u8]) -> Result<i32> {
    let status: serde_json::Value = serde_json::from_slice(status)?;
    if status["status"] == "Success" {
        return Ok(0);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode");
    let code = code.with_context(|| format!("no exit code in {status}"))?;
    Ok(code["message"].as_str().unwrap_or_default().parse()?)
}
