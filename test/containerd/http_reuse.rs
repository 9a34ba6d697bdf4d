//! Instances that answer several requests, one after the other.

use crate::http::{Server, none};
use crate::wasi_0_3;
use http_body_util::{BodyExt, StreamBody};
use hyper::Response;
use hyper::body::Incoming;
use medley_test::http::{get, post, send};
use medley_test::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// Every instance may answer so many.
const MANY: &str = "WASMTIME_HTTP_PROXY_MAX_INSTANCE_REUSE=1000";

/// And waits for the next one for ever.
const FOREVER: &str = "WASMTIME_HTTP_PROXY_IDLE_INSTANCE_TIMEOUT=0";

/// A client may have its answer before the instance that gave it is idle: the next request waits for that.
const ONE_AT_A_TIME: &str = "WASMTIME_HTTP_PROXY_CONCURRENCY=1";

impl Server {
    /// Which of its instance's requests one is that comes now.
    async fn served(&self) -> Result<usize> {
        let answer = get(self.address, "/served").await?;
        ensure!(answer.status == 200, "{answer:?}");
        answer.body.trim_end().parse().context("no number")
    }

    /// Asserts that no instance is there that has had a request.
    async fn assert_new(&self) -> Result<()> {
        assert_eq!(self.served().await?, 1);
        Ok(())
    }
}

/// A request whose answer has begun.
async fn begun(server: &Server, path: &str) -> Result<Response<Incoming>> {
    let mut response = send(server.address, path, StreamBody::new(none())).await?;
    ensure!(response.frame().await.is_some(), "no answer to {path}");
    Ok(response)
}

#[tokio::test]
async fn no_request_sees_another_where_nothing_is_said() -> Result<()> {
    for image in [crate::http::image()?, wasi_0_3::handler()?] {
        let server = Server::of(&image, &[], |spec| spec).await?;
        for _ in 0..3 {
            server.assert_new().await?;
        }
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_answers_as_many_requests_as_it_may() -> Result<()> {
    let env = [
        "WASMTIME_HTTP_PROXY_MAX_INSTANCE_REUSE=3",
        FOREVER,
        ONE_AT_A_TIME,
    ];
    for image in [crate::http::image()?, wasi_0_3::handler()?] {
        let server = Server::of(&image, &env, |spec| spec).await?;
        for served in [1, 2, 3, 1, 2] {
            assert_eq!(server.served().await?, served);
        }
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_that_failed_answers_no_other_request() -> Result<()> {
    let timeout = "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT=700ms";
    let env = [MANY, FOREVER, ONE_AT_A_TIME, timeout];
    for image in [crate::http::image()?, wasi_0_3::handler()?] {
        let server = Server::of(&image, &env, |spec| spec).await?;
        for (path, status) in [("/trap", 500), ("/spin", 504)] {
            server.assert_new().await?;
            assert_eq!(server.served().await?, 2);
            // It is this instance that has it.
            assert_eq!(get(server.address, path).await?.status, status);
            server.assert_new().await?;
            get(server.address, path).await?;
        }
        // Halfway through its answer.
        server.assert_new().await?;
        let response = send(server.address, "/trap-late", StreamBody::new(none())).await?;
        assert!(response.into_body().collect().await.is_err());
        server.assert_new().await?;
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_that_exits_or_says_nothing_is_the_last() -> Result<()> {
    let server = Server::start(&[MANY, FOREVER, ONE_AT_A_TIME]).await?;
    for path in ["/exit?0", "/nothing"] {
        server.assert_new().await?;
        assert_eq!(get(server.address, path).await?.status, 500);
    }
    server.assert_new().await?;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_instance_whose_client_went_away_is_the_last() -> Result<()> {
    let server = Server::start(&[MANY, FOREVER, ONE_AT_A_TIME]).await?;
    server.assert_new().await?;
    drop(begun(&server, "/drip?600000").await?);
    server.assert_new().await?;
    server.stop().await?;
    Ok(())
}

/// Its client would wait for the end for as long as the instance does.
#[tokio::test]
async fn an_instance_that_keeps_its_answer_or_request_is_the_last() -> Result<()> {
    let server = Server::start(&[MANY, FOREVER, ONE_AT_A_TIME]).await?;
    server.assert_new().await?;
    assert_eq!(get(server.address, "/keep").await?.body, "kept\n");
    server.assert_new().await?;
    assert_eq!(post(server.address, "/leave", b"four").await?.status, 200);
    server.assert_new().await?;
    // One that has read all of it is not.
    assert_eq!(post(server.address, "/count", b"four").await?.body, "4\n");
    assert_eq!(server.served().await?, 3);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn idle_instances_make_place_for_one_that_needs_memory() -> Result<()> {
    const MIB: u64 = 64;
    let server = Server::start_with(&[MANY, FOREVER], |spec| {
        spec.edit(|json| {
            json["linux"]["resources"]["memory"] =
                serde_json::json!({"limit": MIB << 20, "swap": MIB << 20});
        })
    })
    .await?;
    let address = server.address;
    // Two at a time, so that there are two of them.
    let dripping = begun(&server, "/drip?100").await?;
    server.assert_new().await?;
    assert_eq!(get(address, "/grow?30").await?.body, "grown\n");
    dripping.into_body().collect().await?;
    // The one that was used last takes what the other holds.
    assert_eq!(get(address, "/grow?30").await?.body, "grown\n");
    assert_eq!(server.served().await?, 3);
    // And one that asks for more than there is is told so, and is the last.
    assert_eq!(get(address, "/grow?64").await?.body, "refused\n");
    server.assert_new().await?;
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_instance_waits_for_a_request_only_so_long() -> Result<()> {
    let timeout = "WASMTIME_HTTP_PROXY_IDLE_INSTANCE_TIMEOUT=50ms";
    let server = Server::start(&[MANY, timeout]).await?;
    server.assert_new().await?;
    let mut pause = Duration::from_millis(50);
    while server.served().await? != 1 {
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn reused_instances_end_with_their_server() -> Result<()> {
    let server = Server::start(&[MANY, FOREVER]).await?;
    server.assert_new().await?;
    let dripping = begun(&server, "/drip?300").await?;
    // One is in use: this request cannot have it. Its own waits.
    server.assert_new().await?;
    server.task.kill(15, false).await?;
    let rest = dripping.into_body().collect().await?.to_bytes();
    assert_eq!(rest, "drop\n");
    server.ended(143).await?;
    Ok(())
}

#[tokio::test]
async fn instances_are_reused_by_many_clients_at_a_time() -> Result<()> {
    for image in [crate::http::image()?, wasi_0_3::handler()?] {
        let env = [MANY, "WASMTIME_HTTP_PROXY_CONCURRENCY=2"];
        let server = Server::of(&image, &env, |spec| spec).await?;
        let sent = Arc::new(AtomicUsize::new(0));
        let load =
            medley_test::http::load(server.address, "/hello", "hello\n", 16, 400, sent).await?;
        assert_eq!((load.answered, load.lost.len()), (400, 0), "{load:?}");
        assert!(server.served().await? > 100);
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_last_line_of_a_request_ends_with_it() -> Result<()> {
    let server = Server::start(&[MANY, FOREVER, ONE_AT_A_TIME]).await?;
    for which in ["one", "two"] {
        get(server.address, &format!("/begin?{which}")).await?;
    }
    assert_eq!(server.served().await?, 3);
    let (stdout, _) = server.stop().await?;
    assert_eq!(stdout, "begun onebegun two");
    Ok(())
}
