//! Pods without a pause container: `sandboxer = "shim"` of containerd 2.

use k8s_cri::v1;
use medley_test::cri::Pod;
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// The handler of such pods.
const HANDLER: &str = "podless";

/// A containerd 2 with that handler.
async fn start() -> Result<Containerd> {
    let extra_config = format!(
        r#"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.{HANDLER}]
      runtime_type = "{}"
      sandboxer = "shim"
"#,
        Runtime::Medley.name()
    );
    Containerd::start_with(Options {
        binary: debian::containerd("testing")?,
        extra_config,
        ..Options::new(Runtime::Medley)
    })
    .await
}

async fn pod(containerd: &Containerd, name: &str, options: PodOptions) -> Result<Pod> {
    let options = PodOptions {
        handler: Some(HANDLER.to_owned()),
        ..options
    };
    containerd.cri().await?.run_pod(name, options).await
}

fn sleeper(name: &str, image: &Image) -> PodContainer {
    PodContainer::new(name, image).command(["/bin/sh", "-c", "echo up; exec sleep 3600"])
}

fn namespace(pid: u32, kind: &str) -> Result<std::path::PathBuf> {
    Ok(std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))?)
}

/// The only shim of the containerd, once no helper is on its way out any more.
async fn the_shim(containerd: &Containerd) -> Result<u32> {
    proc::until("one shim is left", || containerd.shims().len() == 1).await?;
    Ok(u32::try_from(containerd.shims()[0].pid)?)
}

async fn stdout(container: &CriContainer, script: &str) -> Result<String> {
    let ran = container.exec_sync(&["sh", "-c", script], 0).await?;
    ensure!(ran.code == 0, "{script}: {ran:?}");
    Ok(ran.stdout)
}

/// It has no process of its own.
#[tokio::test]
async fn a_mixed_pod_shares_network_ipc_and_name() -> Result<()> {
    let containerd = start().await?;
    let linux = images::linux()?;
    let wasm = images::wasm("sleep", &guests::module("sleep")?)?;
    containerd.import_cri(&[&linux, &wasm]).await?;
    let pod = pod(&containerd, "mixed", PodOptions::default()).await?;
    assert!(pod.is_ready().await?);
    let shim = the_shim(&containerd).await?;
    let others = |except: &[u32]| {
        let all = containerd.leftovers().processes();
        let known = |pid: i32| {
            pid == containerd.pid() || except.iter().any(|one| i32::try_from(*one) == Ok(pid))
        };
        all.into_iter()
            .filter(|process| !known(process.pid))
            .count()
    };
    assert_eq!(
        others(&[shim]),
        0,
        "{:?}",
        containerd.leftovers().processes()
    );
    let main = pod.run(PodContainer::new("main", &wasm)).await?;
    let one = pod.run(sleeper("one", &linux)).await?;
    let two = pod.run(sleeper("two", &linux)).await?;
    for container in [&main, &one, &two] {
        container.wait_for_log("up").await?;
    }
    let pids = [main.pid().await?, one.pid().await?, two.pid().await?];
    proc::until("the helpers are gone", || {
        others(&[shim, pids[0], pids[1], pids[2]]) == 0
    })
    .await?;
    for kind in ["net", "ipc", "uts"] {
        let shared = namespace(pids[0], kind)?;
        assert_ne!(shared, namespace(shim, kind)?, "{kind} is the node's");
        assert_eq!(shared, namespace(pids[1], kind)?, "{kind}");
        assert_eq!(shared, namespace(pids[2], kind)?, "{kind}");
    }
    assert_ne!(namespace(pids[0], "pid")?, namespace(pids[1], "pid")?);
    assert_ne!(namespace(pids[1], "pid")?, namespace(pids[2], "pid")?);
    assert_eq!(
        stdout(&one, "hostname; cat /etc/hostname").await?,
        "mixed\nmixed\n"
    );
    assert!(stdout(&one, "ip addr").await?.contains(&pod.ip));
    stdout(&one, "echo shared > /dev/shm/note").await?;
    assert_eq!(stdout(&two, "cat /dev/shm/note").await?, "shared\n");
    assert_eq!(
        stdout(&two, "cat /etc/resolv.conf").await?,
        std::fs::read_to_string("/etc/resolv.conf")?
    );
    let ran = main.exec_sync(&["/sleep.wasm", "0"], 0).await?;
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "up\ndone\n"));
    for container in [&main, &one] {
        let memory = container.stats().await?.memory;
        let bytes = memory.and_then(|memory| memory.working_set_bytes);
        assert!(bytes.is_some_and(|bytes| bytes.value > 0));
    }
    main.stop(5).await?;
    assert_eq!(main.wait().await?.exit_code, 143);
    one.stop(0).await?;
    assert_eq!(one.wait().await?.exit_code, 137);
    one.remove().await?;
    // It outlives its containers, and takes new ones.
    assert!(pod.is_ready().await?);
    let three = pod.run(sleeper("three", &linux)).await?;
    three.wait_for_log("up").await?;
    assert_eq!(stdout(&three, "cat /dev/shm/note").await?, "shared\n");
    pod.remove().await?;
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn a_pod_without_containers_is_removed_without_a_trace() -> Result<()> {
    let containerd = start().await?;
    containerd.import_cri(&[]).await?;
    let pod = pod(&containerd, "empty", PodOptions::default()).await?;
    the_shim(&containerd).await?;
    pod.remove().await?;
    containerd.expect_clean()?;
    containerd.close().await
}

