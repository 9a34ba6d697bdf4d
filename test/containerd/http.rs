//! Components that answer HTTP requests.

use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use medley_test::http::{free_port, get, get_http2, post, post_pieces, read, send};
use medley_test::stdio::Stdin;
use medley_test::*;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// A server in a container that shares the host's network.
pub(crate) struct Server {
    pub(crate) containerd: Containerd,
    container: Container,
    pub(crate) task: Task,
    pub(crate) address: SocketAddr,
}

/// A container of the host's network, which needs no pod.
pub(crate) fn on_host_network(spec: Spec) -> Spec {
    spec.edit(|json| {
        if let Some(all) = json["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != "network");
        }
    })
}

pub(crate) fn image() -> Result<Image> {
    ImageBuilder::scratch("http-handler")
        .file("/handler.wasm", guests::handler("http-handler")?, 0o644)
        .file("/etc/motd", "of the image\n", 0o644)
        .entrypoint(["/handler.wasm"])
        .build()
}

impl Server {
    /// Starts the guest `http-handler` with these variables. It listens when Start has answered.
    pub(crate) async fn start(env: &[&str]) -> Result<Self> {
        Self::start_with(env, |spec| spec).await
    }

    pub(crate) async fn start_with(
        env: &[&str],
        change: impl FnOnce(Spec) -> Spec,
    ) -> Result<Self> {
        Self::of(&image()?, env, change).await
    }

    /// Starts the handler of this image.
    pub(crate) async fn of(
        image: &Image,
        env: &[&str],
        change: impl FnOnce(Spec) -> Spec,
    ) -> Result<Self> {
        let containerd = Containerd::start(Runtime::Medley).await?;
        containerd.import(&[image]).await?;
        Self::on(containerd, image, env, change).await
    }

    /// Starts the handler of an image that this containerd has.
    pub(crate) async fn on(
        containerd: Containerd,
        image: &Image,
        env: &[&str],
        change: impl FnOnce(Spec) -> Spec,
    ) -> Result<Self> {
        let client = containerd.client().await?;
        let port = free_port()?;
        let mut spec = on_host_network(client.spec(image, "server")).env(&format!("PORT={port}"));
        for variable in env {
            spec = spec.env(variable);
        }
        let container = client.create("server", image, change(spec)).await?;
        let task = container.start(Stdin::None).await?;
        Ok(Self {
            containerd,
            container,
            task,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        })
    }

    /// Stops it as Kubernetes does, and gives what it wrote to stdout and stderr.
    pub(crate) async fn stop(self) -> Result<(String, String)> {
        self.task.kill(15, false).await?;
        self.ended(143).await
    }

    /// Stops it, and leaves containerd to others.
    pub(crate) async fn stopped(self) -> Result<Containerd> {
        self.task.kill(15, false).await?;
        assert_eq!(self.task.wait().await?, 143);
        self.task.delete().await?;
        self.container.delete().await?;
        Ok(self.containerd)
    }

    /// Waits for its end, and gives what it wrote.
    pub(crate) async fn ended(mut self, code: u32) -> Result<(String, String)> {
        let ended = self.task.wait().await?;
        let output = self.task.output().await?;
        assert_eq!(ended, code, "{}", output.1);
        self.task.delete().await?;
        self.container.delete().await?;
        self.containerd.close().await?;
        Ok(output)
    }
}

#[tokio::test]
async fn a_server_listens_when_start_has_answered_and_ends_with_143() -> Result<()> {
    let server = Server::start(&[]).await?;
    let answer = get(server.address, "/hello").await?;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
    assert!(!answer.closes);
    let (stdout, stderr) = server.stop().await?;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", ""));
    Ok(())
}

#[tokio::test]
async fn http_2_is_understood_with_prior_knowledge() -> Result<()> {
    let server = Server::start(&[]).await?;
    let answer = get_http2(server.address, "/hello").await?;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
    server.stop().await?;
    Ok(())
}

