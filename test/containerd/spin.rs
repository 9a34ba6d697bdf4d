//! Spin applications in an image: routes, what components are told and given, what they may connect to.

use crate::http::{Server, on_host_network};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use medley_test::http::{free_port, get, read};
use medley_test::stdio::Stdin;
use medley_test::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::net::TcpStream;

pub(crate) const SHOP: &str = r#"
spin_manifest_version = 2

[application]
name = "shop"
version = "1.2.3"

[variables]
greeting = { default = "good day" }
secret = { required = true }
upstream = { default = "http://127.0.0.1:9" }

[[trigger.http]]
route = "/hello"
component = "hello"

[[trigger.http]]
route = "/told/:user_id/..."
component = "told"

[[trigger.http]]
route = "/..."
component = "front"

[[trigger.http]]
route = "/gone"
static_response = { status_code = 410, headers = { x-why = "moved" }, body = "gone\n" }

[[trigger.http]]
route = { private = true }
component = "hello"

[component.hello]
source = "target/hello.wasm"

[component.told]
source = "told.wasm"
environment = { NAME = "value" }
files = ["*.txt", { source = "static", destination = "/assets" }]
exclude_files = ["secret.txt", "static/hidden"]

[component.front]
source = "front.wasm"
allowed_outbound_hosts = ["{{ upstream }}", "http://hello.spin.internal", "http://self"]
files = ["static/**/*"]
[component.front.variables]
greeting = "{{ greeting }}, {{ secret }}"
"#;

/// The same components as an application of version 1.
const OLD: &str = r#"
spin_manifest_version = "1"
name = "old"
version = "0.1.0"
trigger = { type = "http", base = "/base" }

[[component]]
id = "told"
source = "told.wasm"
[component.trigger]
route = "/told/..."

[[component]]
id = "hello"
source = "target/hello.wasm"
[component.trigger]
route = "/hello"
"#;

pub(crate) fn image(name: &str, manifest: &str) -> Result<ImageBuilder> {
    Ok(ImageBuilder::scratch(name)
        .file("/spin.toml", manifest, 0o644)
        .file("/target/hello.wasm", guests::handler("http-hello")?, 0o644)
        .file("/told.wasm", guests::handler("http-told")?, 0o644)
        .file("/front.wasm", guests::handler("http-handler")?, 0o644)
        .file("/a.txt", "first\n", 0o644)
        .file("/secret.txt", "hidden\n", 0o644)
        .file("/static/page.html", "page\n", 0o644)
        .file("/static/sub/deep.html", "deep\n", 0o644)
        .file("/static/hidden", "hidden\n", 0o644))
}

/// Starts an application with these variables in its container.
async fn start(manifest: &str, args: &[&str], env: &[&str]) -> Result<Server> {
    let image = image("spin", manifest)?
        .entrypoint(args.iter().copied())
        .build()?;
    Server::of(&image, env, |spec| spec).await
}

/// The lines of the guest `http-told`, by what they are of.
pub(crate) fn told(text: &str, kind: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line
            .strip_prefix(kind)?
            .strip_prefix(' ')?
            .split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    lines.collect()
}

