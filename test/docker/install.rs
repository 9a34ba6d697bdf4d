//! `containerd-shim-wasm-v1 install` for Docker: a runtime of a short name, and back.

use std::process::{Command, Output};
use std::time::Instant;

use crate::{BOX, linux};
use medley_test::containerd::PATIENCE;
use medley_test::*;

/// Runs a command on this Docker. Others hold the lock of the machine's root for moments.
async fn run(docker: &Docker, verb: &str, more: &[&str]) -> Result<Output> {
    let dir = docker.dir();
    let mut command = Command::new(runtime::shim_path()?);
    let place = |option: &str, name: &str| format!("--{option}={}", dir.join(name).display());
    let dockerd = debian::docker()?.join("usr/sbin/dockerd");
    command
        .args([verb, "--distribution=docker"])
        .args([
            place("config", "daemon.json"),
            place("address", "d.sock"),
            place("state", "state"),
        ])
        .arg(format!("--containerd={}", dockerd.display()))
        .args([
            "--restart-with",
            &format!("kill -HUP $(cat {}/pid)", dir.display()),
        ])
        .args(more);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let done = command.output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        if !said.contains("another install or uninstall") || Instant::now() > deadline {
            return Ok(done);
        }
        tokio::task::yield_now().await;
    }
}

async fn done(docker: &Docker, verb: &str, more: &[&str]) -> Result<String> {
    let done = run(docker, verb, more).await?;
    ensure!(done.status.success(), "{verb}: {done:?}");
    Ok(String::from_utf8(done.stdout)?)
}

#[tokio::test]
async fn docker_gets_a_runtime_of_a_short_name_and_loses_it() -> Result<()> {
    Docker::with(Runtime::Medley, Storage::Snapshotter, async |docker| {
        docker.load(&[&linux()?]).await?;
        let file = docker.dir().join("daemon.json");
        let before = std::fs::read_to_string(&file)?;
        let bin = format!("--bin-dir={}", docker.dir().join("bin").display());
        let said = done(
            docker,
            "install",
            &[&bin, "--handler=wasm", "--handler=crun-wasmedge"],
        )
        .await?;
        assert!(!said.contains("was not checked"), "{said}");
        for runtime in ["wasm", "crun-wasmedge"] {
            let args = ["run", "--rm", "--runtime", runtime, BOX, "echo", "hello"];
            assert_eq!(docker.says(&args).await?, "hello", "{runtime}");
        }
        let said = done(docker, "install", &[]).await?;
        assert!(said.contains("nothing to change"), "{said}");
        // It is refused as long as a shim is on its way to its end.
        let ended = || docker.containerd().shims().is_empty();
        proc::until("the shims have ended", ended).await?;
        done(docker, "uninstall", &[]).await?;
        assert_eq!(std::fs::read_to_string(&file)?, before);
        assert!(!docker.dir().join("bin").exists() && !docker.dir().join("state").exists());
        let gone = docker
            .docker(&["run", "--rm", "--runtime", "wasm", BOX, "true"])
            .await?;
        assert!(gone.code != 0 && gone.err.contains("wasm"), "{}", gone.err);
        Ok(())
    })
    .await
}
