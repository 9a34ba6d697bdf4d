//! containerd is restarted under a pod.

use medley_test::containerd::PATIENCE;
use medley_test::*;
use std::time::{Duration, Instant};

const TICKS: usize = 150;

/// The containerd of Debian testing, a 2.x.
fn containerd_2(runtime: Runtime) -> Result<Options> {
    Ok(Options {
        binary: debian::containerd("testing")?,
        ..Options::new(runtime)
    })
}

/// The same container, told by the new containerd, which recovers in the background.
async fn found_again(containerd: &Containerd, lost: &CriContainer) -> Result<CriContainer> {
    let container = containerd.cri().await?.container_of(lost);
    let deadline = Instant::now() + PATIENCE;
    while container.status().await.is_err() {
        ensure!(
            Instant::now() < deadline,
            "{} is not found again",
            lost.name
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(container)
}

/// How often a process has written.
fn writes(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let mut lines = io.lines().filter_map(|line| line.strip_prefix("syscw: "));
    lines
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(0)
}

/// A container that prints `tick 0` to `tick 149` within some three seconds.
async fn prints_on(options: Options, image: &Image, container: PodContainer) -> Result<()> {
    let mut containerd = Containerd::start_with(options).await?;
    containerd.import_cri(&[image]).await?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("ticks", PodOptions::default()).await?;
    let ticker = pod.run(container).await?;
    ticker.wait_for_log("tick 9").await?;
    let pid = ticker.pid().await?;
    containerd
        .restart_after(async || {
            let before = writes(pid);
            proc::until("it prints, though no one reads", || {
                writes(pid) > before + 20
            })
            .await?;
            assert!(proc::is_alive(pid), "it did not outlive containerd");
            Ok(())
        })
        .await?;
    let expected: String = (0..TICKS).map(|tick| format!("tick {tick}\n")).collect();
    ticker.wait_for_log(&format!("tick {}", TICKS - 1)).await?;
    ticker.expect_stdout(&expected).await?;
    found_again(&containerd, &ticker)
        .await?
        .ends_with(0)
        .await?;
    containerd.close().await
}

fn ticking_shell(image: &Image) -> PodContainer {
    let script =
        format!("i=0; while [ $i -lt {TICKS} ]; do echo tick $i; i=$((i+1)); sleep 0.02; done");
    PodContainer::new("ticker", image).command(["/bin/sh", "-c", &script])
}

fn ticking_guest(image: &Image) -> PodContainer {
    PodContainer::new("ticker", image).args([&TICKS.to_string(), "20"])
}

/// A container that ends with 42, and one that says more than a pipe holds, while no containerd is
/// there to hear of it or to read; and one beside them that just stays.
async fn ends_in_between(options: Options) -> Result<()> {
    // Twice of what a pipe holds.
    const LINES: usize = 4096;
    const LINE: &str = "0123456789abcdef0123456789abcdef";
    let mut containerd = Containerd::start_with(options).await?;
    let image = images::linux()?;
    containerd.import_cri(&[&image]).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("between", PodOptions::default()).await?;
    let shell = |name: &str, script: &str| {
        PodContainer::new(name, &image)
            .command(["/bin/sh", "-c", script])
            .volume(&volume, "/vol", false)
    };
    let wait = "until [ -e /vol/go ]; do sleep 0.02; done";
    let quiet = pod
        .run(shell("quiet", &format!("{wait}; echo last words; exit 42")))
        .await?;
    // It goes on until it was heard: containerd 1.6 may lose the end of what is said at once.
    let heard = "until [ -e /vol/end ]; do sleep 0.02; done";
    let loud = format!("{wait}; yes {LINE} | head -n {LINES}; {heard}; exit 43");
    let loud = pod.run(shell("loud", &loud)).await?;
    let stays = pod.run(shell("stays", "exec sleep 3600")).await?;
    let (quiet_pid, stays_pid) = (quiet.pid().await?, stays.pid().await?);
    containerd
        .restart_after(async || {
            std::fs::write(volume.join("go"), "")?;
            proc::until("it has exited", || !proc::is_alive(quiet_pid)).await
        })
        .await?;
    let quiet = found_again(&containerd, &quiet).await?;
    if containerd.log().contains("cleaning leaked shim process") {
        // containerd 2 deletes a task of runc's that has no processes as one that was lost.
        assert_eq!(containerd.runtime(), Runtime::Runc);
        quiet.ends_with(255).await?;
    } else {
        quiet.ends_with(42).await?;
        // It may delete the task, and close what it would read from, before it has begun to read.
        if !containerd.log().contains("reading from a closed fifo") {
            quiet.expect_stdout("last words\n").await?;
        }
    }
    let loud = found_again(&containerd, &loud).await?;
    loud.expect_stdout(&format!("{LINE}\n").repeat(LINES))
        .await?;
    std::fs::write(volume.join("end"), "")?;
    loud.ends_with(43).await?;
    // The one that stays is what it was, for every call.
    let stays = found_again(&containerd, &stays).await?;
    assert_eq!(stays.pid().await?, stays_pid);
    assert_eq!(
        stays.exec_sync(&["echo", "here"], 10).await?.stdout,
        "here\n"
    );
    assert!(stays.stats().await?.memory.is_some());
    stays.stop(0).await?;
    stays.ends_with(137).await?;
    containerd.close().await
}

/// A guest that ends with 42 while no containerd is there.
async fn guest_ends_in_between(options: Options) -> Result<()> {
    let mut containerd = Containerd::start_with(options).await?;
    let image = images::wasm("await", &guests::module("await")?)?;
    containerd.import_cri(&[&image]).await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("between", PodOptions::default()).await?;
    let guest = PodContainer::new("guest", &image)
        .args(["/vol/go", "42"])
        .volume(&volume, "/vol", false);
    let guest = pod.run(guest).await?;
    let pid = guest.pid().await?;
    containerd
        .restart_after(async || {
            std::fs::write(volume.join("go"), "x")?;
            proc::until("it has exited", || !proc::is_alive(pid)).await
        })
        .await?;
    found_again(&containerd, &guest)
        .await?
        .ends_with(42)
        .await?;
    containerd.close().await
}

each_runtime! {
    /// Of containerd.
    async fn linux_output_over_a_restart_loses_no_line(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        prints_on(Options::new(runtime), &image, ticking_shell(&image)).await
    }

    async fn linux_output_over_a_restart_of_containerd_2_loses_no_line(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        prints_on(containerd_2(runtime)?, &image, ticking_shell(&image)).await
    }

    async fn linux_output_and_exits_while_containerd_is_down_are_kept(runtime: Runtime) -> Result<()> {
        ends_in_between(Options::new(runtime)).await
    }

    async fn linux_output_and_exits_while_containerd_2_is_down_are_kept(runtime: Runtime) -> Result<()> {
        ends_in_between(containerd_2(runtime)?).await
    }
}

/// Of containerd.
#[tokio::test]
async fn wasm_output_over_a_restart_loses_no_line() -> Result<()> {
    let image = images::wasm("tick", &guests::module("tick")?)?;
    prints_on(Options::new(Runtime::Medley), &image, ticking_guest(&image)).await
}

#[tokio::test]
async fn wasm_output_over_a_restart_of_containerd_2_loses_no_line() -> Result<()> {
    let image = images::wasm("tick", &guests::module("tick")?)?;
    prints_on(
        containerd_2(Runtime::Medley)?,
        &image,
        ticking_guest(&image),
    )
    .await
}

#[tokio::test]
async fn wasm_exits_while_containerd_is_down_are_kept() -> Result<()> {
    guest_ends_in_between(Options::new(Runtime::Medley)).await
}

#[tokio::test]
async fn wasm_exits_while_containerd_2_is_down_are_kept() -> Result<()> {
    guest_ends_in_between(containerd_2(Runtime::Medley)?).await
}
