//! Clients of a server that are slow, idle, old, or many.

use crate::http::Server;
use medley_test::http::get;
use medley_test::*;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends these bytes, and reads until the server closes the connection.
async fn say(server: SocketAddr, text: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(text).await?;
    closed(&mut stream).await
}

/// What comes until the server closes a connection.
async fn closed(stream: &mut TcpStream) -> Result<String> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(containerd::PATIENCE, stream.read_to_end(&mut bytes));
    // A connection may be reset as well as closed.
    drop(read.await.context("it is not closed")?);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn of_3000_idle_connections_none_keeps_another_from_an_answer() -> Result<()> {
    let server = Server::start(&[]).await?;
    let mut idle = Vec::new();
    for _ in 0..3000 {
        idle.push(TcpStream::connect(server.address).await?);
    }
    let begun = Instant::now();
    assert_eq!(get(server.address, "/hello").await?.body, "hello\n");
    assert!(begun.elapsed() < Duration::from_secs(5), "{begun:?}");
    drop(idle);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_slow_head_a_silent_client_and_an_idle_one_are_closed() -> Result<()> {
    let server = Server::start(&[
        "WASMTIME_HTTP_PROXY_HEADER_TIMEOUT=500ms",
        "WASMTIME_HTTP_PROXY_KEEPALIVE_TIMEOUT=500ms",
    ])
    .await?;
    assert_eq!(say(server.address, b"").await?, "");
    assert_eq!(
        say(server.address, b"GET /hello HTTP/1.1\r\nHos").await?,
        ""
    );
    let answer = say(server.address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    assert!(answer.contains("hello\n"), "{answer}");
    // A handler that thinks for longer than that is not disturbed.
    assert_eq!(get(server.address, "/slow?1500").await?.body, "slow\n");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_go_on_is_answered_with_408() -> Result<()> {
    let server = Server::start(&["WASMTIME_HTTP_PROXY_BODY_TIMEOUT=500ms"]).await?;
    let head = b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf";
    let answer = say(server.address, head).await?;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_upload_that_goes_on_may_take_longer_than_the_timeouts() -> Result<()> {
    let server = Server::start(&[
        "WASMTIME_HTTP_PROXY_BODY_TIMEOUT=500ms",
        "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT=500ms",
    ])
    .await?;
    let mut stream = TcpStream::connect(server.address).await?;
    let head =
        b"POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 40960\r\n\r\n";
    stream.write_all(head).await?;
    for _ in 0..10 {
        stream.write_all(&[b'x'; 4096]).await?;
        // What is tested is a client that takes its time.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let answer = closed(&mut stream).await?;
    assert!(answer.contains("40960\n"), "{answer}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_client_that_reads_nothing_of_its_answer_is_closed() -> Result<()> {
    // Long enough that a handler that ran on would keep the server from its end.
    let server = Server::start(&[
        "WASMTIME_HTTP_PROXY_WRITE_TIMEOUT=500ms",
        "WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=10m",
        "WASMTIME_HTTP_PROXY_CONCURRENCY=1",
    ])
    .await?;
    let mut stream = TcpStream::connect(server.address).await?;
    let request = b"GET /big?100000000 HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).await?;
    // It has the only place of a handler until its time is up.
    assert_eq!(get(server.address, "/hello").await?.body, "hello\n");
    server.stop().await?;
    drop(stream);
    Ok(())
}

#[tokio::test]
async fn requests_of_every_form_are_answered() -> Result<()> {
    let server = Server::start(&[]).await?;
    let long = format!(
        "GET /hello HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    for (request, status) in [
        ("OPTIONS / HTTP/1.0\r\n\r\n", "404"),
        ("GET /hello HTTP/1.0\r\n\r\n", "200"),
        (
            "GET /hello HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
            "200",
        ),
        (
            "GET http://a.example/hello HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
            "200",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "404",
        ),
        (
            "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nConnection: close\r\n\r\n",
            "405",
        ),
        (
            "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
            "400",
        ),
        (
            "GET /hello HTTP/1.1\r\nHost: not a host\r\nConnection: close\r\n\r\n",
            "400",
        ),
        ("what is this\r\n\r\n", "400"),
        (&long, "431"),
    ] {
        let answer = say(server.address, request.as_bytes()).await?;
        let head = &request[..request.len().min(60)];
        assert_eq!(answer.get(9..12), Some(status), "{head:?}: {answer:?}");
    }
    let (_, stderr) = server.stop().await?;
    assert!(
        stderr.contains("a client sent what is no request"),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_listens_on_ipv6_and_on_names_too() -> Result<()> {
    let server = Server::start(&[]).await?;
    let port = server.address.port();
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let there = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if there {
        assert_eq!(get(ipv6, "/hello").await?.body, "hello\n");
    }
    assert_eq!(get(server.address, "/hello").await?.body, "hello\n");
    server.stop().await?;
    let port = medley_test::http::free_port()?;
    let name = format!("WASMTIME_HTTP_PROXY_SOCKET_ADDR=localhost:{port}");
    let server = Server::start(&[&name]).await?;
    let named = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(get(named, "/hello").await?.body, "hello\n");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn every_signal_that_stops_images_drains_a_server() -> Result<()> {
    // SIGHUP, SIGUSR1, SIGWINCH, SIGPWR, SIGRTMIN+3, SIGRTMAX.
    for signal in [1, 10, 28, 30, 37, 64] {
        let server = Server::start(&[]).await?;
        let address = server.address;
        let slow = tokio::spawn(async move { get(address, "/slow?800").await });
        while !slow.is_finished() && get(address, "/slow?100").await?.status != 200 {}
        server.task.kill(signal, false).await?;
        assert_eq!(slow.await??.body, "slow\n", "signal {signal}");
        server.ended(128 + signal).await?;
    }
    Ok(())
}
