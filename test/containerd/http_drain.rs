//! How a server ends.

use crate::http::Server;
use medley_test::http::{Load, get, load};
use medley_test::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The load of the tests.
const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 64;

#[tokio::test]
async fn sigterm_answers_what_is_in_flight_and_lets_nobody_in() -> Result<()> {
    let server = Server::start(&[]).await?;
    let address = server.address;
    let slow = tokio::spawn(async move { get(address, "/slow?1500").await });
    // In flight when a later one has been answered.
    while !slow.is_finished() && get(address, "/slow?100").await?.status != 200 {}
    server.task.kill(15, false).await?;
    let answer = slow.await??;
    assert_eq!((answer.status, answer.body.as_str()), (200, "slow\n"));
    assert!(answer.closes, "its connection is not said to end");
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "somebody is let in"
    );
    server.ended(143).await?;
    Ok(())
}

#[tokio::test]
async fn idle_connections_do_not_keep_a_server() -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(&["WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=10m"]).await?;
    // One that never said anything, and one that has been answered.
    let mut silent = tokio::net::TcpStream::connect(server.address).await?;
    let mut answered = tokio::net::TcpStream::connect(server.address).await?;
    answered
        .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        .await?;
    let mut bytes = [0; 1024];
    assert!(answered.read(&mut bytes).await? > 0);
    server.stop().await?;
    assert_eq!(silent.read(&mut bytes).await?, 0);
    assert_eq!(answered.read(&mut bytes).await?, 0);
    Ok(())
}

#[tokio::test]
async fn the_second_sigterm_ends_a_server_at_once() -> Result<()> {
    let server = Server::start(&[
        "WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=10m",
        "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT=10m",
    ])
    .await?;
    let address = server.address;
    let hanging = tokio::spawn(async move { get(address, "/tick").await });
    get(address, "/slow?100").await?;
    server.task.kill(15, false).await?;
    // The first signal has been noticed when no client is let in any more.
    let deadline = Instant::now() + containerd::PATIENCE;
    while tokio::time::timeout(Duration::from_secs(5), get(address, "/hello"))
        .await
        .is_ok_and(|answer| answer.is_ok())
    {
        ensure!(Instant::now() < deadline, "it does not drain");
    }
    server.task.kill(15, false).await?;
    let (stdout, stderr) = server.ended(143).await?;
    assert!(hanging.await?.is_err());
    assert!(stdout.starts_with("tick\n"), "{stdout}");
    assert!(stderr.contains("at the second signal"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn a_handler_that_hangs_is_ended_by_the_deadline() -> Result<()> {
    let server = Server::start(&["WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=300ms"]).await?;
    let address = server.address;
    let hanging = tokio::spawn(async move { get(address, "/spin").await });
    get(address, "/slow?100").await?;
    let (_, stderr) = server.stop().await?;
    assert!(hanging.await?.is_err());
    assert!(stderr.contains("0.3 s after the signal"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn sigint_and_sigquit_end_a_server_as_sigterm_does() -> Result<()> {
    for signal in [2, 3] {
        let server = Server::start(&[]).await?;
        assert_eq!(get(server.address, "/hello").await?.status, 200);
        server.task.kill(signal, false).await?;
        server.ended(128 + signal).await?;
    }
    Ok(())
}

#[tokio::test]
async fn of_20000_requests_over_64_connections_none_is_lost() -> Result<()> {
    let server = Server::start(&[]).await?;
    let begun = Arc::new(AtomicUsize::new(0));
    let done = load(
        server.address,
        "/hello",
        "hello\n",
        CONNECTIONS,
        REQUESTS,
        begun,
    )
    .await?;
    let all = Load {
        answered: REQUESTS,
        refused: 0,
        lost: Vec::new(),
    };
    assert_eq!(done, all);
    let (_, stderr) = server.stop().await?;
    assert_eq!(stderr, "");
    Ok(())
}

#[tokio::test]
async fn no_request_is_lost_by_a_sigterm_in_the_middle_of_a_load() -> Result<()> {
    lose_none(Server::start(&[]).await?).await
}

/// Ends a server that says hello in the middle of a load.
pub(crate) async fn lose_none(server: Server) -> Result<()> {
    let begun = Arc::new(AtomicUsize::new(0));
    let loading = tokio::spawn(load(
        server.address,
        "/hello",
        "hello\n",
        CONNECTIONS,
        REQUESTS,
        begun.clone(),
    ));
    let deadline = Instant::now() + containerd::PATIENCE;
    while begun.load(Ordering::SeqCst) < REQUESTS / 4 {
        ensure!(Instant::now() < deadline, "there is no load");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    server.task.kill(15, false).await?;
    let done = loading.await??;
    assert_eq!(done.lost, Vec::<String>::new());
    assert!(done.answered >= REQUESTS / 4, "{done:?}");
    assert!(done.refused > 0, "it came too late: {done:?}");
    server.ended(143).await?;
    Ok(())
}
