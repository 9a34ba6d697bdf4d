//! Many at a time.

use medley_test::stdio::Stdin;
use medley_test::*;
use tokio::task::JoinSet;

const COUNT: usize = 50;

/// Starts fifty at once, by turns of each image, sees them all run, and takes them down.
async fn fifty(runtime: Runtime, all: &[Image]) -> Result<()> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&all.iter().collect::<Vec<_>>()).await?;
    let client = containerd.client().await?;
    let mut starting = JoinSet::new();
    for (number, image) in (0..COUNT).zip(all.iter().cycle().cloned()) {
        let client = client.clone();
        starting.spawn(async move {
            let id = format!("it-{number}");
            let container = client.create(&id, &image, client.spec(&image, &id)).await?;
            let task = container.start(Stdin::None).await?;
            Ok::<_, anyhow::Error>((container, task))
        });
    }
    let mut running = Vec::new();
    while let Some(started) = starting.join_next().await {
        running.push(started??);
    }
    for (_, task) in &running {
        assert_eq!(task.status().await?.as_str_name(), "RUNNING", "{}", task.id);
    }
    let mut pids: Vec<_> = running.iter().map(|(_, task)| task.pid).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), COUNT);
    let mut stopping = JoinSet::new();
    for (container, task) in running {
        stopping.spawn(async move {
            assert_eq!(task.destroy().await?, 137);
            container.delete().await
        });
    }
    while let Some(stopped) = stopping.join_next().await {
        stopped??;
    }
    containerd.expect_clean()?;
    containerd.close().await
}

/// A container whose processes do not run, until this is dropped.
struct Frozen {
    switch: std::path::PathBuf,
    thaw: &'static str,
}

impl Frozen {
    fn new(pid: u32) -> Result<Self> {
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let found = cgroups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            match (fields.next()?, fields.next()?) {
                ("freezer", path) => Some((
                    format!("/sys/fs/cgroup/freezer{path}/freezer.state"),
                    "FROZEN",
                    "THAWED",
                )),
                ("", path) => Some((format!("/sys/fs/cgroup{path}/cgroup.freeze"), "1", "0")),
                _ => None,
            }
        });
        let (switch, freeze, thaw) = found.context("no cgroup that freezes")?;
        std::fs::write(&switch, freeze).with_context(|| format!("cannot write {switch}"))?;
        Ok(Self {
            switch: switch.into(),
            thaw,
        })
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Errors cannot be returned from here: the container can't be stopped then, which is told.
        std::fs::write(&self.switch, self.thaw).ok();
    }
}

each_runtime! {
    /// No other of its pod.
    async fn a_container_that_hangs_keeps_no_other_waiting(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("stuck", PodOptions::default()).await?;
        let sleeper = |name: &str| PodContainer::new(name, &linux).command(["/bin/sleep", "3600"]);
        let stuck = pod.run(sleeper("stuck")).await?;
        let side = pod.run(sleeper("side")).await?;
        let frozen = Frozen::new(stuck.pid().await?)?;
        // Calls that may wait for it as long as they like.
        let mut waiting = JoinSet::new();
        for _ in 0..4 {
            let stuck = stuck.clone();
            waiting.spawn(async move { stuck.exec_sync(&["true"], 5).await.map(drop) });
        }
        let stopped = stuck.clone();
        waiting.spawn(async move { stopped.stop(2).await });
        // All that a kubelet does with another.
        for round in 0..3 {
            assert_eq!(side.exec_sync(&["echo", "here"], 0).await?.stdout, "here\n");
            side.stats().await?;
            let other = pod.run(sleeper(&format!("other-{round}"))).await?;
            other.stop(0).await?;
            assert_eq!(other.wait().await?.exit_code, 137);
            other.remove().await?;
        }
        drop(frozen);
        while let Some(done) = waiting.join_next().await {
            // Whether it could be done is not the question here.
            drop(done?);
        }
        stuck.stop(0).await?;
        assert_eq!(stuck.wait().await?.exit_code, 137);
        pod.remove().await?;
        containerd.close().await
    }

    async fn fifty_containers_start_at_once_and_are_all_gone_afterwards(runtime: Runtime) -> Result<()> {
        let linux = images::linux_builder("sleep")?.entrypoint(["/bin/sleep", "3600"]).build()?;
        let all = match runtime {
            Runtime::Runc => vec![linux],
            Runtime::Medley => vec![linux, images::wasm("guest", &guests::module("sleep")?)?],
        };
        fifty(runtime, &all).await
    }

    async fn a_pod_of_ten_containers_starts_at_once(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import_cri(&[&linux]).await?;
        let pod = containerd.cri().await?.run_pod("ten", PodOptions::default()).await?;
        let mut starting = JoinSet::new();
        for number in 0..10 {
            let (pod, linux) = (pod.clone(), linux.clone());
            starting.spawn(async move {
                let container = PodContainer::new(&format!("it-{number}"), &linux)
                    .command(["/bin/sh", "-c", &format!("exit {number}")]);
                let code = pod.run(container).await?.wait().await?.exit_code;
                Ok::<_, anyhow::Error>((number, code))
            });
        }
        while let Some(done) = starting.join_next().await {
            let (number, code) = done??;
            assert_eq!(number, code);
        }
        assert_eq!(containerd.shims().len(), 1, "{:?}", containerd.shims());
        pod.remove().await?;
        containerd.close().await
    }
}
