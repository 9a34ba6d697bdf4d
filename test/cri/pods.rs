//! Pods of several containers, of one kind and of both.

use medley_test::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn get(ip: &str, port: u16) -> Result<String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
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

each_runtime! {
    async fn a_container_of_a_pod_logs_and_exits(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("one", PodOptions::default()).await?;
        let script = "echo out; echo err >&2; exit 42";
        let container = PodContainer::new("hello", &linux).command(["/bin/sh", "-c", script]);
        let container = pod.run(container).await?;
        let status = container.wait().await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (42, "Error"));
        container.wait_for_log("out").await?;
        container.wait_for_log("err").await?;
        let mut streams: Vec<_> =
            container.log()?.into_iter().map(|line| (line.stream, line.text)).collect();
        streams.sort();
        assert_eq!(streams, [("stderr".into(), "err".into()), ("stdout".into(), "out".into())]);
        pod.remove().await?;
        containerd.close().await
    }

    async fn init_containers_run_before_the_workload_and_leave_it_a_volume(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let volume = containerd.dir().join("volume");
        std::fs::create_dir(&volume)?;
        let pod = containerd.cri().await?.run_pod("two", PodOptions::default()).await?;
        let init = PodContainer::new("init", &linux)
            .command(["/bin/sh", "-c", "echo prepared > /vol/note"])
            .volume(&volume, "/vol", false);
        let init = pod.run(init).await?;
        assert_eq!(init.wait().await?.exit_code, 0);
        let main = PodContainer::new("main", &linux)
            .command(["/bin/sh", "-c", "cat /vol/note; touch /vol/x || echo refused"])
            .volume(&volume, "/vol", true);
        let main = pod.run(main).await?;
        assert_eq!(main.wait().await?.exit_code, 0);
        main.wait_for_log("refused").await?;
        assert_eq!(main.stdout()?, "prepared\nrefused\n");
        pod.remove().await?;
        containerd.close().await
    }

    async fn containers_of_a_pod_share_its_network_and_the_host_reaches_it(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("net", PodOptions::default()).await?;
        let serve = "mkdir /www && echo served > /www/index.html && exec httpd -f -p 8080 -h /www";
        pod.run(PodContainer::new("web", &linux).command(["/bin/sh", "-c", serve])).await?;
        assert!(get(&pod.ip, 8080).await?.ends_with("served\n"));
        let ask = PodContainer::new("ask", &linux).command(["wget", "-qO-", "http://127.0.0.1:8080/"]);
        let ask = pod.run(ask).await?;
        assert_eq!(ask.wait().await?.exit_code, 0);
        ask.wait_for_log("served").await?;
        pod.remove().await?;
        containerd.close().await
    }

    async fn a_stopped_container_gets_sigterm_first_and_then_sigkill(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("stop", PodOptions::default()).await?;
        let polite = "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done";
        let stubborn = "trap '' TERM; echo up; while true; do sleep 0.05; done";
        for (name, script, code) in [("polite", polite, 7), ("stubborn", stubborn, 137)] {
            let container = PodContainer::new(name, &linux).command(["/bin/sh", "-c", script]);
            let container = pod.run(container).await?;
            container.wait_for_log("up").await?;
            container.stop(1).await?;
            assert_eq!(container.wait().await?.exit_code, code, "{name}");
            container.remove().await?;
        }
        pod.remove().await?;
        containerd.close().await
    }

    async fn stats_of_a_container_are_told(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("stats", PodOptions::default()).await?;
        let busy = PodContainer::new("busy", &linux).command(["/bin/sh", "-c", "while true; do :; done"]);
        let busy = pod.run(busy).await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let stats = busy.stats().await?;
        let cpu = stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds).map_or(0, |v| v.value);
        let memory = stats.memory.and_then(|m| m.working_set_bytes).map_or(0, |v| v.value);
        assert!(cpu > 10_000_000, "{cpu} ns");
        assert!(memory > 0);
        pod.remove().await?;
        containerd.close().await
    }

    async fn limits_of_a_running_container_are_changed(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("resize", PodOptions::default()).await?;
        let idle = PodContainer::new("idle", &linux).command(["/bin/sleep", "3600"]);
        let idle = pod.run(idle).await?;
        let limits = k8s_cri::v1::LinuxContainerResources {
            cpu_shares: 512,
            memory_limit_in_bytes: 64 << 20,
            ..Default::default()
        };
        idle.update(limits).await?;
        let pid = idle.pid().await?;
        assert_eq!(memory_limit(pid)?, "67108864");
        pod.remove().await?;
        containerd.close().await
    }

    async fn a_pods_containers_survive_a_restart_of_containerd(runtime: Runtime) -> Result<()> {
        let mut containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("stay", PodOptions::default()).await?;
        let stay = PodContainer::new("stay", &linux).command(["/bin/sleep", "3600"]);
        let stay = pod.run(stay).await?;
        let pid = stay.pid().await?;
        containerd.restart().await?;
        // A new connection to the new containerd, which recovers in the background.
        let cri = containerd.cri().await?;
        let stay = cri.container(&stay.id);
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while stay.pid().await.ok() != Some(pid) {
            ensure!(std::time::Instant::now() < deadline, "it is not found again");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stay.stop(0).await?;
        assert_eq!(stay.wait().await?.exit_code, 137);
        containerd.close().await
    }
}

