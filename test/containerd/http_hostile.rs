//! Servers that break HTTP/2, or wear down who speaks it: their guests are told what went wrong, and
//! neither they nor the engine take more memory than they may.

use crate::http_outgoing::{Askers, KNOWN, assert_error, assert_error_in_body, assert_said, code};
use medley_test::peer::{OK, Peer, field, flag, frame, kind, read_frame, read_request};
use medley_test::*;
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Memory of a container that asks such a server, in bytes.
const LIMIT: u64 = 64 << 20;

/// What a server does after it has read a request.
#[derive(Debug, Clone)]
enum Then {
    /// Says this, and goes away.
    Say(Vec<u8>),
    /// Says this, and waits.
    Wait(Vec<u8>),
    /// Says the first, and then the second until the connection ends.
    Endless(Vec<u8>, Vec<u8>),
}

async fn talk(mut stream: TcpStream, then: Then) -> Result<()> {
    stream
        .write_all(&frame(kind::SETTINGS, flag::NONE, 0, &[]))
        .await?;
    read_request(&mut stream).await?;
    match then {
        Then::Say(bytes) => stream.write_all(&bytes).await?,
        Then::Wait(bytes) => {
            stream.write_all(&bytes).await?;
            while read_frame(&mut stream).await.is_ok() {}
        }
        Then::Endless(first, again) => {
            stream.write_all(&first).await?;
            let (mut read, mut write) = stream.into_split();
            let reading = tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while read.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
            });
            let again = again.repeat((64 << 10) / again.len() + 1);
            while write.write_all(&again).await.is_ok() {}
            reading.abort();
        }
    }
    Ok(())
}

/// A response's head, which goes on in a body.
fn head() -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, 1, OK)
}

fn data(size: usize) -> Vec<u8> {
    frame(kind::DATA, flag::NONE, 1, &vec![b'x'; size])
}

fn reset(reason: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, 1, &reason.to_be_bytes())
}

fn goaway(reason: u32) -> Vec<u8> {
    let payload = [0, reason].map(u32::to_be_bytes).concat();
    frame(kind::GOAWAY, flag::NONE, 0, &payload)
}

/// A head or trailers with as many fields of ten thousand bytes, each in a frame.
fn fields(begin: &[u8], flags: u8, count: usize) -> Vec<u8> {
    let value = "x".repeat(10_000);
    let mut bytes = frame(kind::HEADERS, flags, 1, begin);
    for number in 0..count {
        let field = field(&format!("x-{number}"), &value);
        bytes.extend(frame(kind::CONTINUATION, flag::NONE, 1, &field));
    }
    bytes.extend(frame(kind::CONTINUATION, flag::END_HEADERS, 1, &[]));
    bytes
}

/// Asks a server of each of these, and checks what the guests are told.
async fn each(args: &[&str], cases: Vec<(&str, Then, u8)>) -> Result<()> {
    let askers = Askers::start().await?;
    let limited = |spec: Spec| {
        spec.edit(|json| {
            let memory = serde_json::json!({"limit": LIMIT, "swap": LIMIT});
            json["linux"]["resources"]["memory"] = memory;
        })
    };
    for (what, then, wanted) in cases {
        let server = Peer::accepting(LOOPBACK, move |stream| talk(stream, then.clone())).await?;
        let to = format!("to={}", server.address());
        let args = [&[to.as_str()], args].concat();
        let done = askers.run(&[KNOWN], &args, limited).await?;
        if done[0].stdout.starts_with("status") {
            assert_error_in_body(&done, wanted, what);
        } else {
            assert_error(&done, wanted, what);
        }
    }
    askers.containerd.close().await
}

#[tokio::test]
async fn a_request_without_an_answer_fails_with_the_reason() -> Result<()> {
    let http1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec();
    let promise = [&2u32.to_be_bytes()[..], OK].concat();
    let promise = frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &promise);
    each(
        &["first=1000"],
        vec![
            ("silence", Then::Wait(Vec::new()), code::READ_TIMEOUT),
            ("gone", Then::Say(Vec::new()), code::CONNECTION_TERMINATED),
            ("GOAWAY", Then::Wait(goaway(0)), code::CONNECTION_TERMINATED),
            (
                "refused",
                Then::Wait(reset(7)),
                code::DESTINATION_UNAVAILABLE,
            ),
            (
                "calm down",
                Then::Wait(goaway(11)),
                code::DESTINATION_UNAVAILABLE,
            ),
            ("cancelled", Then::Wait(reset(8)), code::INCOMPLETE),
            ("protocol error", Then::Wait(reset(1)), code::PROTOCOL),
            ("HTTP/1.1", Then::Wait(http1), code::PROTOCOL),
            ("a promise", Then::Wait(promise), code::PROTOCOL),
        ],
    )
    .await
}

