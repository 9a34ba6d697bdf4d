//! Components of WASI 0.3: commands and handlers whose calls may be under way at the same time.

use crate::http::{Server, none, on_host_network};
use crate::{exits, http_drain, memory, signals, stdio};
use http_body_util::{BodyExt, StreamBody};
use medley_test::http::{free_port, get, get_http2, post, send};
use medley_test::stdio::Stdin;
use medley_test::*;

const GUEST: &str = "/async.wasm";

fn command() -> Result<Vec<u8>> {
    guests::of_world("async-command", "async-command")
}

fn image() -> Result<Image> {
    ImageBuilder::scratch("async")
        .file(GUEST, command()?, 0o644)
        .dir("/data", 0o777)
        .file("/data/note", "a note\n", 0o644)
        .symlink("/data/link", "/data/note")
        .symlink("/data/log", "/dev/stdout")
        .symlink("/data/to-fixed", "/fixed/y")
        .env("COLOUR=blue")
        .entrypoint([GUEST])
        .build()
}

async fn node() -> Result<(Containerd, Image)> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = image()?;
    containerd.import(&[&image]).await?;
    Ok((containerd, image))
}

/// Runs the command once for each of these lists of arguments, in one containerd.
async fn each(
    calls: &[(&[&str], u32, &str)],
    change: impl Fn(Spec, &std::path::Path) -> Spec,
) -> Result<Vec<Finished>> {
    let (containerd, image) = node().await?;
    let client = containerd.client().await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    let mut all = Vec::new();
    for (number, (args, code, said)) in calls.iter().enumerate() {
        let id = format!("it-{number}");
        let args = [GUEST].into_iter().chain(args.iter().copied());
        let spec = change(client.spec(&image, &id).args(args), &volume);
        let done = client.run(&id, &image, spec).await?;
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (*code, *said),
            "{done:?}"
        );
        all.push(done);
    }
    containerd.close().await?;
    Ok(all)
}

