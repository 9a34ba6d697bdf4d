//! What a kubelet does with a container besides: stopping, memory kills, logs, statistics, limits.

use crate::node::{Node, asked, features};
use k8s_cri::v1::LinuxContainerResources;
use medley_test::*;

async fn a_stopped_container_gets_sigterm_first_and_then_sigkill(node: &Node) -> Result<()> {
    let pod = node.pod("stop").await?;
    let polite = "trap 'exit 7' TERM; echo up; while true; do sleep 0.05; done";
    let stubborn = "trap '' TERM; echo up; while true; do sleep 0.05; done";
    for (name, script, code) in [("polite", polite, 7), ("stubborn", stubborn, 137)] {
        let container = pod.run(node.shell(name, script)).await?;
        container.wait_for_log("up").await?;
        container.stop(1).await?;
        container.ends_with(code).await?;
        // A second time changes nothing.
        container.stop(1).await?;
        container.remove().await?;
    }
    pod.remove().await
}

async fn a_container_that_never_started_is_removed(node: &Node) -> Result<()> {
    let pod = node.pod("unstarted").await?;
    let it = pod.create(node.sleeper("it")).await?;
    it.remove().await?;
    // And one that runs, and one that is stopped before it started.
    pod.run(node.sleeper("runs")).await?.remove().await?;
    let stopped = pod.create(node.sleeper("stopped")).await?;
    stopped.stop(0).await?;
    stopped.remove().await?;
    pod.remove().await
}

async fn a_stopped_pod_has_stopped_its_containers(node: &Node) -> Result<()> {
    let pod = node.pod("all").await?;
    let one = pod.run(node.sleeper("one")).await?;
    let two = pod.run(node.shell("two", "exit 3")).await?;
    two.ends_with(3).await?;
    pod.stop().await?;
    one.ends_with(137).await?;
    two.ends_with(3).await?;
    assert!(!pod.is_ready().await?);
    pod.stop().await?;
    pod.remove().await
}

async fn the_status_of_a_container_tells_its_life(node: &Node) -> Result<()> {
    let pod = node.pod("status").await?;
    for (name, script, code, reason) in [
        ("good", "exit 0", 0, "Completed"),
        ("bad", "exit 9", 9, "Error"),
    ] {
        let it = pod.create(node.shell(name, script)).await?;
        let status = it.status().await?;
        assert!(
            status.created_at > 0 && status.started_at == 0,
            "{status:?}"
        );
        it.start().await?;
        let status = it.ends_with(code).await?;
        assert_eq!(status.reason, reason);
        // It may have ended before the CRI plugin takes down that it has been started.
        for later in [status.started_at, status.finished_at] {
            assert!(later > status.created_at, "{status:?}");
        }
    }
    pod.remove().await
}

async fn a_container_that_outgrows_its_memory_is_oom_killed(node: &Node) -> Result<()> {
    let pod = node.pod("oom").await?;
    let hungry = node.shell("hungry", "exec tail /dev/zero").memory(16 << 20);
    let status = pod.run(hungry).await?.ends_with(137).await?;
    assert_eq!(status.reason, "OOMKilled");
    assert!(pod.is_ready().await?);
    pod.remove().await
}

async fn a_log_that_is_moved_away_goes_on_in_a_new_file(node: &Node) -> Result<()> {
    let pod = node.pod("logs").await?;
    let script = "echo before; until [ -e /tmp/go ]; do sleep 0.1; done; echo after; sleep 3600";
    let it = pod.run(node.shell("it", script)).await?;
    it.wait_for_log("before").await?;
    it.rotate_log().await?;
    assert_eq!(asked(&it, "touch /tmp/go").await?, "");
    it.expect_stdout("after\n").await?;
    pod.remove().await
}

async fn the_log_of_a_guest_that_is_moved_away_goes_on_in_a_new_file(node: &Node) -> Result<()> {
    let pod = node.pod("guest-logs").await?;
    let it = pod
        .run(node.guest("it", &["/tick.wasm", "100000", "20"]))
        .await?;
    it.wait_for_log("tick 3").await?;
    it.rotate_log().await?;
    // It may begin in the middle; all that follows is there.
    it.wait_for_log("tick").await?;
    let first = it.stdout()?;
    let first = first
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("tick "));
    let first: u32 = first.context("no first line")?.parse()?;
    let next: String = (first..first + 3)
        .map(|tick| format!("tick {tick}\n"))
        .collect();
    it.wait_for_log(&format!("tick {}", first + 2)).await?;
    assert!(it.stdout()?.starts_with(&next), "{}", it.stdout()?);
    it.stop(5).await?;
    it.ends_with(143).await?;
    pod.remove().await
}

