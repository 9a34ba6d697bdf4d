//! Pods with containers of both engines.

use medley_test::runtime::wasmedge_path;
use medley_test::*;

#[tokio::test]
async fn a_sidecar_asks_a_server_on_wasmedges_sockets_beside_a_guest_of_wasmtime() -> Result<()> {
    wasmedge_path()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    // Its imports decide: there is no annotation.
    let server = images::wasm("sockets", &guests::module("sockets")?)?;
    let hello = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import_cri(&[&linux, &server, &hello]).await?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("mixed", PodOptions::default()).await?;
    let server = pod
        .run(PodContainer::new("server", &server).args(["8080", "3"]))
        .await?;
    server.wait_for_log("listening").await?;
    let hello = pod.run(PodContainer::new("hello", &hello)).await?;
    assert_eq!(hello.wait().await?.exit_code, 0);
    let script = "for i in 1 2 3; do wget -qO- http://127.0.0.1:8080/ || exit 1; done";
    let ask = pod
        .run(PodContainer::new("ask", &linux).command(["/bin/sh", "-c", script]))
        .await?;
    assert_eq!(ask.wait().await?.exit_code, 0, "{:?}", ask.log()?);
    ask.wait_for_log("served").await?;
    assert_eq!(ask.stdout()?, "served\nserved\nserved\n");
    // It has answered as often as it was told to.
    assert_eq!(server.wait().await?.exit_code, 0, "{:?}", server.log()?);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_container_of_wasmedge_stops_within_its_grace() -> Result<()> {
    wasmedge_path()?;
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
