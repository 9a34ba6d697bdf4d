//! Clients that speak HTTP/2 to a server in a container, and more of it than they should.

use crate::http::Server;
use medley_test::http::get_http2;
use medley_test::peer::{Received, connect, field, flag, frame, head, kind, read_frame};
use medley_test::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Reads until there is a frame that is looked for.
async fn find(stream: &mut TcpStream, wanted: impl Fn(&Received) -> bool) -> Result<Received> {
    let reading = async {
        loop {
            let frame = read_frame(stream).await?;
            if wanted(&frame) {
                return anyhow::Ok(frame);
            }
        }
    };
    let found = tokio::time::timeout(containerd::PATIENCE, reading).await;
    found.context("there is no such frame")?
}

/// Says this for as long as the server listens, and gives the reason why it does no more.
async fn told_off(server: &Server, begin: &[u8], again: impl Fn(u32) -> Vec<u8>) -> Result<u32> {
    let mut stream = connect(server.address).await?;
    stream.write_all(begin).await?;
    let (mut read, mut write) = stream.split();
    let saying = async {
        for number in 0.. {
            if write.write_all(&again(number)).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let hearing = async {
        loop {
            let frame = read_frame(&mut read).await?;
            if frame.kind == kind::GOAWAY {
                return frame.reason().context("no reason");
            }
        }
    };
    let work = async {
        tokio::select! {
            () = saying => bail!("it never ends"),
            reason = hearing => reason,
        }
    };
    let reason = tokio::time::timeout(containerd::PATIENCE, work).await;
    reason.context("the server lets it pass")?
}

/// A request without a body, of the stream with this number.
fn request(number: u32, path: &str) -> Vec<u8> {
    let flags = flag::END_HEADERS | flag::END_STREAM;
    frame(kind::HEADERS, flags, 2 * number + 1, &head("GET", path))
}

#[tokio::test]
async fn a_connection_may_have_128_requests_open_and_no_more() -> Result<()> {
    let server = Server::start(&[]).await?;
    let mut stream = connect(server.address).await?;
    let settings = find(&mut stream, |frame| frame.kind == kind::SETTINGS).await?;
    let setting = |id: u8| {
        let of = |entry: &&[u8]| entry[..2] == [0, id];
        let entry = settings.payload.chunks_exact(6).find(of);
        entry.map(|entry| u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    // Requests that are open, and bytes of a head.
    assert_eq!((setting(3), setting(6)), (Some(128), Some(64 << 10)));
    stream
        .write_all(&frame(kind::SETTINGS, flag::ACK, 0, &[]))
        .await?;
    // They wait for their bodies.
    for number in 0..=128 {
        let head = head("POST", "/count");
        let open = frame(kind::HEADERS, flag::END_HEADERS, 2 * number + 1, &head);
        stream.write_all(&open).await?;
    }
    let refused = find(&mut stream, |frame| frame.kind == kind::RST_STREAM).await?;
    assert_eq!(
        (refused.stream, refused.reason()),
        (257, Some(REFUSED_STREAM))
    );
    // The others go on.
    let body = frame(kind::DATA, flag::END_STREAM, 1, b"body");
    stream.write_all(&body).await?;
    let answer = find(&mut stream, |frame| frame.kind == kind::DATA).await?;
    assert_eq!(
        (answer.stream, answer.payload.as_slice()),
        (1, b"4\n".as_slice())
    );
    server.stop().await?;
    Ok(())
}

/// Requests that are taken back as fast as they are sent.
#[tokio::test]
async fn rapid_resets_end_their_connection() -> Result<()> {
    let server = Server::start(&[]).await?;
    let reason = told_off(&server, &[], |number| {
        let cancel = frame(kind::RST_STREAM, flag::NONE, 2 * number + 1, &[0, 0, 0, 8]);
        [request(number, "/tick"), cancel].concat()
    })
    .await?;
    assert_eq!(reason, ENHANCE_YOUR_CALM);
    assert_eq!(get_http2(server.address, "/hello").await?.status, 200);
    // Nothing of them is left.
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_its_connection() -> Result<()> {
    let server = Server::start(&[]).await?;
    let open = frame(kind::HEADERS, flag::END_STREAM, 1, &head("GET", "/hello"));
    for more in [field("x", "y"), Vec::new(), field("x", &"y".repeat(10_000))] {
        told_off(&server, &open, |_| {
            frame(kind::CONTINUATION, flag::NONE, 1, &more)
        })
        .await?;
    }
    assert_eq!(get_http2(server.address, "/hello").await?.status, 200);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_with_431() -> Result<()> {
    let server = Server::start(&[]).await?;
    let mut stream = connect(server.address).await?;
    let open = frame(kind::HEADERS, flag::END_STREAM, 1, &head("GET", "/hello"));
    stream.write_all(&open).await?;
    for _ in 0..5 {
        let more = field("x", &"y".repeat(14_000));
        let more = frame(kind::CONTINUATION, flag::NONE, 1, &more);
        stream.write_all(&more).await?;
    }
    let end = frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]);
    stream.write_all(&end).await?;
    let answer = find(&mut stream, |frame| frame.kind == kind::HEADERS).await?;
    // The status, with the name that HPACK's table has for it.
    assert_eq!(answer.stream, 1);
    assert!(answer.payload.starts_with(&[0x48]), "{answer:?}");
    assert!(!answer.payload.starts_with(&[0x88]), "{answer:?}");
    // And the connection goes on.
    stream.write_all(&request(1, "/hello")).await?;
    let answer = find(&mut stream, |frame| frame.kind == kind::DATA).await?;
    assert_eq!(
        (answer.stream, answer.payload.as_slice()),
        (3, b"hello\n".as_slice())
    );
    server.stop().await?;
    Ok(())
}

/// It has the server send them all the same.
#[tokio::test]
async fn a_client_that_does_not_read_replies_is_closed() -> Result<()> {
    let server = Server::start(&["WASMTIME_HTTP_PROXY_WRITE_TIMEOUT=500ms"]).await?;
    let setting = [0, 4, 0, 0, 0x40, 0];
    for flood in [
        frame(kind::PING, flag::NONE, 0, &[0; 8]),
        frame(kind::SETTINGS, flag::NONE, 0, &setting),
    ] {
        let mut stream = connect(server.address).await?;
        let flood = flood.repeat(1000);
        let writing = async { while stream.write_all(&flood).await.is_ok() {} };
        let closed = tokio::time::timeout(containerd::PATIENCE, writing).await;
        closed.context("the server goes on")?;
    }
    assert_eq!(get_http2(server.address, "/hello").await?.status, 200);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn many_small_messages_may_wait_for_a_handler() -> Result<()> {
    for image in [crate::http::image()?, crate::wasi_0_3::handler()?] {
        let server = Server::of(&image, &[], |spec| spec).await?;
        let mut stream = connect(server.address).await?;
        let open = head("POST", "/medley.Echo/Slow");
        stream
            .write_all(&frame(kind::HEADERS, flag::END_HEADERS, 1, &open))
            .await?;
        // What may be sent ahead is told before it holds.
        find(&mut stream, |frame| frame.kind == kind::WINDOW_UPDATE).await?;
        stream
            .write_all(&frame(kind::SETTINGS, flag::ACK, 0, &[]))
            .await?;
        for number in [0, 1] {
            let window = frame(kind::WINDOW_UPDATE, flag::NONE, number, &[0, 0x10, 0, 0]);
            stream.write_all(&window).await?;
        }
        let (mut read, mut write) = stream.split();
        let mut messages = frame(kind::DATA, flag::NONE, 1, b"0123456789").repeat(8000);
        messages.extend(frame(kind::DATA, flag::END_STREAM, 1, &[]));
        let sending = write.write_all(&messages);
        let receiving = async {
            let mut total = 0;
            loop {
                let frame = read_frame(&mut read).await?;
                match frame.kind {
                    kind::DATA => total += frame.payload.len(),
                    kind::GOAWAY | kind::RST_STREAM => bail!("{frame:?}"),
                    kind::HEADERS if frame.flags & flag::END_STREAM != 0 => {
                        return anyhow::Ok(total);
                    }
                    _ => {}
                }
            }
        };
        let both = async { tokio::try_join!(async { Ok(sending.await?) }, receiving) };
        let both = tokio::time::timeout(containerd::PATIENCE, both).await;
        assert_eq!(both.context("it does not end")??.1, 80_000);
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn requests_of_a_client_that_is_gone_are_cancelled() -> Result<()> {
    // Long enough that a handler that ran on would keep the server from its end.
    let server = Server::start(&["WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=10m"]).await?;
    let mut stream = connect(server.address).await?;
    for number in 0..20 {
        stream.write_all(&request(number, "/tick")).await?;
    }
    for number in 0..10 {
        let cancel = frame(kind::RST_STREAM, flag::NONE, 2 * number + 1, &[0, 0, 0, 8]);
        stream.write_all(&cancel).await?;
    }
    stream.write_all(&request(20, "/hello")).await?;
    let answer = find(&mut stream, |frame| frame.kind == kind::DATA).await?;
    assert_eq!(answer.payload, b"hello\n");
    drop(stream);
    server.stop().await?;
    Ok(())
}

/// Settings that would have the server keep more than it needs.
#[tokio::test]
async fn a_client_may_say_any_settings() -> Result<()> {
    let server = Server::start(&[]).await?;
    let entry = |id: u8, value: u32| [&[0, id][..], &value.to_be_bytes()].concat();
    for (settings, alright) in [
        (entry(1, u32::MAX), true),
        (entry(3, 0), true),
        (entry(4, i32::MAX.unsigned_abs()), true),
        (entry(4, u32::MAX), false),
        (entry(5, 1), false),
        (entry(5, 0xff_ffff), true),
        (entry(6, 1), true),
        (entry(99, 7), true),
    ] {
        let mut stream = connect(server.address).await?;
        stream
            .write_all(&frame(kind::SETTINGS, flag::NONE, 0, &settings))
            .await?;
        stream.write_all(&request(0, "/hello")).await?;
        let wanted = if alright { kind::DATA } else { kind::GOAWAY };
        find(&mut stream, |frame| frame.kind == wanted)
            .await
            .with_context(|| format!("{settings:?}"))?;
        if !alright {
            let mut rest = Vec::new();
            let closed = stream.read_to_end(&mut rest);
            let closed = tokio::time::timeout(Duration::from_secs(20), closed).await;
            drop(closed.context("it is not closed")?);
        }
    }
    server.stop().await?;
    Ok(())
}
