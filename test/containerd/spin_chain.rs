//! Requests of an application's components to each other: their turns, and what becomes of them when the server or
//! a client ends.

use crate::http::Server;
use medley_test::http::get;
use medley_test::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHAIN: &str = r#"
spin_manifest_version = 2
[application]
name = "chain"
[[trigger.http]]
route = "/..."
component = "front"
[[trigger.http]]
route = { private = true }
component = "back"
[component.front]
source = "handler.wasm"
allowed_outbound_hosts = ["http://back.spin.internal"]
[component.back]
source = "handler.wasm"
"#;

async fn start(env: &[&str]) -> Result<Server> {
    let image = ImageBuilder::scratch("chain")
        .file("/spin.toml", CHAIN, 0o644)
        .file("/handler.wasm", guests::handler("http-handler")?, 0o644)
        .entrypoint(["/"])
        .build()?;
    Server::of(&image, env, |spec| spec).await
}

#[tokio::test]
async fn a_handler_that_another_component_asked_is_waited_for() -> Result<()> {
    let server = start(&[]).await?;
    let answer = get(server.address, "/fetch?back.spin.internal/after?1500").await?;
    assert_eq!(answer.body, "answered\n");
    let (stdout, stderr) = server.stop().await?;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("done\n", ""));
    Ok(())
}

#[tokio::test]
async fn requests_of_components_wait_for_their_turn() -> Result<()> {
    let server = start(&["WASMTIME_HTTP_PROXY_CONCURRENCY=1"]).await?;
    let first = get(server.address, "/fetch?back.spin.internal/after?1500").await?;
    assert_eq!(first.body, "answered\n");
    let second = get(server.address, "/fetch?back.spin.internal/log?2").await?;
    assert_eq!(second.body, "logged\n");
    let (stdout, _) = server.stop().await?;
    assert_eq!(stdout, "done\nrequest 2 logged\n");
    Ok(())
}

/// Of the client that the whole of it is for.
#[tokio::test]
async fn an_answer_of_a_component_ends_with_its_client() -> Result<()> {
    let server = start(&["WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=5s"]).await?;
    let mut client = TcpStream::connect(server.address).await?;
    let request = "GET /fetch?back.spin.internal/drip?3600000 HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"drop\n\r\n") {
        let mut more = [0; 1024];
        let size = client.read(&mut more).await?;
        ensure!(size > 0, "{}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&more[..size]);
    }
    drop(client);
    let (_, stderr) = server.stop().await?;
    assert_eq!(stderr, "");
    Ok(())
}

#[tokio::test]
async fn half_an_answer_of_a_component_does_not_pass_for_whole() -> Result<()> {
    let server = start(&[]).await?;
    let answer = get(server.address, "/fetch?back.spin.internal/trap-late").await;
    assert!(answer.is_err(), "{answer:?}");
    let (_, stderr) = server.stop().await?;
    assert!(stderr.contains("back: "), "{stderr}");
    Ok(())
}