#[tokio::test]
async fn a_command_has_its_arguments_its_environment_and_its_dir() -> Result<()> {
    let calls: &[(&[&str], _, _)] = &[
        (
            &["say", "a b", "", "ü"],
            0,
            "arg say\narg a b\narg \narg ü\n",
        ),
        (&["env", "COLOUR"], 0, "blue in /data\n"),
        (&["terminal"], 0, "no terminal\n"),
    ];
    for done in each(calls, |spec, _| spec.cwd("/data")).await? {
        assert_eq!(done.stderr, "", "{done:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_command_reads_its_files_and_writes_where_it_may() -> Result<()> {
    let calls: &[(&[&str], _, _)] = &[
        (&["read", "/data/note"], 0, "a note\n"),
        (&["write", "/volume/x"], 0, ""),
        (&["read", "/volume/x"], 0, "written\n"),
        (&["read", "/fixed/x"], 0, "written\n"),
        (&["write", "/fixed/y"], 1, ""),
        (&["read", "/fixed/y"], 1, ""),
        (&["read", "/../../etc/hostname"], 1, ""),
        (&["read", "/proc/self/status"], 1, ""),
    ];
    let all = each(calls, |spec, volume| {
        spec.bind(volume, "/volume", false)
            .bind(volume, "/fixed", true)
    });
    for done in all.await?.iter().filter(|done| done.code == 1) {
        assert!(done.stderr.starts_with("cannot open /"), "{done:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_command_finds_files_through_links_and_its_streams_by_name() -> Result<()> {
    let calls: &[(&[&str], _, _)] = &[
        (&["read", "/data/link"], 0, "a note\n"),
        (&["write", "/data/log"], 0, "written\n"),
        (&["write", "/dev/stdout"], 0, "written\n"),
        (&["write", "/data/to-fixed"], 1, ""),
        (&["read", "/dev/fd/7"], 1, ""),
    ];
    let all = each(calls, |spec, volume| spec.bind(volume, "/fixed", true));
    for done in all.await?.iter().filter(|done| done.code == 1) {
        assert!(done.stderr.starts_with("cannot open /"), "{done:?}");
    }
    Ok(())
}

#[tokio::test]
async fn exit_codes_of_a_command_are_its_own() -> Result<()> {
    exits::codes(&image()?, &[GUEST, "exit"], exits::ALL).await?;
    each(&[(&["fail"], 1, "")], |spec, _| spec).await?;
    Ok(())
}

#[tokio::test]
async fn a_trap_of_a_command_exits_with_134_and_a_backtrace() -> Result<()> {
    for done in each(&[(&["trap"], 134, "")], |spec, _| spec).await? {
        for part in ["/async.wasm: ", "unreachable", "deeper"] {
            assert!(done.stderr.contains(part), "no {part} in {}", done.stderr);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_command_ends_when_all_that_it_does_has_ended() -> Result<()> {
    each(&[(&["later"], 0, "later\n")], |spec, _| spec).await?;
    Ok(())
}

#[tokio::test]
async fn stdin_reaches_a_command_and_close_io_ends_it() -> Result<()> {
    let (containerd, image) = node().await?;
    stdio::input(&containerd, &image, &[GUEST, "copy"]).await?;
    containerd.close().await
}

#[tokio::test]
async fn a_command_knows_its_terminal_and_reads_a_line_from_it() -> Result<()> {
    let (containerd, image) = node().await?;
    let client = containerd.client().await?;
    for (id, typed, said) in [
        ("terminal", None, "terminal\r\n"),
        ("copy", Some("hi\n\u{4}"), "hi\r\nhi\r\n"),
    ] {
        let spec = client.spec(&image, id).args([GUEST, id]).terminal();
        let container = client.create(id, &image, spec).await?;
        let mut task = container.start(Stdin::Terminal).await?;
        if let Some(typed) = typed {
            task.types(typed).await?;
        }
        task.says(said).await?;
        assert_eq!(task.wait().await?, 0);
        task.output().await?;
        task.delete().await?;
        container.delete().await?;
    }
    containerd.close().await
}

#[tokio::test]
async fn sigterm_ends_a_command_that_waits() -> Result<()> {
    let (containerd, image) = node().await?;
    let args = [GUEST, "sleep"];
    let code = signals::signalled(&containerd, &image, &args, signals::SIGTERM, |_| true).await?;
    assert_eq!(code, 143);
    containerd.close().await
}

/// More than its limit, that is; it is not killed.
#[tokio::test]
async fn a_command_that_wants_too_much_memory_is_told_so() -> Result<()> {
    let done = memory::run(command()?, &["grow"]).await?;
    memory::assert_most_of_the_limit(memory::mib(&done)?);
    Ok(())
}

#[tokio::test]
async fn commands_and_handlers_send_requests_themselves() -> Result<()> {
    let server = Server::of(&handler()?, &[], |spec| spec).await?;
    let address = server.address;
    let through = get(address, &format!("/fetch?{address}")).await?;
    assert_eq!((through.status, through.body.as_str()), (200, "hello\n"));
    let nobody = format!("127.0.0.1:{}", free_port()?);
    assert_eq!(get(address, &format!("/fetch?{nobody}")).await?.status, 502);

    let image = image()?;
    server.containerd.import(&[&image]).await?;
    let client = server.containerd.client().await?;
    for (id, whom, code, said) in [
        ("fetch", address.to_string(), 0, "200 hello\n"),
        ("none", nobody, 1, ""),
    ] {
        let spec = on_host_network(client.spec(&image, id)).args([GUEST, "fetch", &whom]);
        let done = client.run(id, &image, spec).await?;
        assert_eq!((done.code, done.stdout.as_str()), (code, said), "{done:?}");
    }
    server.stop().await?;
    Ok(())
}

pub(crate) fn handler() -> Result<Image> {
    let wasm = guests::of_world("async-handler", "async-service")?;
    images::wasm("handler", &wasm)
}

#[tokio::test]
async fn a_handler_answers_and_its_server_ends_with_143() -> Result<()> {
    let server = Server::of(&handler()?, &["GREETING=good day"], |spec| spec).await?;
    let address = server.address;
    assert_eq!(get(address, "/hello").await?.body, "hello\n");
    assert_eq!(get(address, "/env?GREETING").await?.body, "good day");
    assert_eq!(get(address, "/env?NOTHING").await?.status, 404);
    assert_eq!(get(address, "/log?7").await?.status, 200);
    assert_eq!(get(address, "/after").await?.body, "answered\n");
    let (stdout, stderr) = server.stop().await?;
    assert_eq!(stdout, "request 7 logged\nafter the answer\n");
    assert_eq!(stderr, "error 7\n");
    Ok(())
}

#[tokio::test]
async fn a_handler_is_asked_by_http_2_too() -> Result<()> {
    let server = Server::of(&handler()?, &[], |spec| spec).await?;
    let answer = get_http2(server.address, "/hello").await?;
    assert_eq!((answer.status, answer.body.as_str()), (200, "hello\n"));
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_sigterm_under_load_loses_no_request_to_a_handler() -> Result<()> {
    http_drain::lose_none(Server::of(&handler()?, &[], |spec| spec).await?).await
}

#[tokio::test]
async fn a_handler_whose_client_goes_away_is_cancelled() -> Result<()> {
    // Long enough that a handler that ran on would keep the server from its end.
    let env = [
        "WASMTIME_HTTP_PROXY_DRAIN_TIMEOUT=10m",
        "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT=10m",
    ];
    let server = Server::of(&handler()?, &env, |spec| spec).await?;
    let address = server.address;
    // Before the answer has begun.
    let asking = tokio::spawn(async move { get(address, "/slow?600000").await });
    // And in the middle of one.
    let mut large = send(address, "/big?2000000000", StreamBody::new(none())).await?;
    assert!(large.frame().await.is_some());
    assert_eq!(get(address, "/slow?100").await?.status, 200);
    asking.abort();
    assert!(asking.await.is_err_and(|error| error.is_cancelled()));
    drop(large);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_passes_bodies_whole() -> Result<()> {
    let server = Server::of(&handler()?, &[], |spec| spec).await?;
    let address = server.address;
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(4 << 20).collect();
    let answer = post(address, "/echo", &body).await?;
    assert!(
        answer.body.as_bytes() == body,
        "{} bytes",
        answer.body.len()
    );
    let big = get(address, "/big?3000000").await?;
    assert_eq!(big.body.len(), 3_000_000);
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn a_handler_that_fails_harms_no_other_request() -> Result<()> {
    let server = Server::of(&handler()?, &[], |spec| spec).await?;
    let address = server.address;
    let slow = tokio::spawn(async move { get(address, "/slow?500").await });
    assert_eq!(get(address, "/trap").await?.status, 500);
    assert_eq!(get(address, "/error").await?.status, 500);
    let response = send(address, "/trap-late", StreamBody::new(none())).await?;
    assert_eq!(response.status(), 200);
    let whole = response.into_body().collect().await;
    assert!(whole.is_err(), "half an answer passes for a whole one");
    assert_eq!(slow.await??.body, "slow\n");
    let (_, stderr) = server.stop().await?;
    for part in [
        "/handler.wasm: ",
        "unreachable",
        "answer",
        "ConfigurationError",
    ] {
        assert!(stderr.contains(part), "no {part} in {stderr}");
    }
    Ok(())
}

/// It stops no other request.
#[tokio::test]
async fn a_handler_that_never_pauses_is_ended_by_its_timeout() -> Result<()> {
    let env = [
        "WASMTIME_HTTP_PROXY_REQUEST_TIMEOUT=700ms",
        "WASMTIME_HTTP_PROXY_WORKERS=1",
    ];
    let server = Server::of(&handler()?, &env, |spec| spec).await?;
    let address = server.address;
    let spin = tokio::spawn(async move { get(address, "/spin").await });
    assert_eq!(get(address, "/hello").await?.status, 200);
    assert_eq!(spin.await??.status, 504);
    server.stop().await?;
    Ok(())
}
