//! Pods of several containers, of one kind and of both.

use crate::node::{Node, features};
use medley_test::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(ip: &str, port: u16) -> Result<String> {
    let deadline = std::time::Instant::now() + containerd::PATIENCE;
    let mut stream = loop {
        match tokio::net::TcpStream::connect((ip, port)).await {
            Ok(stream) => break stream,
            Err(error) if std::time::Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn a_container_of_a_pod_logs_and_exits(node: &Node) -> Result<()> {
    let pod = node.pod("one").await?;
    let it = pod
        .run(node.shell("hello", "echo out; echo err >&2; exit 42"))
        .await?;
    let status = it.ends_with(42).await?;
    assert_eq!(status.reason, "Error");
    it.wait_for_log("out").await?;
    it.wait_for_log("err").await?;
    let mut streams: Vec<_> = it
        .log()?
        .into_iter()
        .map(|line| (line.stream, line.text))
        .collect();
    streams.sort();
    assert_eq!(
        streams,
        [
            ("stderr".into(), "err".into()),
            ("stdout".into(), "out".into())
        ]
    );
    pod.remove().await
}

async fn init_containers_run_first_and_leave_a_volume(node: &Node) -> Result<()> {
    let volume = node.dir()?;
    let pod = node.pod("two").await?;
    let init = node.shell("init", "echo prepared > /vol/note");
    let init = pod.run(init.volume(&volume, "/vol", false)).await?;
    init.ends_with(0).await?;
    let main = node.shell("main", "cat /vol/note; touch /vol/x || echo refused");
    let main = pod.run(main.volume(&volume, "/vol", true)).await?;
    main.ends_with(0).await?;
    main.expect_stdout("prepared\nrefused\n").await?;
    pod.remove().await
}

/// And the host reaches it.
async fn containers_of_a_pod_share_its_network(node: &Node) -> Result<()> {
    let pod = node.pod("net").await?;
    let serve = "mkdir /www && echo served > /www/index.html && exec httpd -f -p 8080 -h /www";
    pod.run(node.shell("web", serve)).await?;
    assert!(get(&pod.ip, 8080).await?.ends_with("served\n"));
    let ask = pod
        .run(node.shell("ask", "wget -qO- http://127.0.0.1:8080/"))
        .await?;
    ask.ends_with(0).await?;
    ask.expect_stdout("served\n").await?;
    pod.remove().await
}

async fn a_mixed_pod_of_three_is_served_by_one_shim(node: &Node) -> Result<()> {
    let before: Vec<_> = node
        .containerd()
        .shims()
        .iter()
        .map(|shim| shim.pid)
        .collect();
    let pod = node.pod("mixed").await?;
    let main = pod.run(node.guest("main", &["/sleep.wasm"])).await?;
    let other = pod.run(node.guest("other", &["/component.wasm"])).await?;
    let side = pod.run(node.shell("side", "echo up; sleep 3600")).await?;
    for container in [&main, &other, &side] {
        container.wait_for_log("up").await?;
    }
    // Other pods may come and go meanwhile, and a helper be on its way out: one shim is left that
    // has come with this one.
    proc::until("one shim is there", || {
        let shims = node.containerd().shims();
        let here = shims.iter().filter(|shim| shim.cmdline.contains(&pod.id));
        here.count() == 1 && shims.iter().any(|shim| !before.contains(&shim.pid))
    })
    .await?;
    for container in [&main, &other] {
        container.stop(5).await?;
        container.ends_with(143).await?;
    }
    side.stop(0).await?;
    pod.remove().await
}

async fn linux_init_container_sidecar_and_wasm_share_a_volume(node: &Node) -> Result<()> {
    let volume = node.dir()?;
    let pod = node.pod("pair").await?;
    let shell = |name: &str, script: &str| node.shell(name, script).volume(&volume, "/vol", false);
    let init = pod.run(shell("init", "echo quiet > /vol/draft")).await?;
    init.ends_with(0).await?;
    let main = node.guest("main", &["/volume.wasm", "/vol/question", "/vol/answer"]);
    let main = pod.run(main.volume(&volume, "/vol", false)).await?;
    let ask = "mv /vol/draft /vol/question; until [ -s /vol/answer ]; do sleep 0.05; done; \
        cat /vol/answer";
    let side = pod.run(shell("side", ask)).await?;
    main.ends_with(0).await?;
    side.ends_with(0).await?;
    side.wait_for_log("QUIET").await?;
    pod.remove().await
}

async fn a_wasm_container_of_a_pod_logs_and_exits(node: &Node) -> Result<()> {
    let pod = node.pod("wasm").await?;
    let said = pod.run(node.guest("hello", &["/hello.wasm", "x"])).await?;
    said.ends_with(0).await?;
    said.expect_stdout("hello\narg x\n").await?;
    let left = node.guest("exit", &["/exit-with-code.wasm", "255"]);
    pod.run(left).await?.ends_with(255).await?;
    pod.remove().await
}

features! {
    linux:
        a_container_of_a_pod_logs_and_exits,
        containers_of_a_pod_share_its_network,
        init_containers_run_first_and_leave_a_volume;
    wasm:
        linux_init_container_sidecar_and_wasm_share_a_volume,
        a_mixed_pod_of_three_is_served_by_one_shim,
        a_wasm_container_of_a_pod_logs_and_exits,
}
