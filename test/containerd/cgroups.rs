//! A container's cgroup is its own.

use medley_test::stdio::Stdin;
use medley_test::*;

/// And the other container goes on.
#[tokio::test]
async fn a_cgroup_with_another_containers_processes_is_refused() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()?;
    let wasm = images::wasm("sleep", &guests::module("sleep")?)?;
    containerd.import(&[&linux, &wasm]).await?;
    let client = containerd.client().await?;
    let first = client
        .create("first", &linux, client.spec(&linux, "first"))
        .await?;
    let task = first.start(Stdin::None).await?;
    for image in [&linux, &wasm] {
        let spec = client.spec(image, "second").edit(|json| {
            json["linux"]["cgroupsPath"] = format!("/{}/first", client.namespace()).into();
        });
        let refusal = client.refused("second", image, spec).await?;
        let text = refusal.message();
        assert!(text.contains("cgroup") && text.contains("/first"), "{text}");
        assert_eq!(
            task.status().await?.as_str_name(),
            "RUNNING",
            "{}",
            image.name
        );
        assert_eq!(task.pids().await?, [task.pid]);
        assert_eq!(containerd.shims().len(), 1, "{:?}", containerd.shims());
    }
    assert_eq!(task.destroy().await?, 137);
    first.delete().await?;
    containerd.close().await
}
