//! The shim is killed with SIGKILL while its container runs.

use containerd_client::tonic::Code;
use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message;
use medley_test::shim::Bench;
use medley_test::stdio::Stdin;
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

async fn killed_under(runtime: Runtime, image: &Image) -> Result<()> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let events = client.events().await?;
    let container = client.create("it", image, client.spec(image, "it")).await?;
    let task = container.start(Stdin::None).await?;
    let shims = containerd.shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    kill(Pid::from_raw(shims[0].pid), Signal::SIGKILL)?;
    // containerd notices by itself, and has `delete` clean up.
    assert_eq!(events.wait_for("it", "exit").await?.status, Some(137));
    events.wait_for("it", "delete").await?;
    for left in (0..100).rev() {
        match task.status().await {
            Err(error) if client::code(&error) == Some(Code::NotFound) => break,
            answer => assert!(left > 0, "the task is still there: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proc::until("init is gone", || !proc::is_alive(task.pid)).await?;
    container.delete().await?;
    if runtime == Runtime::Runc {
        // Its `delete` leaves the socket of the dead shim behind.
        for socket in containerd.leftovers().sockets() {
            std::fs::remove_file(socket)?;
        }
    }
    containerd.expect_clean()?;

    // And the same id may be used again.
    let container = client.create("it", image, client.spec(image, "it")).await?;
    container.start(Stdin::None).await?.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

fn linux() -> Result<Image> {
    images::linux_builder("linux")?
        .entrypoint(["/bin/sh", "-c", "sleep 3600 & sleep 3600"])
        .build()
}

each_runtime! {
    async fn a_linux_container_whose_shim_is_killed_leaves_nothing_behind(runtime: Runtime) -> Result<()> {
        killed_under(runtime, &linux()?).await
    }
}

#[tokio::test]
async fn a_wasm_container_whose_shim_is_killed_leaves_nothing_behind() -> Result<()> {
    killed_under(
        Runtime::Medley,
        &images::wasm("sleep", &guests::module("sleep")?)?,
    )
    .await
}

/// It leaves nothing behind.
#[tokio::test]
async fn a_container_whose_shim_is_killed_without_pid_namespace() -> Result<()> {
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, linux()?).await?;
    let events = client.events().await?;
    let spec = client.spec(&image, "it").edit(|json| {
        if let Some(all) = json["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != "pid");
        }
    });
    let container = client.create("it", &image, spec).await?;
    let _task = container.start(Stdin::None).await?;
    kill(Pid::from_raw(containerd.shims()[0].pid), Signal::SIGKILL)?;
    events.wait_for("it", "delete").await?;
    container.delete().await?;
    containerd.expect_clean()?;
    containerd.close().await
}

/// Kills the shim of a bundle in a given moment of its life, and runs `delete` by hand.
async fn delete_by_hand(image: &Image, started: bool) -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let bundle = bench.bundle("it", image)?;
    let spec = Spec::of(image, bench.namespace(), "it");
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    let shim = bench.start("it", &bundle).await?;
    let stdio = bench.stdio("it", Stdin::None)?;
    let init = shim.create("it", &bundle, &stdio).await?;
    if started {
        shim.start("it").await?;
    }
    let (pid, _) = shim.pids("it").await?;
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
    proc::until("the shim is dead", || !proc::is_alive(pid)).await?;
    let done = bench.command("it", &bundle, "delete").await?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{stderr}");
    let answer = DeleteResponse::parse_from_bytes(&done.stdout)?;
    assert_eq!((answer.exit_status, answer.pid), (137, init));
    assert!(answer.exited_at.seconds > 1_600_000_000, "{answer:?}");
    assert!(!proc::is_alive(init), "init is still there");
    // A second time, as after a containerd that was killed in between.
    let again = bench.command("it", &bundle, "delete").await?;
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    bench.close().await
}

/// It also cleans.
#[tokio::test]
async fn delete_of_a_linux_bundle_without_shim_answers_137() -> Result<()> {
    delete_by_hand(&linux()?, true).await
}

/// It also cleans.
#[tokio::test]
async fn delete_of_a_wasm_bundle_without_shim_answers_137() -> Result<()> {
    delete_by_hand(&images::wasm("sleep", &guests::module("sleep")?)?, true).await
}

/// It was not started; Delete also cleans.
#[tokio::test]
async fn delete_of_a_created_bundle_without_shim_answers_137() -> Result<()> {
    delete_by_hand(&linux()?, false).await
}
