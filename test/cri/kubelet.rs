//! What a kubelet does with a container besides: memory kills, logs.

use medley_test::*;

each_runtime! {
    async fn a_container_that_outgrows_its_memory_is_oom_killed(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let image = images::linux()?;
        containerd.import_cri(&[&image]).await?;
        let pod = containerd.cri().await?.run_pod("oom", PodOptions::default()).await?;
        let hungry = PodContainer::new("hungry", &image).command(["/bin/tail", "/dev/zero"]);
        let hungry = pod.run(hungry.memory(16 << 20)).await?;
        let status = hungry.wait().await?;
        assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
        assert!(pod.is_ready().await?);
        pod.remove().await?;
        containerd.close().await
    }

    async fn a_log_that_is_moved_away_goes_on_in_a_new_file(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let image = images::linux()?;
        containerd.import_cri(&[&image]).await?;
        let pod = containerd.cri().await?.run_pod("logs", PodOptions::default()).await?;
        let script = "echo before; until [ -e /tmp/go ]; do sleep 0.1; done; echo after; sleep 3600";
        let it = pod.run(PodContainer::new("it", &image).command(["/bin/sh", "-c", script])).await?;
        it.wait_for_log("before").await?;
        it.rotate_log().await?;
        assert_eq!(it.exec_sync(&["touch", "/tmp/go"], 0).await?.code, 0);
        it.wait_for_log("after").await?;
        assert_eq!(it.stdout()?, "after\n");
        pod.remove().await?;
        containerd.close().await
    }
}