#[tokio::test]
async fn a_response_that_breaks_off_fails_with_the_reason() -> Result<()> {
    let begun = [head(), data(10)].concat();
    let after = |more: Vec<u8>| [begun.clone(), more].concat();
    // Past what it may send ahead.
    let flood = (0..20).map(|_| data(16 << 10)).collect::<Vec<_>>().concat();
    each(
        &["between=1000", "await=", "sleep=200"],
        vec![
            ("silence", Then::Wait(begun.clone()), code::READ_TIMEOUT),
            ("gone", Then::Say(begun.clone()), code::INCOMPLETE),
            ("reset", Then::Wait(after(reset(2))), code::INCOMPLETE),
            ("a flood", Then::Wait(after(flood)), code::PROTOCOL),
        ],
    )
    .await
}

#[tokio::test]
async fn a_head_and_trailers_that_are_too_large_are_refused() -> Result<()> {
    let trailers = |count| [head(), fields(&[], flag::END_STREAM, count)].concat();
    let fitting = trailers(5);
    let askers = Askers::start().await?;
    let server = Peer::accepting(LOOPBACK, move |stream| {
        talk(stream, Then::Wait(fitting.clone()))
    })
    .await?;
    let done = askers.ask(server.address(), &[KNOWN], &[]).await?;
    let last = format!("trailer x-4: {}", "x".repeat(10_000));
    assert_said(&done, &["status 200", &last]);
    askers.containerd.close().await?;
    let more = frame(kind::CONTINUATION, flag::NONE, 1, &field("x", "y"));
    let endless = |begin: Vec<u8>| Then::Endless(begin, more.clone());
    let open = frame(kind::HEADERS, flag::NONE, 1, OK);
    let open_trailers = frame(kind::HEADERS, flag::END_STREAM, 1, &[]);
    each(
        &[],
        vec![
            (
                "head",
                Then::Wait(fields(OK, flag::NONE, 7)),
                code::HEADERS_SIZE,
            ),
            ("trailers", Then::Wait(trailers(7)), code::TRAILERS_SIZE),
            ("an endless head", endless(open), code::PROTOCOL),
            (
                "endless trailers",
                endless([head(), open_trailers].concat()),
                code::PROTOCOL,
            ),
        ],
    )
    .await
}

#[tokio::test]
async fn a_server_that_never_comes_to_the_point_is_given_up() -> Result<()> {
    // All settings there are, a hundred times each.
    let settings = (1..=6u8).map(|id| [0, id, 0, 0, 0x40, if id == 2 { 0 } else { 1 }]);
    let settings: Vec<u8> = settings.flatten().collect();
    let settings = frame(kind::SETTINGS, flag::NONE, 0, &settings.repeat(100));
    let ping = frame(kind::PING, flag::NONE, 0, &[0; 8]);
    let empty = frame(kind::DATA, flag::NONE, 1, &[]);
    // Status 103.
    let early = [0x08, 3, b'1', b'0', b'3'];
    let early = frame(kind::HEADERS, flag::END_HEADERS, 1, &early);
    let window = frame(
        kind::WINDOW_UPDATE,
        flag::NONE,
        0,
        &[0x7f, 0xff, 0xff, 0xff],
    );
    each(
        &["first=1000", "between=1000", "await=", "sleep=1000"],
        vec![
            ("pings", Then::Endless(Vec::new(), ping), code::READ_TIMEOUT),
            (
                "early hints",
                Then::Endless(Vec::new(), early),
                code::READ_TIMEOUT,
            ),
            ("windows", Then::Endless(Vec::new(), window), code::PROTOCOL),
            (
                "resets",
                Then::Endless(Vec::new(), reset(8)),
                code::INCOMPLETE,
            ),
            (
                "settings",
                Then::Endless(Vec::new(), settings),
                code::PROTOCOL,
            ),
            ("empty data", Then::Endless(head(), empty), code::PROTOCOL),
            ("small data", Then::Endless(head(), data(1)), code::PROTOCOL),
        ],
    )
    .await
}
