//! A container's life: start, stop, restart, kill, pause, rename, remove.

use crate::{BOX, linux};
use medley_test::*;

/// Says that it is ready, and ends with 7 on SIGTERM, with 8 on SIGUSR1.
const HEARS: &str =
    "trap 'exit 7' TERM; trap 'exit 8' USR1; echo ready; while :; do sleep 0.05; done";

async fn ready(docker: &Docker, times: usize) -> Result<()> {
    let is_so = |said: &str| said.matches("ready").count() >= times;
    docker.until_says(&["logs", "it"], is_so).await.map(drop)
}

each_docker_and_storage! {
    async fn a_container_is_stopped_started_and_removed(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &[BOX, "sh", "-c", HEARS]).await?;
        ready(docker, 1).await?;
        docker.says(&["stop", "it"]).await?;
        let state = "{{.State.Status}} {{.State.ExitCode}}";
        assert_eq!(docker.inspect("it", state).await?, "exited 7");
        docker.expect_clean()?;
        docker.says(&["start", "it"]).await?;
        ready(docker, 2).await?;
        docker.says(&["kill", "--signal", "USR1", "it"]).await?;
        assert_eq!(docker.says(&["wait", "it"]).await?, "8");
        docker.says(&["start", "it"]).await?;
        docker.says(&["kill", "it"]).await?;
        assert_eq!(docker.says(&["wait", "it"]).await?, "137");
        let said = docker.docker_reads("words\n", &["start", "-ai", "it"]);
        let (said, _) = tokio::join!(said, async {
            ready(docker, 4).await?;
            docker.says(&["stop", "it"]).await
        });
        assert_eq!(said?.code, 7);
        docker.says(&["rename", "it", "other"]).await?;
        docker.says(&["start", "other"]).await?;
        assert_eq!(docker.exec_says(&["other", "echo", "again"]).await?, "again");
        docker.says(&["rm", "-f", "other"]).await?;
        docker.expect_clean()
    }

    async fn one_that_ignores_its_signal_is_killed_in_the_end(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["--stop-signal", "USR2", BOX, "sleep", "3600"]).await?;
        docker.says(&["stop", "-t", "1", "it"]).await?;
        assert_eq!(docker.inspect("it", "{{.State.ExitCode}}").await?, "137");
        Ok(())
    }

    async fn a_container_is_restarted_many_times_with_its_files(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "echo x >> /tmp/count; exec sleep 3600";
        docker.up("it", &[BOX, "sh", "-c", script]).await?;
        for round in 2..=restarts() + 1 {
            docker.says(&["restart", "-t", "0", "it"]).await?;
            let count = ["exec", "it", "wc", "-l", "/tmp/count"];
            let expected = format!("{round} /tmp/count");
            docker.until_says(&count, |said| said.trim() == expected).await?;
        }
        assert_eq!(docker.inspect("it", "{{.State.Running}}").await?, "true");
        Ok(())
    }

    async fn a_paused_container_stands_still(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "while :; do echo x >> /tmp/count; sleep 0.01; done";
        docker.up("it", &["-v", "/tmp", BOX, "sh", "-c", script]).await?;
        docker.says(&["pause", "it"]).await?;
        assert_eq!(docker.inspect("it", "{{.State.Status}}").await?, "paused");
        let pid = docker.pid_of("it").await?;
        let size = || Ok::<_, Error>(std::fs::metadata(format!("/proc/{pid}/root/tmp/count"))?.len());
        let before = size()?;
        proc::spend(30);
        assert_eq!(size()?, before);
        docker.says(&["unpause", "it"]).await?;
        proc::until("it goes on", || size().is_ok_and(|size| size > before)).await?;
        docker.says(&["pause", "it"]).await?;
        docker.says(&["rm", "-f", "it"]).await?;
        docker.expect_clean()
    }

    async fn a_created_container_is_removed_without_a_start(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let create = ["create", "--name", "it", "--runtime", docker.flag(), BOX, "true"];
        docker.says(&create).await?;
        docker.says(&["rm", "it"]).await?;
        docker.says(&create).await?;
        docker.says(&["start", "-a", "it"]).await?;
        docker.says(&["rm", "it"]).await?;
        docker.expect_clean()
    }
}

/// How often: `$MEDLEY_RESTARTS`, else enough to find what breaks at every one.
pub(crate) fn restarts() -> usize {
    let wanted = std::env::var("MEDLEY_RESTARTS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(10)
}
