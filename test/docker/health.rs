//! Healthchecks.

use crate::{BOX, linux};
use medley_test::*;

each_docker! {
    async fn a_healthcheck_follows_what_its_command_says(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let check = ["--health-cmd", "echo looked; test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "2"];
        docker.up("it", &[&check[..], &[BOX, "sleep", "3600"]].concat()).await?;
        let status = "{{.State.Health.Status}}";
        docker.until("it", status, "unhealthy").await?;
        docker.exec_says(&["it", "touch", "/tmp/well"]).await?;
        docker.until("it", status, "healthy").await?;
        let log = docker.inspect("it", "{{(index .State.Health.Log 0).Output}}").await?;
        assert_eq!(log, "looked");
        docker.says(&["stop", "-t", "0", "it"]).await?;
        docker.expect_clean()
    }

    async fn a_healthcheck_that_hangs_is_killed(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let check = ["--health-cmd", "sleep 3333", "--health-interval", "100ms", "--health-timeout", "300ms", "--health-retries", "1"];
        docker.up("it", &[&check[..], &[BOX, "sleep", "3600"]].concat()).await?;
        docker.until("it", "{{.State.Health.Status}}", "unhealthy").await?;
        let code = docker.inspect("it", "{{(index .State.Health.Log 0).ExitCode}}").await?;
        assert_eq!(code, "-1");
        Ok(())
    }
}
