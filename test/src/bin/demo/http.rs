//! The one HTTP request that the demo makes, from the host to the pod.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// How long a sidecar that has just been started may take until it listens.
const LISTENING: Duration = Duration::from_secs(5);

/// How long one answer may take: longer than the sidecar itself waits for the Wasm container.
const ANSWER: Duration = Duration::from_secs(8);

/// GET of `path` from `address` (`host:port`); returns the body of a 200.
pub(crate) async fn get(address: &str, path: &str) -> Result<String> {
    let request = async {
        let mut stream = connect(address).await?;
        let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, anyhow::Error>(answer)
    };
    let answer = timeout(ANSWER, request)
        .await
        .with_context(|| format!("{address} did not answer within {ANSWER:?}"))?
        .with_context(|| format!("asking http://{address}{path}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .context("the answer has no body")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(
        status.contains(" 200 "),
        "http://{address}{path} answered {status}: {body}"
    );
    Ok(body.trim().to_owned())
}

async fn connect(address: &str) -> Result<TcpStream> {
    let until = Instant::now() + LISTENING;
    loop {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() >= until => {
                return Err(error).with_context(|| format!("connecting to {address}"));
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}
