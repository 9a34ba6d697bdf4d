//! Healthchecks. Their timer is systemd's, so the tests run them themselves.

use crate::{BOX, linux};
use medley_test::*;

each_podman_and_user! {
    async fn a_healthcheck_follows_what_its_command_says(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        let check = ["--network", "none", "--health-cmd", "test -e /tmp/well", "--health-retries", "1"];
        podman.up("it", &[&check[..], &[BOX, "sleep", "3600"]].concat()).await?;
        let run = async || podman.podman(&["healthcheck", "run", "it"]).await;
        let status = async || podman.inspect("it", "{{.State.Health.Status}}").await;
        assert_eq!(run().await?.code, 1);
        assert_eq!(status().await?, "unhealthy");
        podman.says(&["exec", "it", "touch", "/tmp/well"]).await?;
        assert_eq!(run().await?.code, 0);
        assert_eq!(status().await?, "healthy");
        Ok(())
    }
}