/// They see nothing of the node.
#[tokio::test]
async fn containers_that_share_processes_see_each_other() -> Result<()> {
    let containerd = start().await?;
    let linux = images::linux()?;
    containerd.import_cri(&[&linux]).await?;
    let shared = PodOptions::namespaces(|namespaces| namespaces.set_pid(v1::NamespaceMode::Pod));
    let pod = pod(&containerd, "together", shared).await?;
    let one = pod.run(sleeper("one", &linux)).await?;
    let two = pod.run(sleeper("two", &linux)).await?;
    one.wait_for_log("up").await?;
    two.wait_for_log("up").await?;
    let pids = [one.pid().await?, two.pid().await?];
    assert_eq!(namespace(pids[0], "pid")?, namespace(pids[1], "pid")?);
    assert_ne!(
        namespace(pids[0], "pid")?,
        namespace(std::process::id(), "pid")?
    );
    // A pattern that does not find itself.
    let seen = stdout(
        &one,
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'sleep 360[0]'",
    )
    .await?;
    assert_eq!(seen, "sleep 3600\nsleep 3600\n");
    // The first process is the shim's, and there is nothing to be had from it.
    for path in ["root/etc", "cwd/etc", "exe", "environ"] {
        let script = format!("cat /proc/1/{path} /proc/1/{path}/*");
        let look = one.exec_sync(&["sh", "-c", &script], 0).await?;
        assert_ne!(look.code, 0, "{path}: {look:?}");
        assert_eq!(look.stdout, "", "{path}");
    }
    // A container that ends takes no other along, and orphans do not stay.
    one.stop(0).await?;
    assert_eq!(one.wait().await?.exit_code, 137);
    stdout(&two, "(sleep 0.1 &); sleep 0.3").await?;
    let zombies = "grep -l '^State:.Z' /proc/[0-9]*/status | wc -l";
    for left in (0..100).rev() {
        if stdout(&two, zombies).await? == "0\n" {
            break;
        }
        assert!(left > 0, "an orphan is not reaped");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pod.remove().await?;
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn root_in_a_pod_of_a_user_namespace_is_no_user_of_the_node() -> Result<()> {
    /// The node's id of the pod's root.
    const ROOT: u32 = 500_000;
    let containerd = start().await?;
    let linux = images::linux()?;
    let wasm = images::wasm("sleep", &guests::module("sleep")?)?;
    containerd.import_cri(&[&linux, &wasm]).await?;
    let ids = || {
        vec![v1::IdMapping {
            host_id: ROOT,
            container_id: 0,
            length: 65536,
        }]
    };
    for (name, pids) in [
        ("apart", v1::NamespaceMode::Container),
        ("together", v1::NamespaceMode::Pod),
    ] {
        let mapped = PodOptions::namespaces(|namespaces| {
            let mut users = v1::UserNamespace {
                uids: ids(),
                gids: ids(),
                ..Default::default()
            };
            users.set_mode(v1::NamespaceMode::Pod);
            namespaces.userns_options = Some(users);
            namespaces.set_pid(pids);
        });
        let pod = pod(&containerd, name, mapped).await?;
        let main = pod.run(PodContainer::new("main", &wasm)).await?;
        let side = pod.run(sleeper("side", &linux)).await?;
        main.wait_for_log("up").await?;
        side.wait_for_log("up").await?;
        let both = [main.pid().await?, side.pid().await?];
        for pid in both {
            let uids = proc::field(pid, "Uid")?;
            let mut uids = uids.split_whitespace();
            assert!(uids.all(|uid| uid == ROOT.to_string()), "{name}: {pid}");
        }
        assert_eq!(namespace(both[0], "user")?, namespace(both[1], "user")?);
        assert_eq!(
            stdout(&side, "id -u; stat -c %u /bin/busybox; hostname").await?,
            format!("0\n0\n{name}\n")
        );
        stdout(&side, "echo shared > /dev/shm/note").await?;
        let ran = main.exec_sync(&["/sleep.wasm", "0"], 0).await?;
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "up\ndone\n"));
        main.stop(5).await?;
        assert_eq!(main.wait().await?.exit_code, 143);
        pod.remove().await?;
    }
    containerd.expect_clean()?;
    containerd.close().await
}

