//! dockerd goes and comes back; containers stay, as `live-restore` has it.

use crate::{BOX, linux};
use medley_test::*;

const TICKS: &str = "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.05; done";

each_docker_and_storage! {
    async fn containers_run_on_while_dockerd_is_restarted(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["-p", "8080:80", BOX, "sh", "-c", TICKS]).await?;
        let pid = docker.pid_of("it").await?;
        for _ in 0..2 {
            docker.restart_after(async || {
                assert!(proc::is_alive(pid));
                Ok(())
            }).await?;
            assert_eq!(docker.pid_of("it").await?, pid);
        }
        let last = |said: &str| said.lines().last().unwrap_or_default().to_owned();
        let seen = last(&docker.says(&["logs", "it"]).await?);
        docker.until_says(&["logs", "it"], |said| last(said) != seen).await?;
        assert_eq!(docker.exec_says(&["it", "echo", "still"]).await?, "still");
        docker.says(&["restart", "-t", "0", "it"]).await?;
        docker.says(&["stop", "-t", "0", "it"]).await?;
        assert_eq!(docker.inspect("it", "{{.State.ExitCode}}").await?, "137");
        Ok(())
    }

    async fn an_end_without_dockerd_is_told_when_it_is_back(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let script = "until [ -e /tmp/go ]; do sleep 0.02; done; echo done; exit 42";
        docker.up("it", &[BOX, "sh", "-c", script]).await?;
        let pid = docker.pid_of("it").await?;
        docker.killed(async || {
            std::fs::write(format!("/proc/{pid}/root/tmp/go"), "")?;
            proc::until("it has ended", || !proc::is_alive(pid)).await
        }).await?;
        docker.until("it", "{{.State.Status}} {{.State.ExitCode}}", "exited 42").await?;
        docker.says(&["start", "it"]).await?;
        assert_eq!(docker.says(&["wait", "it"]).await?, "42");
        docker.says(&["rm", "it"]).await?;
        docker.expect_clean()
    }
}