/// A request with headers of its own.
async fn get_with(server: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<String> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = hyper::Request::get(path).header("host", "shop.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::default())?;
    Ok(read(sender.send_request(request).await?).await?.body)
}

#[tokio::test]
async fn a_path_finds_its_component_in_each_way_to_start() -> Result<()> {
    let ways: [&[&str]; 3] = [&["/"], &["/spin.toml"], &[]];
    for args in ways {
        let server = start(SHOP, args, &["SPIN_VARIABLE_SECRET=s"]).await?;
        let address = server.address;
        let hello = get(address, "/hello").await?;
        assert_eq!(
            (hello.status, hello.body.as_str()),
            (200, "hello\n"),
            "{args:?}"
        );
        let gone = get(address, "/gone").await?;
        assert_eq!((gone.status, gone.body.as_str()), (410, "gone\n"));
        assert_eq!(get(address, "/hello/more").await?.body, "no such path\n");
        let health = get(address, "/.well-known/spin/health").await?;
        assert_eq!((health.status, health.body.as_str()), (200, "OK"));
        let info = get(address, "/.well-known/spin/info").await?;
        assert_eq!(info.body, r#"{"name":"shop","version":"1.2.3"}"#);
        assert_eq!(get(address, "/.well-known/spin/other").await?.status, 404);
        assert_eq!(server.stop().await?, (String::new(), String::new()));
    }
    Ok(())
}

#[tokio::test]
async fn an_application_of_version_1_runs_behind_its_base() -> Result<()> {
    let server = start(OLD, &["/"], &[]).await?;
    assert_eq!(get(server.address, "/base/hello").await?.body, "hello\n");
    assert_eq!(get(server.address, "/hello").await?.status, 404);
    let text = get(server.address, "/base/told/x").await?.body;
    let headers = told(&text, "header");
    assert_eq!(headers["spin-matched-route"], "/base/told/...");
    assert_eq!(headers["spin-raw-component-route"], "/told/...");
    assert_eq!(headers["spin-path-info"], "/x");
    server.stop().await?;
    Ok(())
}

/// Its own environment, not the container's.
#[tokio::test]
async fn a_component_is_told_of_its_route_and_has_its_environment() -> Result<()> {
    let env = ["SPIN_VARIABLE_SECRET=s", "OF_THE_CONTAINER=1"];
    let server = start(SHOP, &["/"], &env).await?;
    let forged = [
        ("spin-path-info", "/forged"),
        ("spin-path-match-other", "forged"),
    ];
    let text = get_with(server.address, "/told/42/rest?q=1", &forged).await?;
    let mut headers = told(&text, "header");
    let client = headers.remove("spin-client-addr").unwrap_or_default();
    assert!(client.starts_with("127.0.0.1:"), "{client}");
    let expected = [
        ("spin-base-path", "/"),
        ("spin-component-route", "/told/:user_id"),
        ("spin-full-url", "http://shop.example/told/42/rest?q=1"),
        ("spin-matched-route", "/told/:user_id/..."),
        ("spin-path-info", "/rest"),
        ("spin-path-match-user-id", "42"),
        ("spin-raw-component-route", "/told/:user_id/..."),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers, BTreeMap::from(expected));
    let env = told(&text, "env");
    assert_eq!(env["NAME"], "value");
    assert!(!env.contains_key("OF_THE_CONTAINER"), "{env:?}");
    assert!(!env.contains_key("SPIN_VARIABLE_SECRET"), "{env:?}");
    server.stop().await?;
    Ok(())
}

#[tokio::test]
async fn variables_come_from_the_environment_or_their_default() -> Result<()> {
    let server = start(SHOP, &["/"], &["SPIN_VARIABLE_SECRET=42"]).await?;
    let value = get(server.address, "/config?greeting").await?;
    assert_eq!(value.body, "good day, 42");
    assert_eq!(get(server.address, "/config?secret").await?.status, 404);
    server.stop().await?;
    Ok(())
}

/// And no component sees another's, nor can it write to its own.
#[tokio::test]
async fn a_component_sees_its_files_and_no_others() -> Result<()> {
    let server = start(SHOP, &["/"], &["SPIN_VARIABLE_SECRET=s"]).await?;
    let text = get(server.address, "/told/x").await?.body;
    let expected = [
        ("/a.txt", "first"),
        ("/assets/page.html", "page"),
        ("/assets/sub/deep.html", "deep"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(told(&text, "file"), BTreeMap::from(expected), "{text}");
    assert_eq!(told(&text, "writable"), BTreeMap::new());
    let address = server.address;
    assert_eq!(
        get(address, "/file?/static/sub/deep.html").await?.body,
        "deep\n"
    );
    assert_eq!(get(address, "/file?/a.txt").await?.status, 404);
    assert_eq!(get(address, "/file?/static/../a.txt").await?.status, 404);
    server.stop().await?;
    Ok(())
}

/// In a guest's error, and in the log with the rule that would allow it.
#[tokio::test]
async fn a_host_that_is_not_allowed_is_told_with_its_rule() -> Result<()> {
    let other = Server::start(&[]).await?;
    let at = other.address;
    let variable = format!("SPIN_VARIABLE_UPSTREAM=http://{at}");
    let server = start(SHOP, &["/"], &["SPIN_VARIABLE_SECRET=s", &variable]).await?;
    let allowed = get(server.address, &format!("/fetch?{at}")).await?;
    assert_eq!((allowed.status, allowed.body.as_str()), (200, "hello\n"));
    let denied = get(server.address, "/fetch?127.0.0.1:1").await?;
    assert_eq!(
        (denied.status, denied.body.as_str()),
        (502, "failed with error code 15\n")
    );
    let (_, stderr) = server.stop().await?;
    assert_eq!(
        stderr,
        "component \"front\" may not connect to http://127.0.0.1:1: add \"http://127.0.0.1:1\" to its \
         allowed_outbound_hosts\n"
    );
    other.stop().await?;
    Ok(())
}

#[tokio::test]
async fn an_application_listens_where_spin_is_told_to() -> Result<()> {
    let image = image("spin", OLD)?.entrypoint(["/"]).build()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let port = free_port()?;
    let spec = on_host_network(client.spec(&image, "it"));
    let spec = spec.env(&format!("SPIN_HTTP_LISTEN_ADDR=127.0.0.1:{port}"));
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(get(address, "/base/hello").await?.body, "hello\n");
    task.kill(15, false).await?;
    assert_eq!(task.wait().await?, 143);
    task.delete().await?;
    container.delete().await?;
    containerd.close().await?;
    Ok(())
}

/// As its rules allow, and without a connection.
#[tokio::test]
async fn a_component_asks_another_and_the_applications_own_server() -> Result<()> {
    let server = start(SHOP, &["/"], &["SPIN_VARIABLE_SECRET=s"]).await?;
    let address = server.address;
    for host in ["hello.spin.internal", "self"] {
        let answer = get(address, &format!("/fetch?{host}")).await?;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, "hello\n"),
            "{host}"
        );
    }
    let denied = get(address, "/fetch?told.spin.internal").await?;
    assert_eq!(denied.body, "failed with error code 15\n");
    let (_, stderr) = server.stop().await?;
    let rule = "add \"http://told.spin.internal:80\" to its allowed_outbound_hosts";
    assert!(stderr.contains(rule), "{stderr}");
    Ok(())
}

/// Of one component as of several: each has an instance a request, and traps alone.
#[tokio::test]
async fn a_trap_of_one_component_harms_no_other() -> Result<()> {
    let server = start(SHOP, &["/"], &["SPIN_VARIABLE_SECRET=s"]).await?;
    let address = server.address;
    let slow = tokio::spawn(async move { get(address, "/slow?500").await });
    assert_eq!(get(address, "/trap").await?.status, 500);
    assert_eq!(get(address, "/hello").await?.body, "hello\n");
    assert_eq!(slow.await??.body, "slow\n");
    let (_, stderr) = server.stop().await?;
    assert!(stderr.starts_with("front: "), "{stderr}");
    assert!(stderr.contains("unreachable"), "{stderr}");
    Ok(())
}

/// And so the next start needs no compiler.
#[tokio::test]
async fn each_component_is_compiled_once() -> Result<()> {
    let image = image("spin", SHOP)?.entrypoint(["/"]).build()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    for _ in 0..2 {
        let port = free_port()?;
        let spec = on_host_network(client.spec(&image, "it"))
            .env(&format!("PORT={port}"))
            .env("SPIN_VARIABLE_SECRET=s");
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(get(address, "/hello").await?.body, "hello\n");
        task.kill(9, false).await?;
        task.wait().await?;
        task.delete().await?;
        container.delete().await?;
    }
    let log = containerd.log();
    for component in ["/target/hello.wasm", "/told.wasm", "/front.wasm"] {
        let compiled = log
            .lines()
            .filter(|line| line.contains("compiled engine=") && line.contains(component));
        assert_eq!(compiled.count(), 1, "{component} in {log}");
    }
    containerd.close().await?;
    Ok(())
}

/// With the container's arguments, and the environment of the manifest.
#[tokio::test]
async fn a_command_trigger_runs_as_a_command() -> Result<()> {
    const COMMAND: &str = r#"
spin_manifest_version = 2
[application]
name = "job"
[[trigger.command]]
component = "job"
[component.job]
source = "job.wasm"
environment = { NAME = "value" }
"#;
    let image = ImageBuilder::scratch("spin-command")
        .file("/spin.toml", COMMAND, 0o644)
        .file("/job.wasm", guests::component("env")?, 0o644)
        .entrypoint(["/spin.toml"])
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = client.spec(&image, "it").env("OF_THE_CONTAINER=1");
    let container = client.create("it", &image, spec).await?;
    let mut task = container.start(Stdin::None).await?;
    assert_eq!(task.wait().await?, 0);
    let (stdout, stderr) = task.output().await?;
    assert!(stdout.contains("NAME=value"), "{stdout}{stderr}");
    assert!(!stdout.contains("OF_THE_CONTAINER"), "{stdout}");
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}