/// Its environment, dirs and configuration.
#[tokio::test]
async fn handlers_have_the_surroundings_of_a_command() -> Result<()> {
    let server = Server::start(&["GREETING=good day"]).await?;
    let address = server.address;
    assert_eq!(get(address, "/env?GREETING").await?.body, "good day");
    assert_eq!(get(address, "/config?GREETING").await?.body, "good day");
    assert_eq!(get(address, "/config?NOTHING").await?.status, 404);
    assert_eq!(
        get(address, "/file?/etc/motd").await?.body,
        "of the image\n"
    );
    assert_eq!(get(address, "/file?/proc/version").await?.status, 404);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn lines_of_handlers_that_run_together_reach_the_log_whole() -> Result<()> {
    let server = Server::start(&[]).await?;
    let address = server.address;
    let requests = (0..20).map(|number| async move {
        let answer = get(address, &format!("/log?{number}")).await?;
        anyhow::Ok(answer.status)
    });
    for status in futures_util::future::join_all(requests).await {
        assert_eq!(status?, 200);
    }
    let (stdout, stderr) = server.stop().await?;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = |before: &str, after: &str| {
        let lines: Vec<_> = (0..20).map(|n| format!("{before} {n}{after}\n")).collect();
        sorted(&lines.concat())
    };
    assert_eq!(sorted(&stdout), expected("request", " logged"));
    assert_eq!(sorted(&stderr), expected("error", ""));
    Ok(())
}

#[tokio::test]
async fn a_trap_answers_500_says_where_and_harms_no_other_request() -> Result<()> {
    let server = Server::start(&[]).await?;
    let address = server.address;
    let slow = tokio::spawn(async move { get(address, "/slow?500").await });
    let trap = get(address, "/trap").await?;
    assert_eq!(trap.status, 500);
    assert_eq!(get(address, "/exit?7").await?.status, 500);
    assert_eq!(get(address, "/nothing").await?.status, 500);
    assert_eq!(slow.await??.body, "slow\n");
    assert_eq!(get(address, "/hello").await?.status, 200);
    let (_, stderr) = server.stop().await?;
    assert!(stderr.contains("/handler.wasm: "), "{stderr}");
    assert!(stderr.contains("unreachable"), "{stderr}");
    assert!(stderr.contains("handle_request"), "{stderr}");
    // The usual adapter knows no other status than 0 and 1.
    assert!(stderr.contains("exit with 1"), "{stderr}");
    assert!(stderr.contains("without an answer"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn an_answer_whose_handler_traps_halfway_breaks_off() -> Result<()> {
    let server = Server::start(&[]).await?;
    let response = send(server.address, "/trap-late", StreamBody::new(none())).await?;
    assert_eq!(response.status(), 200);
    let error = response.into_body().collect().await;
    assert!(error.is_err(), "half an answer passes for a whole one");
    let (_, stderr) = server.stop().await?;
    assert!(stderr.contains("unreachable"), "{stderr}");
    Ok(())
}

pub(crate) fn none() -> futures_util::stream::Empty<Result<Frame<Bytes>, Infallible>> {
    futures_util::stream::empty()
}

#[tokio::test]
async fn bodies_stream_in_and_out_at_the_same_time() -> Result<()> {
    let server = Server::start(&[]).await?;
    let (mut sender, body) = tokio::sync::mpsc::channel::<&'static str>(1);
    let body = futures_util::stream::unfold(body, |mut body| async move {
        let piece = body.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(piece))), body))
    });
    sender.send("first").await?;
    let mut response = send(server.address, "/echo", StreamBody::new(Box::pin(body))).await?;
    // The next piece goes out when the one before has come back.
    for (piece, next) in [("first", Some("second")), ("second", None)] {
        let frame = response.frame().await.context("no more")??;
        assert_eq!(frame.into_data().ok(), Some(Bytes::from(piece)));
        match next {
            Some(next) => sender.send(next).await?,
            None => drop(std::mem::replace(
                &mut sender,
                tokio::sync::mpsc::channel(1).0,
            )),
        }
    }
    assert!(response.frame().await.is_none());
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn large_bodies_are_passed_whole() -> Result<()> {
    let server = Server::start(&[]).await?;
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(4 << 20).collect();
    let answer = post(server.address, "/echo", &body).await?;
    assert!(
        answer.body.as_bytes() == body,
        "{} bytes",
        answer.body.len()
    );
    assert_eq!(
        get(server.address, "/big?3000000").await?.body.len(),
        3_000_000
    );
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_whose_client_goes_away_is_cancelled() -> Result<()> {
    // Long enough that a handler that ran on would keep the server from its end.
    let server = Server::start(&["WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=10m"]).await?;
    let address = server.address;
    // Before the answer has begun.
    let asking = tokio::spawn(async move { get(address, "/tick").await });
    // And in the middle of one.
    let mut dripping = send(address, "/drip?600000", StreamBody::new(none())).await?;
    assert!(dripping.frame().await.is_some());
    assert_eq!(get(address, "/hello").await?.status, 200);
    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    drop(dripping);
    server.stop().await?;
    Ok(())
}

/// It stops no other request.
#[tokio::test]
async fn a_handler_that_never_pauses_is_ended_by_its_timeout() -> Result<()> {
    let server = Server::start(&[
        "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT=700ms",
        "WASMTIME_HTTP_PROXY_WORKERS=1",
    ])
    .await?;
    let address = server.address;
    let spin = tokio::spawn(async move { get(address, "/spin").await });
    // Answered although the only thread is busy.
    assert_eq!(get(address, "/hello").await?.status, 200);
    assert_eq!(spin.await??.status, 504);
    let (_, stderr) = server.stop().await?;
    assert!(stderr.contains("no answer after 0.7 s"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() -> Result<()> {
    let server = Server::start(&["WASMTIME_HTTP_PROXY_MAX_BODY=1K"]).await?;
    let address = server.address;
    assert_eq!(post(address, "/count", &[b'x'; 1024]).await?.body, "1024\n");
    assert_eq!(post(address, "/count", &[b'x'; 1025]).await?.status, 413);
    // One without a declared length fails for the handler when it is too long.
    let piece = [b'x'; 600];
    let answer = post_pieces(address, "/count", &[&piece, &piece]).await?;
    assert_eq!(answer.status, 413);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn handlers_and_commands_send_requests_themselves() -> Result<()> {
    let server = Server::start(&[]).await?;
    let address = server.address;
    let through = get(address, &format!("/fetch?{address}")).await?;
    assert_eq!((through.status, through.body.as_str()), (200, "hello\n"));
    let nobody = format!("127.0.0.1:{}", free_port()?);
    let refused = get(address, &format!("/fetch?{nobody}")).await?;
    assert_eq!(refused.status, 502);

    let image = images::wasm("http-fetch", &guests::of_world("http-fetch", "fetch")?)?;
    server.containerd.import(&[&image]).await?;
    let client = server.containerd.client().await?;
    let args = [image.args[0].clone(), address.to_string(), "WHO".to_owned()];
    let spec = on_host_network(client.spec(&image, "fetch").env("WHO=me")).args(args);
    let done = client.run("fetch", &image, spec).await?;
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (0, "200 hello\nme\n"),
        "{done:?}"
    );
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_port_that_cannot_be_had_fails_start_with_a_sentence() -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image()?).await?;
    let taken = std::net::TcpListener::bind(("0.0.0.0", 0))?;
    let port = taken.local_addr()?.port();
    for (id, env, user, expected) in [
        (
            "taken",
            format!("PORT={port}"),
            0,
            "something else in the pod uses this port",
        ),
        (
            "low",
            "PORT=81".to_owned(),
            1000,
            "a port below 1024 needs root",
        ),
        (
            "elsewhere",
            "WASMTIME_HTTP_PROXY_SOCKET_ADDR=192.0.2.1:8080".to_owned(),
            0,
            "the pod has no such address",
        ),
        (
            "nonsense",
            "WASMTIME_HTTP_PROXY_SOCKET_ADDR=8080".to_owned(),
            0,
            "which is not an address such as 0.0.0.0:8080",
        ),
    ] {
        let spec = on_host_network(client.spec(&image, id))
            .env(&env)
            .user(user, user);
        let status = client.refused(id, &image, spec).await?;
        assert!(status.message().contains(expected), "{}", status.message());
        assert!(
            status.message().contains("cannot start /handler.wasm: "),
            "{}",
            status.message()
        );
    }
    drop(taken);
    containerd.close().await
}

/// Threads of a process, by name.
fn threads(pid: u32, name: &str) -> Result<usize> {
    let mut count = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let comm = std::fs::read_to_string(thread?.path().join("comm"))?;
        count += usize::from(comm.trim_end() == name);
    }
    Ok(count)
}

#[tokio::test]
async fn a_server_has_as_many_threads_as_its_limit_has_processors() -> Result<()> {
    let machine = std::thread::available_parallelism()?.get();
    for (millis, processors) in [(1000, 1), (1500, 2), (200, 1)] {
        let server = Server::start_with(&[], |spec| {
            spec.edit(|json| {
                json["linux"]["resources"]["cpu"] =
                    serde_json::json!({"quota": millis * 100, "period": 100_000});
            })
        })
        .await?;
        // One that is alone is init itself.
        let expected = match processors.min(machine) {
            1 => 0,
            more => more,
        };
        // A thread gives itself its name once it runs.
        proc::until("there are as many workers as processors", || {
            threads(server.task.pid, "worker").is_ok_and(|count| count == expected)
        })
        .await?;
        assert_eq!(get(server.address, "/hello").await?.status, 200);
        server.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn more_requests_than_fit_wait_for_their_turn() -> Result<()> {
    let server = Server::start(&["WASMTIME_HTTP_PROXY_CONCURRENCY=2"]).await?;
    let load = medley_test::http::load(
        server.address,
        "/slow?5",
        "slow\n",
        16,
        200,
        Arc::new(AtomicUsize::new(0)),
    )
    .await?;
    assert_eq!((load.answered, load.lost.len()), (200, 0), "{load:?}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_request_without_a_host_is_no_request() -> Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(&[]).await?;
    let mut stream = tokio::net::TcpStream::connect(server.address).await?;
    stream
        .write_all(b"GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // And HEAD is one, without a body.
    let mut stream = tokio::net::TcpStream::connect(server.address).await?;
    stream
        .write_all(b"HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n"),
        "{answer}"
    );
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_component_without_handler_or_command_says_its_exports() -> Result<()> {
    let image = images::wasm("functions", &guests::of_world("functions", "functions")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let status = client
        .refused("f", &image, client.spec(&image, "f"))
        .await?;
    let expected = "has no function \"wasi:cli/run\" to call; it exports greet, halve";
    assert!(status.message().contains(expected), "{}", status.message());
    containerd.close().await
}

#[tokio::test]
async fn exec_in_a_servers_container_runs_another_guest() -> Result<()> {
    let server = Server::start(&[]).await?;
    let other = free_port()?;
    // A second server of the same file, on a port of its own.
    let mut process = client::process(&["/handler.wasm"]);
    process["env"] = serde_json::json!([format!("PORT={other}")]);
    let exec = server.task.exec("second", process, Stdin::None).await?;
    exec.start().await?;
    let address = SocketAddr::from(([127, 0, 0, 1], other));
    assert_eq!(get(address, "/hello").await?.body, "hello\n");
    exec.kill(15).await?;
    assert_eq!(exec.wait().await?, 143);
    exec.delete().await?;
    let answer = read(send(server.address, "/hello", StreamBody::new(none())).await?).await?;
    assert_eq!(answer.status, 200);
    server.stop().await?;
    Ok(())
}
