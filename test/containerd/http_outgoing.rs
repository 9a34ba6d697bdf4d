//! Requests that guests send: what their servers are told, and by which version of HTTP.

use crate::http::on_host_network;
use medley_test::peer::Peer;
use medley_test::tls::Certificate;
use medley_test::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Has all plain servers be spoken to in HTTP/2.
pub(crate) const KNOWN: &str = "WASMTIME_HTTP_H2C_PRIOR_KNOWLEDGE=*";

/// Error codes of WASI by their numbers, which both versions share.
pub(crate) mod code {
    pub(crate) const DESTINATION_UNAVAILABLE: u8 = 3;
    pub(crate) const CONNECTION_TERMINATED: u8 = 7;
    pub(crate) const READ_TIMEOUT: u8 = 9;
    pub(crate) const TLS_ALERT: u8 = 14;
    pub(crate) const METHOD_INVALID: u8 = 18;
    pub(crate) const INCOMPLETE: u8 = 25;
    pub(crate) const HEADERS_SIZE: u8 = 26;
    pub(crate) const TRAILERS_SIZE: u8 = 29;
    pub(crate) const PROTOCOL: u8 = 35;
}

/// Guests of WASI 0.2 and of 0.3 that send what they are told to.
pub(crate) struct Askers {
    pub(crate) containerd: Containerd,
    images: [Image; 2],
}

impl Askers {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(Options::new(Runtime::Medley), None).await
    }

    /// With this authority in their images.
    pub(crate) async fn start_with(options: Options, authority: Option<&[u8]>) -> Result<Self> {
        let containerd = Containerd::start_with(options).await?;
        let image = |name: &str, world: &str| {
            let wasm = guests::of_world(name, world)?;
            let mut image = ImageBuilder::scratch(name).file("/ask.wasm", wasm, 0o644);
            if let Some(authority) = authority {
                let bundle = "/etc/ssl/certs/ca-certificates.crt";
                image = image.file(bundle, authority, 0o644);
            }
            image.entrypoint(["/ask.wasm"]).build()
        };
        let images = [
            image("http-ask", "fetch")?,
            image("async-ask", "async-ask")?,
        ];
        containerd.import(&[&images[0], &images[1]]).await?;
        Ok(Self { containerd, images })
    }

    /// Has both send this to a server, and gives what each says of it.
    pub(crate) async fn ask(
        &self,
        server: SocketAddr,
        env: &[&str],
        args: &[&str],
    ) -> Result<[Finished; 2]> {
        let to = format!("to={server}");
        let args = [&[to.as_str()], args].concat();
        self.run(env, &args, |spec| spec).await
    }

    pub(crate) async fn run(
        &self,
        env: &[&str],
        args: &[&str],
        change: impl Fn(Spec) -> Spec,
    ) -> Result<[Finished; 2]> {
        let [two, three] = &self.images;
        Ok([
            self.run_one(two, env, args, &change).await?,
            self.run_one(three, env, args, &change).await?,
        ])
    }

    async fn run_one(
        &self,
        image: &Image,
        env: &[&str],
        args: &[&str],
        change: &impl Fn(Spec) -> Spec,
    ) -> Result<Finished> {
        let client = self.containerd.client().await?;
        let args = ["/ask.wasm"].iter().chain(args).copied();
        let mut spec = on_host_network(client.spec(image, "ask").args(args));
        for variable in env {
            spec = spec.env(variable);
        }
        client.run("ask", image, change(spec)).await
    }
}

/// Checks that both have said all of these lines.
pub(crate) fn assert_said(all: &[Finished; 2], lines: &[&str]) {
    for done in all {
        for line in lines {
            assert!(
                done.stdout.lines().any(|said| said == *line),
                "no {line:?} in {done:?}"
            );
        }
    }
}

