//! Kills for want of memory.

use medley_test::stdio::Stdin;
use medley_test::*;

const LIMIT: u64 = 32 << 20;

fn limited(spec: Spec, script: &str) -> Spec {
    spec.args(["/bin/sh", "-c", script]).edit(|json| {
        json["linux"]["resources"]["memory"] = serde_json::json!({"limit": LIMIT, "swap": LIMIT});
    })
}

each_runtime! {
    async fn an_oom_kill_is_told_while_the_container_runs_on(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let events = client.events().await?;
        let spec = limited(client.spec(&image, "it"), "tail /dev/zero; sleep 3600");
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        events.wait_for("it", "oom").await?;
        assert_eq!(task.status().await?.as_str_name(), "RUNNING");
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

#[tokio::test]
async fn an_init_killed_for_want_of_memory_is_told_before_its_exit() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let events = client.events().await?;
    let spec = limited(client.spec(&image, "it"), "exec tail /dev/zero");
    assert_eq!(client.run("it", &image, spec).await?.code, 137);
    events.wait_for("it", "delete").await?;
    let topics = events.topics("it");
    let place = |topic: &str| topics.iter().position(|seen| seen == topic);
    assert!(place("oom").is_some(), "{topics:?}");
    assert!(place("oom") < place("exit"), "{topics:?}");

    // One that was not killed for that is not told of.
    let spec = limited(client.spec(&image, "other"), "kill -9 $$");
    client.run("other", &image, spec).await?;
    events.wait_for("other", "delete").await?;
    let topics = events.topics("other");
    assert!(!topics.iter().any(|seen| seen == "oom"), "{topics:?}");
    containerd.close().await
}
