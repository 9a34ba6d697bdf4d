//! Artifacts in pods: pulled from a registry, or imported.

use medley_test::{debian, *};
use std::path::PathBuf;

/// How an artifact comes to the CRI plugin.
#[derive(PartialEq, Eq)]
enum Way {
    /// Pulled from a registry.
    Pull,
    /// Imported with `ctr`: before 1.6.22 containerd takes every layer for a file system's, and a
    /// pull of an artifact fails.
    Import,
}

/// Runs artifacts beside a Linux container.
async fn in_a_pod(binary: PathBuf, expected: &str, way: Way) -> Result<()> {
    let registry = Registry::start()?;
    let containerd = Containerd::start_with(Options {
        binary,
        ..Options::new(Runtime::Medley)
    })
    .await?;
    let cri = containerd.cri().await?;
    let version = cri.version().await?;
    assert!(version.contains(expected), "{version} is not {expected}");
    let linux = images::linux()?;
    let hello = ArtifactBuilder::new("hello")
        .named(&registry.name("hello"))
        .image_config("wasip1/wasm")
        .layer("application/wasm", guests::module("hello")?)
        .titled("hello.wasm")
        .entrypoint(["hello.wasm"])
        .build()?;
    // Without a place for an entrypoint in its config: the pod's command names the layer.
    let typed = ArtifactBuilder::new("typed")
        .named(&registry.name("typed"))
        .layer(
            "application/vnd.wasm.content.layer.v1+wasm",
            guests::module("hello")?,
        )
        .build()?;
    let images = [&hello, &typed];
    containerd.import_packed(&images).await?;
    for image in images {
        let name = image.name.as_str();
        for step in [
            &["image", "push", "--plain-http", name][..],
            // What is pulled shall come from the registry.
            &["image", "rm", "--sync", name],
        ] {
            let done = containerd.ctr(step).await?;
            assert!(done.status.success(), "{step:?}: {done:?}");
        }
    }
    containerd.import_cri(&[&linux]).await?;
    match way {
        Way::Pull => {
            for image in images {
                cri.pull(&image.name).await?;
            }
        }
        Way::Import => containerd.import_cri_packed(&images).await?,
    }
    let pod = cri.run_pod("mixed", PodOptions::default()).await?;
    let side = PodContainer::new("side", &linux).command(["/bin/sleep", "3600"]);
    let side = pod.run(side).await?;
    for (name, container) in [
        ("hello", PodContainer::new("hello", &hello)),
        (
            "typed",
            PodContainer::new("typed", &typed).command(["/hello.wasm"]),
        ),
        // As SpinKube and runwasi have it, since the CRI demands some command.
        (
            "slash",
            PodContainer::new("slash", &typed)
                .command(["/"])
                .args(["one"]),
        ),
    ] {
        let container = pod.run(container).await?;
        assert_eq!(container.wait().await?.exit_code, 0, "{name}");
        container.wait_for_log("hello").await?;
    }
    assert_eq!(containerd.shims().len(), 1, "{:?}", containerd.shims());
    side.stop(0).await?;
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn an_artifact_is_imported_and_runs_on_containerd_1_6() -> Result<()> {
    in_a_pod(debian::containerd("bookworm")?, "1.6.", Way::Import).await
}

#[tokio::test]
async fn an_artifact_is_pulled_and_runs_on_containerd_1_7() -> Result<()> {
    in_a_pod(debian::containerd("trixie")?, "1.7.", Way::Pull).await
}

#[tokio::test]
async fn an_artifact_is_pulled_and_runs_on_containerd_2() -> Result<()> {
    in_a_pod(debian::containerd("testing")?, "2.", Way::Pull).await
}

#[tokio::test]
async fn a_command_that_names_no_layer_shows_in_the_status() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = ArtifactBuilder::new("two")
        .image_config("wasip1/wasm")
        .layer("application/wasm", guests::module("hello")?)
        .titled("hello.wasm")
        .layer("application/wasm", guests::module("cat")?)
        .titled("cat.wasm")
        .entrypoint(["hello.wasm"])
        .build()?;
    containerd.import_cri_packed(&[&image]).await?;
    let cri = containerd.cri().await?;
    let pod = cri.run_pod("bad", PodOptions::default()).await?;
    let bad = PodContainer::new("bad", &image).command(["/other.wasm"]);
    let bad = pod.create(bad).await?;
    bad.start().await.expect_err("there is no such layer");
    let status = bad.status().await?;
    assert_eq!(status.reason, "StartError");
    for word in ["/other.wasm", "hello.wasm", "cat.wasm", "medley.test/two"] {
        assert!(status.message.contains(word), "{}", status.message);
    }
    pod.remove().await?;
    containerd.close().await
}
