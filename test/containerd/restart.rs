//! containerd is killed and started again; shims and containers stay.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::io::Write;

/// A container that exits with 42 while no containerd is there.
async fn exits_in_between(runtime: Runtime, image: &Image, args: &[&str]) -> Result<()> {
    let mut containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    let client = containerd.client().await?;
    let spec = client
        .spec(image, "it")
        .args(args.iter().copied())
        .bind(&volume, "/vol", false);
    let container = client.create("it", image, spec).await?;
    let mut task = container.start(Stdin::None).await?;
    let pid = task.pid;
    containerd
        .restart_after(async || {
            std::fs::write(volume.join("question"), "x")?;
            proc::until("it has exited", || !proc::is_alive(pid)).await
        })
        .await?;
    // The first call may still meet the connection to the old one.
    let mut status = task.status().await;
    for _ in 0..100 {
        if status
            .as_ref()
            .is_ok_and(|status| status.as_str_name() == "STOPPED")
        {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        status = task.status().await;
    }
    assert_eq!(status?.as_str_name(), "STOPPED");
    assert_eq!(task.wait().await?, 42);
    task.output().await?;
    assert_eq!(task.delete().await?, 42);
    container.delete().await?;
    containerd.close().await
}

/// `cat`, whose input stays open although both its writer and containerd go in between.
async fn input_stays_open(runtime: Runtime, image: &Image, args: &[&str]) -> Result<()> {
    let mut containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(image, "it").args(args.iter().copied());
    let container = client.create("it", image, spec).await?;
    let mut task = container.start(Stdin::Open).await?;
    task.stdin().await?.write_all(b"before\n")?;
    let pid = task.pid;
    containerd
        .restart_after(async || {
            let settled = || !proc::is_alive(pid) || proc::rests(pid);
            proc::until("it reads on or has ended", settled).await?;
            assert!(
                proc::is_alive(pid),
                "it took the restart for the end of its input"
            );
            Ok(())
        })
        .await?;
    task.stdin().await?.write_all(b"after\n")?;
    let mut closed = task.close_stdin().await;
    for _ in 0..100 {
        if closed.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        closed = task.close_stdin().await;
    }
    closed?;
    assert_eq!(task.wait().await?, 0);
    assert_eq!(task.output().await?.0, "before\nafter\n");
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

each_runtime! {
    async fn a_linux_exit_code_while_containerd_is_down_is_not_lost(runtime: Runtime) -> Result<()> {
        let script = "until [ -e /vol/question ]; do sleep 0.02; done; exit 42";
        exits_in_between(runtime, &images::linux()?, &["/bin/sh", "-c", script]).await
    }

    async fn linux_input_stays_open_over_a_restart_of_containerd(runtime: Runtime) -> Result<()> {
        input_stays_open(runtime, &images::linux()?, &["/bin/cat"]).await
    }
}

#[tokio::test]
async fn a_wasm_exit_code_while_containerd_is_down_is_not_lost() -> Result<()> {
    let image = images::wasm("await", &guests::module("await")?)?;
    exits_in_between(
        Runtime::Medley,
        &image,
        &["/await.wasm", "/vol/question", "42"],
    )
    .await
}

#[tokio::test]
async fn wasm_input_stays_open_over_a_restart_of_containerd() -> Result<()> {
    let image = images::wasm("cat", &guests::module("cat")?)?;
    input_stays_open(Runtime::Medley, &image, &["/cat.wasm"]).await
}
