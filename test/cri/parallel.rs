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

each_runtime! {
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
