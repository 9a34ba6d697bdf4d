//! Restart policies.

use crate::{BOX, linux};
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const COUNT: &str = "{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}";

each_docker! {
    async fn on_failure_starts_again_as_often_as_it_may(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let policy = ["--restart", "on-failure:3", BOX, "sh", "-c"];
        docker.up("fails", &[&policy[..], &["exit 3"]].concat()).await?;
        docker.until("fails", COUNT, "exited 3 3").await?;
        docker.up("ends", &[&policy[..], &["exit 0"]].concat()).await?;
        docker.until("ends", COUNT, "exited 0 0").await
    }

    async fn always_starts_again_after_a_kill_but_not_after_a_stop(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["--restart", "always", BOX, "sleep", "3600"]).await?;
        for round in 1..=3 {
            let pid = docker.pid_of("it").await?;
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
            docker.until("it", COUNT, &format!("running {round} 0")).await?;
        }
        docker.says(&["stop", "-t", "0", "it"]).await?;
        assert_eq!(docker.inspect("it", COUNT).await?, "exited 3 137");
        docker.expect_clean()
    }

    async fn unless_stopped_stays_down_over_a_restart_of_dockerd(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        for policy in ["always", "unless-stopped"] {
            docker.up(policy, &["--restart", policy, BOX, "sleep", "3600"]).await?;
            docker.says(&["stop", "-t", "0", policy]).await?;
        }
        docker.restart_after(async || Ok(())).await?;
        docker.until("always", "{{.State.Status}}", "running").await?;
        assert_eq!(docker.inspect("unless-stopped", "{{.State.Status}}").await?, "exited");
        Ok(())
    }
}
