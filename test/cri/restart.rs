//! containerd is restarted under a pod.

use medley_test::*;
use std::time::Duration;

const TICKS: usize = 150;

/// A container that prints `tick 0` to `tick 149` within some three seconds.
async fn prints_on(runtime: Runtime, image: &Image, container: PodContainer) -> Result<()> {
    let mut containerd = Containerd::start(runtime).await?;
    containerd.import_cri(&[image]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("ticks", PodOptions::default())
        .await?;
    let ticker = pod.run(container).await?;
    ticker.wait_for_log("tick 9").await?;
    let pid = ticker.pid().await?;
    containerd
        .restart_after(async || {
            // Nobody reads now.
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(proc::is_alive(pid), "it did not outlive containerd");
            Ok(())
        })
        .await?;
    ticker.wait_for_log(&format!("tick {}", TICKS - 1)).await?;
    let said = ticker.stdout()?;
    let expected: String = (0..TICKS).map(|tick| format!("tick {tick}\n")).collect();
    assert_eq!(said, expected);
    let again = containerd.cri().await?.container(&ticker.id);
    assert_eq!(again.wait().await?.exit_code, 0);
    containerd.close().await
}

each_runtime! {
    async fn a_linux_container_that_prints_while_containerd_restarts_loses_no_line(runtime: Runtime) -> Result<()> {
        let image = images::linux()?;
        let script = format!(
            "i=0; while [ $i -lt {TICKS} ]; do echo tick $i; i=$((i+1)); sleep 0.02; done"
        );
        let container = PodContainer::new("ticker", &image).command(["/bin/sh", "-c", &script]);
        prints_on(runtime, &image, container).await
    }
}

#[tokio::test]
async fn a_wasm_container_that_prints_while_containerd_restarts_loses_no_line() -> Result<()> {
    let image = images::wasm("tick", &guests::module("tick")?)?;
    let container = PodContainer::new("ticker", &image).args([&TICKS.to_string(), "20"]);
    prints_on(Runtime::Medley, &image, container).await
}