/// What two containers of a pod use, told one by one, as a list and for the pod.
async fn told_of(pod: &Pod, busy: &CriContainer, idle: &CriContainer) -> Result<()> {
    const MILLISECOND: u64 = 1_000_000;
    let usage = async || -> Result<u64> {
        let cpu = busy.stats().await?.cpu.unwrap_or_default();
        Ok(cpu.usage_core_nano_seconds.unwrap_or_default().value)
    };
    let deadline = std::time::Instant::now() + containerd::PATIENCE;
    while usage().await? < 10 * MILLISECOND {
        ensure!(
            std::time::Instant::now() < deadline,
            "{} uses no time",
            busy.name
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let listed = pod.container_stats().await?;
    let mut names: Vec<_> = listed
        .iter()
        .filter_map(|stats| Some(stats.attributes.clone()?.metadata?.name))
        .collect();
    names.sort();
    assert_eq!(names, [busy.name.as_str(), idle.name.as_str()]);
    for stats in listed {
        let memory = stats.memory.unwrap_or_default();
        assert!(
            memory.working_set_bytes.unwrap_or_default().value > 0,
            "{stats:?}"
        );
        assert!(stats.cpu.is_some_and(|cpu| cpu.timestamp > 0));
    }
    Ok(())
}

/// What the pod as a whole uses, its sandbox and its containers' processes.
async fn told_of_the_pod(node: &Node, pod: &Pod, processes: u64) -> Result<()> {
    let deadline = std::time::Instant::now() + containerd::PATIENCE;
    let linux = loop {
        let linux = pod.stats().await?.linux.unwrap_or_default();
        assert_eq!(linux.containers.len(), 2);
        let found = linux
            .process
            .as_ref()
            .and_then(|process| process.process_count);
        let found = found.unwrap_or_default().value;
        if found == processes {
            break linux;
        }
        // A runtime's init may not have become its program yet.
        ensure!(std::time::Instant::now() < deadline, "{found} processes");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    // Its own numbers are those of the pod's cgroup, which a kubelet makes, from 1.7 on.
    let cgroup = linux.memory.and_then(|memory| memory.working_set_bytes);
    assert!(cgroup.is_some() || node.is_at_least(1, 7));
    Ok(())
}

async fn stats_of_a_pod_and_of_its_containers_are_told(node: &Node) -> Result<()> {
    let pod = node.pod("stats").await?;
    let busy = pod
        .run(node.shell("busy", "while true; do :; done"))
        .await?;
    let idle = pod.run(node.sleeper("idle")).await?;
    told_of(&pod, &busy, &idle).await?;
    told_of_the_pod(node, &pod, 2).await?;
    pod.remove().await
}

async fn stats_of_a_guest_are_told(node: &Node) -> Result<()> {
    let pod = node.pod("guest-stats").await?;
    let busy = pod.run(node.guest("busy", &["/spin.wasm"])).await?;
    let idle = pod.run(node.guest("idle", &["/sleep.wasm"])).await?;
    told_of(&pod, &busy, &idle).await?;
    told_of_the_pod(node, &pod, 2).await?;
    pod.remove().await
}

/// Changes the limits of a container, sees them in force, and is told of them.
async fn changed(it: &CriContainer) -> Result<()> {
    let limits = LinuxContainerResources {
        cpu_shares: 512,
        cpu_period: 100_000,
        cpu_quota: 50_000,
        memory_limit_in_bytes: 64 << 20,
        ..Default::default()
    };
    it.update(limits).await?;
    let pid = it.pid().await?;
    assert_eq!(
        limit(pid, "memory", "memory.limit_in_bytes", "memory.max")?,
        "67108864"
    );
    let quota = limit(pid, "cpu", "cpu.cfs_quota_us", "cpu.max")?;
    assert!(
        ["50000", "50000 100000"].contains(&quota.as_str()),
        "{quota}"
    );
    Ok(())
}

/// A limit of a process's cgroup, as the kernel writes it.
fn limit(pid: u32, controller: &str, v1: &str, v2: &str) -> Result<String> {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let found = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let path = if controllers.split(',').any(|one| one == controller) {
            format!("/sys/fs/cgroup/{controller}{path}/{v1}")
        } else if controllers.is_empty() {
            format!("/sys/fs/cgroup{path}/{v2}")
        } else {
            return None;
        };
        std::fs::read_to_string(path).ok()
    });
    let found = found.with_context(|| format!("process {pid} has no {v1} and no {v2}"))?;
    Ok(found.trim().to_owned())
}

async fn limits_of_a_running_container_are_changed(node: &Node) -> Result<()> {
    let pod = node.pod("resize").await?;
    changed(&pod.run(node.sleeper("it")).await?).await?;
    pod.remove().await
}

async fn limits_of_a_running_guest_are_changed(node: &Node) -> Result<()> {
    let pod = node.pod("resize-guest").await?;
    let it = pod.run(node.guest("it", &["/sleep.wasm"])).await?;
    changed(&it).await?;
    it.stop(5).await?;
    it.ends_with(143).await?;
    pod.remove().await
}

features! {
    linux:
        a_container_that_never_started_is_removed,
        a_container_that_outgrows_its_memory_is_oom_killed,
        a_log_that_is_moved_away_goes_on_in_a_new_file,
        a_stopped_container_gets_sigterm_first_and_then_sigkill,
        a_stopped_pod_has_stopped_its_containers,
        limits_of_a_running_container_are_changed,
        stats_of_a_pod_and_of_its_containers_are_told,
        the_status_of_a_container_tells_its_life;
    wasm:
        limits_of_a_running_guest_are_changed,
        stats_of_a_guest_are_told,
        the_log_of_a_guest_that_is_moved_away_goes_on_in_a_new_file,
}
