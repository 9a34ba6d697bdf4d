//! The shim of a pod is killed with SIGKILL.

use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// Sees a pod whose shim is dead as the kubelet would, which then removes it: its containers exited,
/// with their processes, and itself not ready.
pub(crate) async fn ended_with_its_shim(
    pod: Pod,
    containers: [CriContainer; 2],
    pids: [u32; 2],
) -> Result<()> {
    for container in &containers {
        let status = container.wait().await?;
        assert_ne!(status.exit_code, 0, "{}: {status:?}", container.name);
    }
    for left in (0..100).rev() {
        if !pod.is_ready().await? {
            break;
        }
        assert!(left > 0, "the pod is still ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for pid in pids {
        proc::until("its processes are gone", || !proc::is_alive(pid)).await?;
    }
    for container in containers {
        container.remove().await?;
    }
    pod.remove().await
}

async fn killed_under(options: Options, linux: &Image, other: &Image) -> Result<()> {
    let runtime = options.runtime;
    let containerd = Containerd::start_with(options).await?;
    containerd.import_cri(&[linux, other]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("crash", PodOptions::default())
        .await?;
    let main = pod.run(PodContainer::new("main", other)).await?;
    let side = pod.run(PodContainer::new("side", linux)).await?;
    main.wait_for_log("up").await?;
    side.wait_for_log("up").await?;
    let pids = [main.pid().await?, side.pid().await?];
    // A helper may be on its way out.
    let alone = || containerd.shims().len() == 1;
    proc::until("one shim serves the pod", alone).await?;
    let shims = containerd.shims();
    kill(Pid::from_raw(shims[0].pid), Signal::SIGKILL)?;
    ended_with_its_shim(pod, [main, side], pids).await?;
    if runtime == Runtime::Runc {
        // Its `delete` leaves the socket of the dead shim behind.
        for socket in containerd.leftovers().sockets() {
            std::fs::remove_file(socket)?;
        }
    }
    containerd.expect_clean()?;
    containerd.close().await
}

fn linux() -> Result<Image> {
    images::linux_builder("linux")?
        .entrypoint(["/bin/sh", "-c", "echo up; sleep 3600 & sleep 3600"])
        .build()
}

/// The containerd of Debian testing, which calls `delete` for a pod's sandbox alone.
fn containerd_2() -> Result<Options> {
    Ok(Options {
        binary: debian::containerd("testing")?,
        ..Options::new(Runtime::Medley)
    })
}

fn wasm() -> Result<Image> {
    images::wasm("sleep", &guests::module("sleep")?)
}

each_runtime! {
    async fn a_linux_pod_whose_shim_is_killed_leaves_nothing_behind(runtime: Runtime) -> Result<()> {
        killed_under(Options::new(runtime), &linux()?, &linux()?).await
    }
}

/// Not with runc, of which the containers may go on then: only the sandbox is deleted.
/// It leaves nothing behind.
#[tokio::test]
async fn a_linux_pod_whose_shim_is_killed_on_containerd_2() -> Result<()> {
    killed_under(containerd_2()?, &linux()?, &linux()?).await
}

#[tokio::test]
async fn a_mixed_pod_whose_shim_is_killed_leaves_nothing_behind() -> Result<()> {
    killed_under(Options::new(Runtime::Medley), &linux()?, &wasm()?).await
}

/// It leaves nothing behind.
#[tokio::test]
async fn a_mixed_pod_whose_shim_is_killed_on_containerd_2() -> Result<()> {
    killed_under(containerd_2()?, &linux()?, &wasm()?).await
}
