//! Update of a container's limits.

use crate::metrics::figures;
use containerd_client::tonic::Code;
use medley_test::client::refused_with;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::json;

const MIB: u64 = 1 << 20;

async fn sleeper(containerd: &Containerd, image: &Image) -> Result<(Container, Task)> {
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(image, "it").edit(|json| {
        json["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB});
    });
    let container = client.create("it", image, spec).await?;
    let task = container.start(Stdin::None).await?;
    Ok((container, task))
}

fn linux() -> Result<Image> {
    images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()
}

each_runtime! {
    async fn an_update_sets_what_it_names_and_leaves_the_rest(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let (container, task) = sleeper(&containerd, &linux()?).await?;
        task.update(&json!({"pids": {"limit": 77}})).await?;
        let seen = figures(&task).await?;
        assert_eq!((seen.memory_limit, seen.processes_limit), (64 * MIB, 77));
        task.update(&json!({"memory": {"limit": 96 * MIB}, "cpu": {"shares": 512}})).await?;
        let seen = figures(&task).await?;
        assert_eq!((seen.memory_limit, seen.processes_limit), (96 * MIB, 77));
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn an_update_that_fails_in_part_changes_nothing() -> Result<()> {
    let wasm = images::wasm("sleep", &guests::module("sleep")?)?;
    for image in [linux()?, wasm] {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let (container, task) = sleeper(&containerd, &image).await?;
        let no_such_processor = json!({
            "memory": {"limit": 96 * MIB},
            "cpu": {"shares": 512, "cpus": "100000"},
            "pids": {"limit": 77},
        });
        assert!(task.update(&no_such_processor).await.is_err());
        let too_low = json!({"memory": {"limit": 1}, "pids": {"limit": 77}});
        let sentence = refused_with(task.update(&too_low).await, Code::FailedPrecondition)?;
        assert!(sentence.contains("1 bytes"), "{sentence}");
        let senseless = json!({"cpu": {"period": 1}, "pids": {"limit": 77}});
        refused_with(task.update(&senseless).await, Code::InvalidArgument)?;
        let seen = figures(&task).await?;
        assert_eq!(seen.memory_limit, 64 * MIB, "{seen:?}");
        assert_ne!(seen.processes_limit, 77, "{seen:?}");
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await?;
    }
    Ok(())
}
