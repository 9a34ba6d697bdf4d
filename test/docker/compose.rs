//! `docker compose`.

use crate::{BOX, linux};
use medley_test::*;

each_docker! {
    async fn compose_brings_services_up_in_order_and_takes_them_down(docker: &Docker) -> Result<()> {
        docker.load(&[&linux()?]).await?;
        let file = docker.dir().join("compose.yaml");
        let text = format!(
            r#"name: ours
services:
  web:
    image: {BOX}
    runtime: {runtime}
    command: [sh, -c, "cp /etc/note /srv/index.html; exec httpd -f -h /srv"]
    volumes: ["site:/srv"]
    healthcheck: {{test: [CMD, wget, -qO-, "http://127.0.0.1/"], interval: 1s, start_period: 5s, start_interval: 100ms}}
  client:
    image: {BOX}
    runtime: {runtime}
    command: [sh, -c, "wget -qO- http://web/ && exec sleep 3600"]
    depends_on: {{web: {{condition: service_healthy}}}}
    deploy: {{resources: {{limits: {{memory: 32M}}}}}}
    init: true
    stop_grace_period: 1s
volumes:
  site:
"#,
            runtime = docker.flag(),
        );
        std::fs::write(&file, text)?;
        let file = file.to_string_lossy();
        let compose = async |args: &[&str]| {
            docker.says(&[&["compose", "--file", &*file], args].concat()).await
        };
        compose(&["up", "--detach", "--wait"]).await?;
        docker.until_says(&["compose", "--file", &*file, "logs", "client"], |said| said.contains("a note")).await?;
        assert_eq!(compose(&["exec", "-T", "client", "echo", "hi"]).await?, "hi");
        compose(&["restart", "--timeout", "0", "client"]).await?;
        let running = compose(&["ps", "--services", "--status", "running"]).await?;
        assert_eq!(running.lines().count(), 2, "{running}");
        compose(&["down", "--volumes", "--timeout", "1"]).await?;
        docker.expect_clean()
    }
}

/// As documents of other shims have it: a shim by its runtime type, found by a link, and an image's platform.
#[tokio::test]
async fn a_wasm_service_runs_by_another_shims_name_and_platform() -> Result<()> {
    Docker::with(Runtime::Medley, Storage::Snapshotter, async |docker| {
        let image = ImageBuilder::scratch("wasi")
            .file("/hello.wasm", guests::module("hello")?, 0o644)
            .entrypoint(["/hello.wasm"])
            .platform("wasi", "wasm")
            .build()?;
        docker.load(&[&image]).await?;
        let link = docker
            .dir()
            .with_file_name("bin")
            .join("containerd-shim-wasmtime-v1");
        std::os::unix::fs::symlink(Runtime::Medley.binary(), link)?;
        let file = docker.dir().join("compose.yaml");
        let text = r#"name: ours
services:
  server:
    image: medley.test/wasi
    runtime: io.containerd.wasmtime.v1
    platform: wasi/wasm
    command: [word]
"#;
        std::fs::write(&file, text)?;
        let file = file.to_string_lossy();
        let said = docker
            .says(&[
                "compose",
                "--file",
                &file,
                "up",
                "--exit-code-from",
                "server",
            ])
            .await?;
        assert!(said.contains("word"), "{said}");
        docker.says(&["compose", "--file", &file, "down"]).await?;
        let run = [
            "run",
            "--rm",
            "--runtime=io.containerd.wasmtime.v1",
            "--platform=wasi/wasm",
            "medley.test/wasi",
            "again",
        ];
        let said = docker.says(&run).await?;
        assert!(said.contains("again"), "{said}");
        docker.expect_clean()
    })
    .await
}
