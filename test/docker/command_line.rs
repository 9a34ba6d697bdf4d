//! Medley's command line as a runtime of Docker, by its path (`--add-runtime`).

use crate::{BOX, linux};
use medley_test::*;

/// What chooses it, as the tests' dockerd is configured.
const BY: [&str; 2] = ["--runtime", "command-line"];

async fn linux_containers(docker: &Docker) -> Result<()> {
    docker.load(&[&linux()?]).await?;
    let run = async |args: &[&str]| {
        docker
            .docker(&[&["run", "--rm"], &BY[..], args].concat())
            .await
    };
    let said = run(&["-m", "64m", BOX, "sh", "-c", "echo out; exit 42"]).await?;
    assert_eq!(
        (said.code, said.out.as_str()),
        (42, "out\n"),
        "{}",
        said.err
    );
    assert_eq!(run(&[BOX, "nope"]).await?.code, 127);
    assert_eq!(run(&[BOX, "/etc/note"]).await?.code, 126);
    docker
        .says(
            &[
                &["run", "-d", "--name", "it"],
                &BY[..],
                &[BOX, "sleep", "3600"],
            ]
            .concat(),
        )
        .await?;
    assert_eq!(docker.exec_says(&["it", "echo", "in"]).await?, "in");
    assert_eq!(docker.exec(&["it", "nope"]).await?.code, 127);
    let top = docker.says(&["top", "it"]).await?;
    assert!(top.contains("sleep 3600"), "{top}");
    docker.says(&["pause", "it"]).await?;
    docker.says(&["unpause", "it"]).await?;
    docker.says(&["update", "--cpus", "0.5", "it"]).await?;
    docker.says(&["restart", "-t", "0", "it"]).await?;
    docker.says(&["stop", "-t", "0", "it"]).await?;
    assert_eq!(docker.inspect("it", "{{.State.ExitCode}}").await?, "137");
    docker.says(&["rm", "it"]).await?;
    docker.expect_clean()
}

#[tokio::test]
async fn linux_containers_live_by_it() -> Result<()> {
    Docker::with(Runtime::Runc, Storage::Snapshotter, linux_containers).await
}

#[tokio::test]
async fn a_guest_runs_by_it() -> Result<()> {
    Docker::with(
        Runtime::Runc,
        Storage::Snapshotter,
        async |docker: &Docker| {
            docker
                .load(&[&images::wasm("exit", &guests::module("exit")?)?])
                .await?;
            let said = docker
                .docker(&[&["run", "--rm"], &BY[..], &["medley.test/exit", "42"]].concat())
                .await?;
            assert_eq!(said.code, 42, "{}", said.err);
            Ok(())
        },
    )
    .await
}
