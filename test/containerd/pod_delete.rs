//! `delete` for a pod whose shim was killed. With task API 3 containerd calls it for the pod alone,
//! and `start` too: all that is there of the pod's containers has to go with it.

use containerd_shim_protos::sandbox_api::{
    CreateSandboxRequest, CreateSandboxResponse, StartSandboxRequest, StartSandboxResponse,
};
use medley_test::shim::{Bench, Shim};
use medley_test::stdio::{Stdin, Stdio};
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};

const SANDBOX: &str = "containerd.runtime.sandbox.v1.Sandbox";

/// The annotation by which a container belongs to a pod.
const POD: &str = "io.kubernetes.cri.sandbox-id";

/// Makes and starts a container of the pod `pod` in a bundle of its own.
async fn container(bench: &Bench, shim: &Shim, id: &str, image: &Image) -> Result<(u32, Stdio)> {
    let bundle = bench.bundle(id, image)?;
    write_spec(bench, &bundle, id, image)?;
    let stdio = bench.stdio(id, Stdin::None)?;
    let pid = shim.create(id, &bundle, &stdio).await?;
    shim.start(id).await?;
    Ok((pid, stdio))
}

fn write_spec(bench: &Bench, bundle: &Path, id: &str, image: &Image) -> Result<()> {
    let spec = Spec::of(image, bench.namespace(), id).annotation(POD, "pod");
    Ok(std::fs::write(
        bundle.join("config.json"),
        spec.json().to_string(),
    )?)
}

/// Kills the shim, runs `delete` for the pod, and sees everybody gone.
async fn delete_all(bench: Bench, shim: Shim, bundle: PathBuf, inits: &[u32]) -> Result<()> {
    let (pid, _) = shim.pids("pod").await?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
    proc::until("the shim is dead", || !proc::is_alive(pid)).await?;
    let done = bench.command("pod", &bundle, "delete").await?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{stderr}");
    for init in inits {
        assert!(!proc::is_alive(*init), "process {init} is still there");
    }
    bench.close().await
}

fn images() -> Result<[Image; 2]> {
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/sh", "-c", "sleep 3600 & sleep 3600"])
        .build()?;
    Ok([linux, images::wasm("sleep", &guests::module("sleep")?)?])
}

/// Of a pod that has a pause container.
#[tokio::test]
async fn delete_of_a_pod_with_pause_takes_its_containers_along() -> Result<()> {
    let [linux, wasm] = images()?;
    let bench = Bench::new(Runtime::Medley).await?;
    let bundle = bench.bundle("pod", &linux)?;
    write_spec(&bench, &bundle, "pod", &linux)?;
    let shim = bench.start("pod", &bundle).await?;
    let stdio = bench.stdio("pod", Stdin::None)?;
    let pause = shim.create("pod", &bundle, &stdio).await?;
    shim.start("pod").await?;
    let (one, _stdio) = container(&bench, &shim, "one", &linux).await?;
    let (two, _stdio) = container(&bench, &shim, "two", &wasm).await?;
    delete_all(bench, shim, bundle, &[pause, one, two]).await
}

/// Of a pod that has no pause container.
#[tokio::test]
async fn delete_of_a_pod_without_pause_takes_its_containers_along() -> Result<()> {
    let [linux, wasm] = images()?;
    let bench = Bench::new(Runtime::Medley).await?;
    // Neither a spec nor a rootfs.
    let bundle = bench.bundle("pod", &linux)?;
    std::fs::remove_dir_all(bundle.join("rootfs"))?;
    let shim = bench.start("pod", &bundle).await?;
    let sandbox = shim.clone().speaking(SANDBOX);
    let create = CreateSandboxRequest {
        sandbox_id: "pod".to_owned(),
        bundle_path: bundle.to_string_lossy().into_owned(),
        ..Default::default()
    };
    sandbox
        .call::<_, CreateSandboxResponse>("CreateSandbox", &create)
        .await?;
    let start = StartSandboxRequest {
        sandbox_id: "pod".to_owned(),
        ..Default::default()
    };
    let started = sandbox
        .call::<_, StartSandboxResponse>("StartSandbox", &start)
        .await?;
    assert_eq!(started.pid, shim.pids("pod").await?.0);
    let (one, _stdio) = container(&bench, &shim, "one", &linux).await?;
    let (two, _stdio) = container(&bench, &shim, "two", &wasm).await?;
    delete_all(bench, shim, bundle, &[one, two]).await
}
