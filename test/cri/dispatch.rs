//! Annotations of pods and of containers reach the dispatcher.

use medley_test::*;

const VARIANT: &str = "module.wasm.image/variant";

fn pod_of(annotations: &[(&str, &str)]) -> PodOptions {
    let annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()));
    PodOptions {
        annotations: annotations.collect(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_sandbox_is_linux_even_in_a_pod_of_wasm() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let hello = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import_cri(&[&hello]).await?;
    let options = pod_of(&[(VARIANT, "compat"), ("run.oci.handler", "wasm")]);
    let pod = containerd.cri().await?.run_pod("wasm", options).await?;
    assert!(pod.is_ready().await?);
    let container = pod.run(PodContainer::new("hello", &hello)).await?;
    assert_eq!(container.wait().await?.exit_code, 0);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn in_a_pod_of_compat_a_container_can_be_told_apart_by_its_name() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    let hello = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import_cri(&[&linux, &hello]).await?;
    let own = format!("{VARIANT}.side");
    let options = pod_of(&[(VARIANT, "compat"), (&own, "compat-smart")]);
    let pod = containerd.cri().await?.run_pod("mixed", options).await?;
    let main = pod.run(PodContainer::new("main", &hello)).await?;
    assert_eq!(main.wait().await?.exit_code, 0);
    let side = pod
        .run(PodContainer::new("side", &linux).command(["/bin/true"]))
        .await?;
    assert_eq!(side.wait().await?.exit_code, 0);
    pod.remove().await?;
    containerd.close().await
}

#[tokio::test]
async fn an_annotation_of_a_container_counts_for_it_alone() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux()?;
    containerd.import_cri(&[&linux]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("mixed", PodOptions::default())
        .await?;
    let wrong = PodContainer::new("wrong", &linux).command(["/bin/true"]);
    let wrong = pod.create(wrong.annotation(VARIANT, "compat")).await?;
    let error = wrong.start().await.expect_err("an ELF is no module");
    assert!(error.to_string().contains("compat-smart"), "{error}");
    let right = pod
        .run(PodContainer::new("right", &linux).command(["/bin/true"]))
        .await?;
    assert_eq!(right.wait().await?.exit_code, 0);
    pod.remove().await?;
    containerd.close().await
}
