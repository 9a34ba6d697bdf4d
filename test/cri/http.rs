//! A server of Wasm in a pod, with a Linux sidecar that asks it.

use medley_test::http::get;
use medley_test::*;
use std::net::SocketAddr;

fn image() -> Result<Image> {
    ImageBuilder::scratch("http-pod")
        .file("/handler.wasm", guests::handler("http-handler")?, 0o644)
        .entrypoint(["/handler.wasm"])
        .build()
}

/// Within its grace period.
#[tokio::test]
async fn sidecar_and_host_reach_a_server_that_stops_in_time() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let (linux, wasm) = (images::linux()?, image()?);
    containerd.import_cri(&[&linux, &wasm]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("http", PodOptions::default())
        .await?;
    let server = pod
        .run(PodContainer::new("server", &wasm).memory(64 << 20))
        .await?;
    // Ready when it has been started: the first one who asks is answered.
    let address = SocketAddr::new(pod.ip.parse()?, 8080);
    assert_eq!(get(address, "/hello").await?.body, "hello\n");
    let ask = ["wget", "-qO-", "http://127.0.0.1:8080/hello"];
    let ask = pod
        .run(PodContainer::new("ask", &linux).command(ask))
        .await?;
    assert_eq!(ask.wait().await?.exit_code, 0);
    ask.wait_for_log("hello").await?;

    // The handler asks another server of the pod.
    let serve = "mkdir /www && echo from the sidecar > /www/hello && exec httpd -f -p 9090 -h /www";
    let sidecar = PodContainer::new("sidecar", &linux).command(["/bin/sh", "-c", serve]);
    let sidecar = pod.run(sidecar).await?;
    let through = loop {
        let through = get(address, "/fetch?127.0.0.1:9090").await?;
        // It takes a moment to listen.
        if through.status != 502 || sidecar.status().await?.exit_code != 0 {
            break through;
        }
    };
    assert_eq!(
        (through.status, through.body.as_str()),
        (200, "from the sidecar\n")
    );

    assert_eq!(get(address, "/log?1").await?.status, 200);
    server.wait_for_log("request 1 logged").await?;
    server.wait_for_log("error 1").await?;
    server.stop(20).await?;
    assert_eq!(server.wait().await?.exit_code, 143);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_second_server_on_the_same_port_of_a_pod_does_not_start() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let wasm = image()?;
    containerd.import_cri(&[&wasm]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("port", PodOptions::default())
        .await?;
    pod.run(PodContainer::new("one", &wasm)).await?;
    let two = pod.create(PodContainer::new("two", &wasm)).await?;
    let error = two.start().await.expect_err("it starts");
    let text = format!("{error:#}");
    // [::]:8080 where the pod has IPv6.
    assert!(text.contains("cannot listen on "), "{text}");
    assert!(
        text.contains(":8080: something else in the pod uses this port"),
        "{text}"
    );
    let three = PodContainer::new("three", &wasm).env("PORT", "8081");
    pod.run(three).await?;
    let address = SocketAddr::new(pod.ip.parse()?, 8081);
    assert_eq!(get(address, "/hello").await?.status, 200);
    pod.remove().await?;
    containerd.close().await
}
