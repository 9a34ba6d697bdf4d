//! The shim is killed.

use crate::{BOX, linux};
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn kill_shim(docker: &Docker) -> Result<()> {
    let shims = docker.containerd().shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    Ok(kill(Pid::from_raw(shims[0].pid), Signal::SIGKILL)?)
}

/// runc's `delete` leaves the socket of the dead shim behind.
fn forgive_runc(docker: &Docker) -> Result<()> {
    if docker.runtime() == Runtime::Runc {
        docker.expect_clean().ok();
        for socket in docker.containerd().leftovers().sockets() {
            std::fs::remove_file(socket)?;
        }
    }
    Ok(())
}

each_docker_and_storage! {
    async fn a_container_whose_shim_is_killed_is_stopped_and_starts_again(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &[BOX, "sh", "-c", "sleep 3600 & exec sleep 3600"]).await?;
        let pid = docker.pid_of("it").await?;
        kill_shim(docker)?;
        docker.until("it", "{{.State.Status}} {{.State.ExitCode}}", "exited 137").await?;
        proc::until("init is gone", || !proc::is_alive(pid)).await?;
        forgive_runc(docker)?;
        docker.expect_clean()?;
        docker.says(&["start", "it"]).await?;
        assert_eq!(docker.exec_says(&["it", "echo", "again"]).await?, "again");
        docker.says(&["restart", "-t", "0", "it"]).await?;
        assert_eq!(docker.exec_says(&["it", "echo", "again"]).await?, "again");
        Ok(())
    }

    async fn the_restart_policy_holds_for_a_killed_shim(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        docker.up("it", &["--restart", "always", BOX, "sleep", "3600"]).await?;
        for round in 1..=3 {
            let pid = docker.pid_of("it").await?;
            kill_shim(docker)?;
            let expected = format!("running {round}");
            docker.until("it", "{{.State.Status}} {{.RestartCount}}", &expected).await?;
            assert!(!proc::is_alive(pid));
            assert_eq!(docker.exec_says(&["it", "echo", "again"]).await?, "again");
        }
        docker.says(&["rm", "-f", "it"]).await?;
        forgive_runc(docker)
    }
}
