//! Wasm images under podman, and in one pod with Linux containers.

use crate::linux;
use medley_test::*;

/// The guest of this name as an image, as `FROM scratch` makes it.
fn guest(name: &str) -> Result<Image> {
    images::wasm(name, &guests::module(name)?)
}

podman_of! {
    [medley(Medley, Root)]
    async fn a_guest_runs_with_arguments_input_and_codes(podman: &Podman) -> Result<()> {
        podman.load(&[&guest("hello")?, &guest("exit")?, &guest("cat")?, &guest("env")?]).await?;
        let run = ["run", "--rm", "--network", "none"];
        let said = podman.says(&[&run[..], &["medley.test/hello", "a b", "c"]].concat()).await?;
        assert!(said.contains("a b"), "{said}");
        let said = podman.podman(&[&run[..], &["medley.test/exit", "42"]].concat()).await?;
        assert_eq!(said.code, 42, "{}", said.err);
        let said = podman.podman_reads("some words\n", &[&run[..], &["-i", "medley.test/cat"]].concat()).await?;
        assert_eq!(said.out, "some words\n", "{}", said.err);
        let env = podman.says(&[&run[..], &["-e", "COLOUR=red", "medley.test/env"]].concat()).await?;
        assert!(env.lines().any(|line| line == "COLOUR=red"), "{env}");
        let said = podman.podman(&[&run[..], &["--entrypoint", "/nope.wasm", "medley.test/hello"]].concat()).await?;
        assert_eq!(said.code, 127, "{}", said.err);
        Ok(())
    }

    async fn a_guest_is_stopped_and_started_again(podman: &Podman) -> Result<()> {
        podman.load(&[&guest("tick")?]).await?;
        podman.up("it", &["--network", "none", "medley.test/tick", "1000000", "20"]).await?;
        podman.until_says(&["logs", "it"], |said| said.contains("tick 3")).await?;
        podman.says(&["stop", "-t", "20", "it"]).await?;
        assert_eq!(podman.inspect("it", "{{.State.ExitCode}}").await?, "143");
        podman.says(&["start", "it"]).await?;
        podman.says(&["kill", "it"]).await?;
        assert_eq!(podman.says(&["wait", "it"]).await?, "137");
        Ok(())
    }

    async fn a_mixed_pod_of_a_manifest_runs_and_goes(podman: &Podman) -> Result<()> {
        podman.load(&[&linux()?, &guest("tick")?]).await?;
        let manifest = podman.dir().join("pod.yaml");
        std::fs::write(&manifest, include_str!("mixed-pod.yaml"))?;
        let manifest = manifest.to_string_lossy();
        podman.says(&["kube", "play", &manifest]).await?;
        podman.remember_pods().await?;
        podman.until_says(&["logs", "mixed-wasm"], |said| said.contains("tick 3")).await?;
        // Of the pod's network and host name.
        podman.until_says(&["logs", "mixed-asks"], |said| said.contains("a note")).await?;
        assert_eq!(podman.says(&["logs", "mixed-linux"]).await?, "mixed");
        podman.says(&["exec", "mixed-linux", "true"]).await?;
        podman.says(&["kube", "down", &manifest]).await?;
        assert_eq!(podman.says(&["ps", "-a", "-q"]).await?, "");
        Ok(())
    }
}
