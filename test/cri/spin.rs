//! Spin applications in a pod, with a Linux sidecar that asks them.

use medley_test::spin::{Application, ENV, applications, options};
use medley_test::{debian, *};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Runs an application in one form beside a sidecar.
async fn with_a_sidecar(
    containerd: &Containerd,
    application: &Application,
    image: &Image,
) -> Result<()> {
    let linux = images::linux()?;
    let pod = containerd.cri().await?;
    let pod = pod.run_pod("spin", PodOptions::default()).await?;
    let state = containerd.dir().join(image.name.replace(['/', ':'], "-"));
    std::fs::create_dir(&state)?;
    let mut server = PodContainer::new("server", image)
        .command(["/"])
        .env("PORT", "8080")
        .volume(&state, "/state", false);
    for (name, value) in ENV {
        server = server.env(name, value);
    }
    let server = pod.run(server).await?;
    // It listens when it has been started.
    let ask = ["wget", "-qO-", "http://127.0.0.1:8080/hello/x"];
    let ask = PodContainer::new("sidecar", &linux).command(ask);
    let ask = pod.run(ask).await?;
    assert_eq!(ask.wait().await?.exit_code, 0, "{}", application.name);
    ask.wait_for_log("hello").await?;
    let address = SocketAddr::new(pod.ip.parse()?, 8080);
    application.check(address).await?;
    assert_eq!(containerd.shims().len(), 1, "{:?}", containerd.shims());
    server.stop(20).await?;
    assert_eq!(server.wait().await?.exit_code, 143, "{}", application.name);
    pod.remove().await
}

async fn in_pods(binary: PathBuf, expected: &str) -> Result<()> {
    let containerd = Containerd::start_with(options(binary)).await?;
    let version = containerd.cri().await?.version().await?;
    assert!(version.contains(expected), "{version} is not {expected}");
    containerd.import_cri(&[&images::linux()?]).await?;
    for application in applications()? {
        containerd.import_cri(&[&application.image]).await?;
        containerd
            .import_cri_packed(&[&application.artifact])
            .await?;
        for image in [&application.image, &application.artifact] {
            with_a_sidecar(&containerd, &application, image).await?;
        }
    }
    containerd.close().await
}

#[tokio::test]
async fn applications_and_a_sidecar_share_a_pod_of_containerd_1_7() -> Result<()> {
    in_pods(debian::containerd("trixie")?, "1.7.").await
}

#[tokio::test]
async fn applications_and_a_sidecar_share_a_pod_of_containerd_2() -> Result<()> {
    in_pods(debian::containerd("testing")?, "2.").await
}
