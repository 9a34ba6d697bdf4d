//! Pods, and those that a manifest of Kubernetes describes.

use crate::{BOX, linux};
use medley_test::*;

each_podman! {
    async fn containers_of_a_pod_share_its_network(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?]).await?;
        podman.says(&["pod", "create", "--name", "pod", "-p", "8080:80"]).await?;
        podman.remember_pods().await?;
        let serve = "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www";
        podman.up("server", &["--pod", "pod", BOX, "sh", "-c", serve]).await?;
        let ask = "until wget -qO- http://127.0.0.1/; do sleep 0.05; done";
        let said = podman.says(&["run", "--rm", "--pod", "pod", BOX, "sh", "-c", ask]).await?;
        assert_eq!(said.lines().last(), Some("served"));
        let shared = async |name: &str| podman.says(&["exec", name, "readlink", "/proc/self/ns/ipc"]).await;
        podman.up("other", &["--pod", "pod", BOX, "sleep", "3600"]).await?;
        assert_eq!(shared("server").await?, shared("other").await?);
        podman.says(&["pod", "stop", "-t", "0", "pod"]).await?;
        podman.says(&["pod", "start", "pod"]).await?;
        assert_eq!(podman.says(&["exec", "other", "echo", "again"]).await?, "again");
        podman.says(&["pod", "rm", "-f", "-t", "0", "pod"]).await?;
        assert_eq!(podman.says(&["ps", "-a", "-q"]).await?, "");
        Ok(())
    }
}
