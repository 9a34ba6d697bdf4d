//! Containers whose init is not the first process of a pid namespace.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::time::Duration;

/// Puts a container into the pid namespace at `path`, or into the host's.
fn in_pid_namespace(spec: Spec, path: Option<String>) -> Spec {
    spec.edit(|json| {
        if let Some(all) = json["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != "pid");
            all.extend(path.map(|path| serde_json::json!({"type": "pid", "path": path})));
        }
    })
}

/// Runs a container that leaves processes behind, in the pid namespace of another or in
/// the host's, and sees them killed with it.
async fn leaves_processes(runtime: Runtime, joins: bool) -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let spec = client.spec(&image, "host").args(["/bin/sleep", "3600"]);
    let host = client.create("host", &image, spec).await?;
    let hosting = host.start(Stdin::None).await?;
    let path = joins.then(|| format!("/proc/{}/ns/pid", hosting.pid));
    let script = "sleep 3600 >/dev/null 2>&1 & (sleep 3600 >/dev/null 2>&1 &); sleep 1; exit 3";
    let spec = client.spec(&image, "guest").args(["/bin/sh", "-c", script]);
    let guest = client
        .create("guest", &image, in_pid_namespace(spec, path))
        .await?;
    let mut task = guest.start(Stdin::None).await?;
    let namespace = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
    let expected = if joins {
        hosting.pid
    } else {
        std::process::id()
    };
    assert_eq!(namespace(task.pid)?, namespace(expected)?);
    let mut pids = task.pids().await?;
    for _ in 0..100 {
        if pids.len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        pids = task.pids().await?;
    }
    assert_eq!(pids.len(), 4, "sh and three times sleep: {pids:?}");
    assert_eq!(task.wait().await?, 3);
    for pid in pids {
        proc::until("what init left behind is dead", || !proc::is_alive(pid)).await?;
    }
    task.output().await?;
    assert_eq!(task.delete().await?, 3);
    guest.delete().await?;
    assert_eq!(hosting.status().await?.as_str_name(), "RUNNING");
    hosting.destroy().await?;
    host.delete().await?;
    containerd.close().await
}

each_runtime! {
    async fn what_is_left_in_anothers_pid_namespace_is_killed(runtime: Runtime) -> Result<()> {
        leaves_processes(runtime, true).await
    }

    async fn what_is_left_in_the_hosts_pid_namespace_is_killed(runtime: Runtime) -> Result<()> {
        leaves_processes(runtime, false).await
    }

    async fn orphans_of_a_container_in_the_hosts_pid_namespace_are_reaped(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let script = "for i in 1 2 3 4 5; do (sleep 0.$((i+2)) &); done; echo up; exec sleep 3600";
        let spec = client.spec(&image, "it").args(["/bin/sh", "-c", script]);
        let container = client.create("it", &image, in_pid_namespace(spec, None)).await?;
        let task = container.start(Stdin::None).await?;
        let socket = containerd.leftovers().shim_socket(client.namespace(), "it");
        let (shim, _) = shim::Shim::connect(&socket).await?.pids("it").await?;
        // The shim is their subreaper: it, and not the host's init, gets them.
        let own = |pid: &u32| proc::field(*pid, "PPid").is_ok_and(|of| of == shim.to_string());
        let mut adopted = 0;
        for _ in 0..100 {
            adopted = task.pids().await?.iter().filter(|pid| own(pid)).count();
            if adopted > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(adopted > 1, "no orphan came to the shim");
        proc::until("all orphans have ended and are reaped", || proc::children_of(shim) == [task.pid]).await?;
        assert_eq!(task.pids().await?, [task.pid]);
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}
