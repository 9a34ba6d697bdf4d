//! Containers in the background: logs, stops, starts, restarts, pauses.

use crate::{BOX, linux};
use medley_test::*;

each_podman_and_user! {
    async fn a_container_is_stopped_started_and_removed(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done";
        podman.up("it", &["--network", "none", BOX, "sh", "-c", script]).await?;
        podman.until_says(&["logs", "it"], |said| said == "up\n").await?;
        podman.says(&["stop", "-t", "20", "it"]).await?;
        assert_eq!(podman.inspect("it", "{{.State.Status}} {{.State.ExitCode}}").await?, "exited 7");
        assert_eq!(podman.says(&["logs", "it"]).await?, "up\nbye");
        podman.says(&["start", "it"]).await?;
        podman.until_says(&["logs", "it"], |said| said == "up\nbye\nup\n").await?;
        podman.says(&["kill", "-s", "KILL", "it"]).await?;
        assert_eq!(podman.says(&["wait", "it"]).await?, "137");
        podman.says(&["restart", "-t", "0", "it"]).await?;
        assert_eq!(podman.inspect("it", "{{.State.Status}}").await?, "running");
        podman.says(&["rm", "-f", "-t", "0", "it"]).await?;
        assert_eq!(podman.says(&["ps", "-a", "-q"]).await?, "");
        Ok(())
    }

    async fn one_that_does_not_stop_is_killed(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
        podman.up("it", &["--network", "none", BOX, "sh", "-c", script]).await?;
        podman.until_says(&["logs", "it"], |said| said == "up\n").await?;
        podman.says(&["stop", "-t", "1", "it"]).await?;
        assert_eq!(podman.inspect("it", "{{.State.ExitCode}}").await?, "137");
        Ok(())
    }
}

each_podman! {
    async fn one_that_fails_is_started_again_as_asked(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        podman.up("it", &["--network", "none", "--restart", "on-failure:2", BOX, "sh", "-c", "echo run; exit 3"]).await?;
        podman.until_says(&["logs", "it"], |said| said == "run\nrun\nrun\n").await?;
        podman.until_says(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "it"], |said| said == "exited 3\n").await?;
        Ok(())
    }

    async fn a_container_is_paused_and_goes_on(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        podman.up("it", &["--network", "none", BOX, "sleep", "3600"]).await?;
        podman.says(&["pause", "it"]).await?;
        assert_eq!(podman.inspect("it", "{{.State.Status}}").await?, "paused");
        podman.says(&["unpause", "it"]).await?;
        assert_eq!(podman.says(&["exec", "it", "echo", "still"]).await?, "still");
        Ok(())
    }
}