#[tokio::test]
async fn a_mixed_pod_of_three_is_served_by_one_shim() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    let module = images::wasm("sleep", &guests::module("sleep")?)?;
    let component = images::wasm("component", &guests::component("sleep")?)?;
    containerd
        .import_cri(&[&linux, &module, &component])
        .await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("mixed", PodOptions::default())
        .await?;
    let main = pod.run(PodContainer::new("main", &module)).await?;
    let other = pod.run(PodContainer::new("other", &component)).await?;
    let side = PodContainer::new("side", &linux).command(["/bin/sh", "-c", "echo up; sleep 3600"]);
    let side = pod.run(side).await?;
    for container in [&main, &other, &side] {
        container.wait_for_log("up").await?;
    }
    // A helper may still be on its way out.
    let mut shims = containerd.shims();
    for _ in 0..40 {
        if shims.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        shims = containerd.shims();
    }
    assert_eq!(shims.len(), 1, "{shims:?}");
    // Each with a pid namespace of its own, all in the pod's network.
    let namespace = |pid: u32, kind: &str| std::fs::read_link(format!("/proc/{pid}/ns/{kind}"));
    let pids = [main.pid().await?, other.pid().await?, side.pid().await?];
    assert_eq!(namespace(pids[0], "net")?, namespace(pids[1], "net")?);
    assert_eq!(namespace(pids[0], "net")?, namespace(pids[2], "net")?);
    assert_ne!(namespace(pids[0], "pid")?, namespace(pids[1], "pid")?);
    assert_ne!(namespace(pids[0], "pid")?, namespace(pids[2], "pid")?);
    for container in [&main, &other] {
        container.stop(5).await?;
        assert_eq!(container.wait().await?.exit_code, 143, "{}", container.name);
    }
    side.stop(0).await?;
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_linux_init_container_and_a_sidecar_work_with_a_wasm_container_over_a_volume()
-> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    let upper = images::wasm("volume", &guests::module("volume")?)?;
    containerd.import_cri(&[&linux, &upper]).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    let mounted = |container: PodContainer| container.volume(&volume, "/vol", false);
    let pod = containerd
        .cri()
        .await?
        .run_pod("pair", PodOptions::default())
        .await?;
    let shell = |name: &str, script: &str| {
        mounted(PodContainer::new(name, &linux).command(["/bin/sh", "-c", script]))
    };
    let init = pod.run(shell("init", "echo quiet > /vol/draft")).await?;
    assert_eq!(init.wait().await?.exit_code, 0);
    let main = PodContainer::new("main", &upper).args(["/vol/question", "/vol/answer"]);
    let main = pod.run(mounted(main)).await?;
    let ask = "mv /vol/draft /vol/question; until [ -s /vol/answer ]; do sleep 0.05; done; \
        cat /vol/answer";
    let side = pod.run(shell("side", ask)).await?;
    assert_eq!(main.wait().await?.exit_code, 0, "{:?}", main.log()?);
    assert_eq!(side.wait().await?.exit_code, 0);
    side.wait_for_log("QUIET").await?;
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_wasm_container_of_a_pod_logs_and_exits() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let hello = images::wasm("hello", &guests::module("hello")?)?;
    let exit = images::wasm("exit", &guests::module("exit-with-code")?)?;
    containerd.import_cri(&[&hello, &exit]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("wasm", PodOptions::default())
        .await?;
    let said = pod
        .run(PodContainer::new("hello", &hello).args(["x"]))
        .await?;
    assert_eq!(said.wait().await?.exit_code, 0);
    said.wait_for_log("arg x").await?;
    assert_eq!(said.stdout()?, "hello\narg x\n");
    let left = pod
        .run(PodContainer::new("exit", &exit).args(["255"]))
        .await?;
    assert_eq!(left.wait().await?.exit_code, 255);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn stats_of_a_wasm_container_are_told() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let spin = images::wasm("spin", &guests::module("spin")?)?;
    containerd.import_cri(&[&spin]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("stats", PodOptions::default())
        .await?;
    let busy = pod.run(PodContainer::new("busy", &spin)).await?;
    busy.wait_for_log("up").await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let cpu = busy
        .stats()
        .await?
        .cpu
        .and_then(|cpu| cpu.usage_core_nano_seconds);
    assert!(cpu.is_some_and(|cpu| cpu.value > 10_000_000), "{cpu:?}");
    pod.remove().await?;
    containerd.close().await
}

/// The memory limit of a process's cgroup, as the kernel writes it.
fn memory_limit(pid: u32) -> Result<String> {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let of = |start: &str, before: &str, after: &str| {
        let path = cgroups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            rest.strip_prefix(start)
        })?;
        std::fs::read_to_string(format!("/sys/fs/cgroup{before}{path}/{after}")).ok()
    };
    let limit =
        of("memory:", "/memory", "memory.limit_in_bytes").or_else(|| of(":", "", "memory.max"));
    let limit = limit.context("the process has no memory cgroup")?;
    Ok(limit.trim().to_owned())
}