/// Checks that none has said a line that begins so.
fn assert_unsaid(all: &[Finished; 2], begin: &str) {
    for done in all {
        assert!(
            !done.stdout.lines().any(|said| said.starts_with(begin)),
            "{begin:?} in {done:?}"
        );
    }
}

/// Checks that both were given this error code.
pub(crate) fn assert_error(all: &[Finished; 2], code: u8, what: &str) {
    for done in all {
        let last = done.stdout.lines().last();
        let wanted = format!("error {code}");
        assert_eq!(
            (done.code, last),
            (1, Some(wanted.as_str())),
            "{what}: {done:?}"
        );
    }
}

/// It, in the middle of a response: Wasmtime tells those of WASI 0.2 that it failed, and not why.
pub(crate) fn assert_error_in_body(all: &[Finished; 2], code: u8, what: &str) {
    let last = all.each_ref().map(|done| done.stdout.lines().last());
    let wanted = format!("error {code}");
    assert_eq!(
        last,
        [Some("error -1"), Some(wanted.as_str())],
        "{what}: {all:?}"
    );
    assert!(all.iter().all(|done| done.code == 1), "{what}: {all:?}");
}

#[tokio::test]
async fn a_server_is_told_its_name_with_its_port_by_either_version() -> Result<()> {
    let askers = Askers::start().await?;
    for ip in [LOOPBACK, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        // A machine may have no IPv6.
        let Ok(server) = Peer::reflecting(ip).await else {
            continue;
        };
        let address = server.address();
        let done = askers.ask(address, &[], &["path=/x?y=1"]).await?;
        let host = format!("header x-got-host: {address}");
        assert_said(
            &done,
            &["header x-version: HTTP/1.1", "header x-uri: /x?y=1", &host],
        );

        let known = format!("WASMTIME_HTTP_H2C_PRIOR_KNOWLEDGE=other:1,{address}");
        let done = askers.ask(address, &[&known], &["path=/x?y=1"]).await?;
        let uri = format!("header x-uri: http://{address}/x?y=1");
        assert_said(&done, &["header x-version: HTTP/2.0", &uri]);
        assert_unsaid(&done, "header x-got-host");
    }
    // What a guest says of itself there is not told to the server.
    let server = Peer::reflecting(LOOPBACK).await?;
    let to = format!("to=me:word@{}", server.address());
    for (env, wanted) in [
        (
            [].as_slice(),
            format!("header x-got-host: {}", server.address()),
        ),
        (
            &[KNOWN],
            format!("header x-uri: http://{}/", server.address()),
        ),
    ] {
        let done = askers.run(env, &[&to, "path=/"], |spec| spec).await?;
        assert_said(&done, &[&wanted]);
    }
    askers.containerd.close().await
}

#[tokio::test]
async fn a_guest_cannot_set_what_a_connection_is_made_of() -> Result<()> {
    let askers = Askers::start().await?;
    let server = Peer::reflecting(LOOPBACK).await?;
    let forbidden = [
        "host:evil.example",
        "connection:upgrade",
        "keep-alive:timeout=1",
        "proxy-connection:close",
        "proxy-authenticate:basic",
        "proxy-authorization:basic",
        "transfer-encoding:chunked",
        "upgrade:websocket",
        "http2-settings:x",
    ];
    let mut args: Vec<_> = forbidden
        .iter()
        .map(|field| format!("header={field}"))
        .collect();
    args.push("header=x-mine:allowed".to_owned());
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    for env in [[].as_slice(), &[KNOWN]] {
        let done = askers.ask(server.address(), env, &args).await?;
        assert_said(&done, &["header x-got-x-mine: allowed"]);
        for field in forbidden {
            let name = field.split_once(':').unwrap_or_default().0;
            assert_said(&done, &[&format!("header {name} refused: 1")]);
            // The server is told its own name, and how a body comes that has no length.
            if !["host", "transfer-encoding"].contains(&name) {
                assert_unsaid(&done, &format!("header x-got-{name}"));
            }
        }
        assert!(
            !done.iter().any(|done| done.stdout.contains("evil")),
            "{done:?}"
        );
    }
    let tunnel = askers
        .ask(server.address(), &[], &["method=CONNECT"])
        .await?;
    assert_error(&tunnel, code::METHOD_INVALID, "CONNECT");
    askers.containerd.close().await
}

