//! The same binary under the containerds of three Debian releases.

use medley_test::{debian, *};
use std::path::PathBuf;

/// `MEDLEY_RUNTIME=runc` asks whether these tests are right, not whether Medley is.
fn linux_only() -> bool {
    std::env::var("MEDLEY_RUNTIME").is_ok_and(|name| name == "runc")
}

async fn core_tests(binary: PathBuf, expected: &str) -> Result<()> {
    let runtime = if linux_only() {
        Runtime::Runc
    } else {
        Runtime::Medley
    };
    let containerd = Containerd::start_with(Options {
        binary,
        ..Options::new(runtime)
    })
    .await?;
    let version = containerd.cri().await?.version().await?;
    assert!(
        version.contains(expected),
        "this is containerd {version}, not {expected}"
    );
    let linux = images::linux()?;
    let hello = images::wasm("hello", &guests::module("hello")?)?;
    let exit = images::wasm("exit", &guests::module("exit-with-code")?)?;
    containerd.import(&[&linux, &hello, &exit]).await?;
    containerd.import_cri(&[&linux, &hello]).await?;

    let client = containerd.client().await?;
    let spec = client
        .spec(&linux, "linux")
        .args(["/bin/sh", "-c", "echo hello; exit 42"]);
    let done = client.run("linux", &linux, spec).await?;
    assert_eq!((done.code, done.stdout.as_str()), (42, "hello\n"));
    if !linux_only() {
        let done = client.run_image("wasm", &hello).await?;
        assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"));
        let spec = client.spec(&exit, "exit").args(["/exit.wasm", "137"]);
        assert_eq!(client.run("exit", &exit, spec).await?.code, 137);
    }

    let pod = containerd
        .cri()
        .await?
        .run_pod("mixed", PodOptions::default())
        .await?;
    let side = PodContainer::new("side", &linux).command(["/bin/sleep", "3600"]);
    let side = pod.run(side).await?;
    if !linux_only() {
        let wasm = pod.run(PodContainer::new("wasm", &hello)).await?;
        assert_eq!(wasm.wait().await?.exit_code, 0);
        wasm.wait_for_log("hello").await?;
    }
    assert_eq!(containerd.shims().len(), 1, "{:?}", containerd.shims());
    side.stop(0).await?;
    assert_eq!(side.wait().await?.exit_code, 137);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn containerd_1_6_of_debian_12_runs_it() -> Result<()> {
    core_tests(debian::containerd("bookworm")?, "1.6.").await
}

#[tokio::test]
async fn containerd_1_7_of_debian_13_runs_it() -> Result<()> {
    core_tests(debian::containerd("trixie")?, "1.7.").await
}

#[tokio::test]
async fn containerd_2_of_debian_testing_runs_it() -> Result<()> {
    core_tests(debian::containerd("testing")?, "2.").await
}
