//! Pods with containers of both engines.

use medley_test::http::post;
use medley_test::images::read_layout;
use medley_test::runtime::workspace;
use medley_test::*;
use std::net::SocketAddr;

/// Beside a guest of Wasmtime.
#[tokio::test]
async fn a_sidecar_asks_a_server_on_wasmedges_sockets() -> Result<()> {
    Engine::WasmEdge.program()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    // Its imports decide: there is no annotation.
    let server = images::wasm("sockets", &guests::module("sockets")?)?;
    let tick = images::wasm("tick", &guests::component("tick")?)?;
    containerd.import_cri(&[&linux, &server, &tick]).await?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("mixed", PodOptions::default()).await?;
    let server = pod
        .run(PodContainer::new("server", &server).args(["8080", "3"]))
        .await?;
    server.wait_for_log("listening").await?;
    let tick = pod
        .run(PodContainer::new("tick", &tick).args(["100", "10000"]))
        .await?;
    tick.wait_for_log("tick").await?;
    let script = "for i in 1 2 3; do wget -qO- http://127.0.0.1:8080/ || exit 1; done";
    let ask = pod
        .run(PodContainer::new("ask", &linux).command(["/bin/sh", "-c", script]))
        .await?;
    assert_eq!(ask.wait().await?.exit_code, 0, "{:?}", ask.log()?);
    ask.wait_for_log("served").await?;
    assert_eq!(ask.stdout()?, "served\nserved\nserved\n");
    // It has answered as often as it was told to.
    assert_eq!(server.wait().await?.exit_code, 0, "{:?}", server.log()?);
    tick.stop(30).await?;
    assert_eq!(tick.wait().await?.exit_code, 143);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_container_of_wasmedge_stops_within_its_grace() -> Result<()> {
    Engine::WasmEdge.program()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let server = images::wasm("sockets", &guests::module("sockets")?)?;
    containerd.import_cri(&[&server]).await?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("stop", PodOptions::default()).await?;
    let server = pod
        .run(PodContainer::new("server", &server).args(["8080", "1"]))
        .await?;
    server.wait_for_log("listening").await?;
    server.stop(30).await?;
    assert_eq!(server.wait().await?.exit_code, 143);
    pod.remove().await?;
    containerd.close().await
}

/// The sample, as its script builds it.
fn http_server() -> Result<Image> {
    let dir = std::env::temp_dir().join(format!("medley-sample-{}", leftovers::unique()));
    std::fs::create_dir(&dir)?;
    let archive = dir.join("http-server.tar");
    let script = workspace().join("images/http-server/build");
    let done = std::process::Command::new(&script).arg(&archive).output();
    let image = done
        .with_context(|| format!("cannot run {}", script.display()))
        .and_then(|done| {
            let stderr = String::from_utf8_lossy(&done.stderr);
            ensure!(done.status.success(), "{}: {stderr}", script.display());
            read_layout(&archive)
        });
    std::fs::remove_dir_all(&dir)?;
    image
}

/// Over many connections.
#[tokio::test]
async fn the_sample_server_answers_the_host_and_a_sidecar() -> Result<()> {
    Engine::WasmEdge.program()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let (linux, image) = (images::linux()?, http_server()?);
    containerd.import_cri(&[&linux, &image]).await?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("sample", PodOptions::default()).await?;
    let server = PodContainer::new("server", &image).env("PORT", "8081");
    let server = pod.run(server).await?;
    server.wait_for_log("listening on port 8081").await?;
    let address = SocketAddr::new(pod.ip.parse()?, 8081);
    // A client that is connected and says nothing keeps no other waiting.
    let silent = std::net::TcpStream::connect(address)?;
    let body = "words ".repeat(8000);
    assert_eq!(post(address, "/echo", body.as_bytes()).await?.body, body);
    assert_eq!(post(address, "/nothing", b"").await?.status, 404);
    let script = "at=http://127.0.0.1:8081; wget -qO- $at/ || exit 1
        for i in 1 2 3 4 5 6 7 8; do wget -qO /tmp/$i --post-data=$i $at/echo & done; wait
        cat /tmp/*; echo";
    let ask = pod
        .run(PodContainer::new("ask", &linux).command(["/bin/sh", "-c", script]))
        .await?;
    assert_eq!(ask.wait().await?.exit_code, 0, "{:?}", ask.log()?);
    ask.expect_stdout("hello from WasmEdge: POST something to /echo\n12345678\n")
        .await?;
    server.wait_for_log("POST /nothing: 404 Not Found").await?;
    drop(silent);
    server.stop(30).await?;
    assert_eq!(server.wait().await?.exit_code, 143);
    pod.remove().await?;
    containerd.close().await
}