/// Not the node's network: containerd 2.1 dies of a nil pointer when it makes such a pod, before
/// any shim is asked.
/// Not the node's network: containerd 2.1 dies of a nil pointer when it makes such a pod, before
/// any shim is asked.
#[tokio::test]
async fn a_pod_on_the_node_shares_what_it_asks_for_and_no_more() -> Result<()> {
    let containerd = start().await?;
    let linux = images::linux()?;
    containerd.import_cri(&[&linux]).await?;
    let on_the_node = PodOptions::namespaces(|namespaces| {
        namespaces.set_ipc(v1::NamespaceMode::Node);
        namespaces.set_pid(v1::NamespaceMode::Node);
    });
    let pod = pod(&containerd, "host", on_the_node).await?;
    let it = pod.run(sleeper("it", &linux)).await?;
    it.wait_for_log("up").await?;
    let (pid, own) = (it.pid().await?, std::process::id());
    for kind in ["ipc", "pid"] {
        assert_eq!(namespace(pid, kind)?, namespace(own, kind)?, "{kind}");
    }
    for kind in ["mnt", "net", "uts"] {
        assert_ne!(namespace(pid, kind)?, namespace(own, kind)?, "{kind}");
    }
    pod.remove().await?;
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn names_and_sysctls_are_the_pods() -> Result<()> {
    let containerd = start().await?;
    let linux = images::linux()?;
    containerd.import_cri(&[&linux]).await?;
    let options = PodOptions {
        dns: Some(v1::DnsConfig {
            servers: vec!["192.0.2.1".to_owned()],
            searches: vec!["pods.test".to_owned()],
            options: vec!["ndots:5".to_owned()],
        }),
        sysctls: [(
            "net.ipv4.ip_unprivileged_port_start".to_owned(),
            "80".to_owned(),
        )]
        .into(),
        ..PodOptions::default()
    };
    let pod = pod(&containerd, "named", options).await?;
    let it = pod.run(sleeper("it", &linux)).await?;
    assert_eq!(
        stdout(&it, "cat /etc/resolv.conf").await?,
        "search pods.test\nnameserver 192.0.2.1\noptions ndots:5\n"
    );
    let start = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    assert_eq!(stdout(&it, start).await?, "80\n");
    pod.remove().await?;
    containerd.expect_clean()?;
    containerd.close().await
}

/// It leaves nothing behind.
#[tokio::test]
async fn a_pod_with_a_sysctl_of_the_node_is_refused() -> Result<()> {
    let containerd = start().await?;
    containerd.import_cri(&[]).await?;
    let options = PodOptions {
        sysctls: [("kernel.panic".to_owned(), "7".to_owned())].into(),
        ..PodOptions::default()
    };
    let error = pod(&containerd, "greedy", options)
        .await
        .expect_err("it runs");
    assert!(format!("{error:#}").contains("kernel.panic"), "{error:#}");
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn a_pod_whose_shim_is_killed_leaves_nothing_behind() -> Result<()> {
    let containerd = start().await?;
    let linux = images::linux()?;
    let wasm = images::wasm("sleep", &guests::module("sleep")?)?;
    containerd.import_cri(&[&linux, &wasm]).await?;
    let shared = PodOptions::namespaces(|namespaces| namespaces.set_pid(v1::NamespaceMode::Pod));
    let pod = pod(&containerd, "crash", shared).await?;
    let main = pod.run(PodContainer::new("main", &wasm)).await?;
    let side = pod.run(sleeper("side", &linux)).await?;
    main.wait_for_log("up").await?;
    side.wait_for_log("up").await?;
    let pids = [main.pid().await?, side.pid().await?];
    let shim = the_shim(&containerd).await?;
    kill(Pid::from_raw(i32::try_from(shim)?), Signal::SIGKILL)?;
    crate::crash::ended_with_its_shim(pod, [main, side], pids).await?;
    containerd.expect_clean()?;
    containerd.close().await
}

#[tokio::test]
async fn a_pod_survives_a_restart_of_containerd() -> Result<()> {
    let mut containerd = start().await?;
    let linux = images::linux()?;
    containerd.import_cri(&[&linux]).await?;
    let pod = pod(&containerd, "stay", PodOptions::default()).await?;
    let stay = pod.run(sleeper("stay", &linux)).await?;
    stay.wait_for_log("up").await?;
    let pid = stay.pid().await?;
    let shim = the_shim(&containerd).await?;
    containerd.restart().await?;
    let cri = containerd.cri().await?;
    let stay = cri.container(&stay.id);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while stay.pid().await.ok() != Some(pid) {
        ensure!(
            std::time::Instant::now() < deadline,
            "it is not found again"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(the_shim(&containerd).await?, shim);
    assert_eq!(stdout(&stay, "hostname").await?, "stay\n");
    // The first client's connection is gone with the old containerd.
    cri.remove_all().await?;
    assert!(!proc::is_alive(pid));
    containerd.expect_clean()?;
    containerd.close().await
}