#[tokio::test]
async fn with_tls_the_best_version_is_spoken_that_the_server_knows() -> Result<()> {
    let certificate = Certificate::new(LOOPBACK)?;
    let authority = certificate.authority()?;
    let options = Options::new(Runtime::Medley);
    let askers = Askers::start_with(options, Some(&authority)).await?;
    let grpc = "header=content-type:application/grpc";
    for (speaks, plain, rpc) in [
        ([].as_slice(), "HTTP/1.1", Some("HTTP/2.0")),
        (&["http/1.1"], "HTTP/1.1", None),
        (&["h2"], "HTTP/2.0", Some("HTTP/2.0")),
        (&["http/1.1", "h2"], "HTTP/1.1", Some("HTTP/2.0")),
        (&["h2", "http/1.1"], "HTTP/2.0", Some("HTTP/2.0")),
    ] {
        let server = Peer::secure(LOOPBACK, &certificate, speaks).await?;
        let address = server.address();
        let done = askers
            .ask(address, &[], &["scheme=https", "method=POST", "send=hi"])
            .await?;
        let version = format!("header x-version: {plain}");
        assert_said(&done, &["status 200", &version, "body hi"]);
        let done = askers.ask(address, &[], &["scheme=https", grpc]).await?;
        match rpc {
            Some(version) => assert_said(&done, &[&format!("header x-version: {version}")]),
            None => assert_error(&done, code::TLS_ALERT, "gRPC without HTTP/2"),
        }
    }
    askers.containerd.close().await
}

#[tokio::test]
async fn bodies_and_trailers_go_both_ways_by_http_2() -> Result<()> {
    let askers = Askers::start().await?;
    let server = Peer::reflecting(LOOPBACK).await?;
    // Each piece comes back before the next one is sent.
    let talk = [
        "method=POST",
        "header=te:trailers",
        "send=one",
        "receive=",
        "send=two",
        "receive=",
        "trailer=x-sum:6",
    ];
    let done = askers.ask(server.address(), &[KNOWN], &talk).await?;
    let lines = [
        "header x-method: POST",
        "header x-got-te: trailers",
        "body one",
        "body two",
    ];
    assert_said(&done, &lines);
    assert_said(&done, &["6 bytes", "trailer x-sum: 6"]);
    // 4 MB each way, through windows that are smaller.
    let large = ["method=POST", "path=/count", "repeat=250000"];
    let done = askers.ask(server.address(), &[KNOWN], &large).await?;
    assert_said(&done, &["body 4000000"]);
    let large = ["path=/big?4000000", "as=count"];
    let done = askers.ask(server.address(), &[KNOWN], &large).await?;
    assert_said(&done, &["4000000 bytes"]);
    askers.containerd.close().await
}

#[tokio::test]
async fn a_slow_guest_is_not_taken_for_a_slow_server() -> Result<()> {
    let askers = Askers::start().await?;
    let server = Peer::reflecting(LOOPBACK).await?;
    let talk = [
        "method=POST",
        "between=400",
        "send=one",
        "receive=",
        "sleep=1000",
        "send=two",
        "receive=",
    ];
    for env in [[].as_slice(), &[KNOWN]] {
        let done = askers.ask(server.address(), env, &talk).await?;
        assert_said(&done, &["body one", "body two", "6 bytes"]);
    }
    // Nor is a server whose small messages wait for it taken for an attacker.
    let messages = ["path=/messages?15000", "as=count", "await=", "sleep=500"];
    let done = askers.ask(server.address(), &[KNOWN], &messages).await?;
    assert_said(&done, &["150000 bytes"]);
    askers.containerd.close().await
}
