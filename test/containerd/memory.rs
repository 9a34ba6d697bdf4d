//! The memory of a guest, in a cgroup that has a limit.

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::json;

/// In MiB.
const LIMIT: u64 = 64;

fn limit(mib: u64) -> serde_json::Value {
    json!({"limit": mib << 20, "swap": mib << 20})
}

fn limited(spec: Spec) -> Spec {
    spec.edit(|json| json["linux"]["resources"]["memory"] = limit(LIMIT))
}

pub(crate) async fn run(wasm: Vec<u8>, args: &[&str]) -> Result<Finished> {
    let image = ImageBuilder::scratch("app")
        .file("/app.wasm", wasm, 0o644)
        .dir("/data", 0o777)
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let args = ["/app.wasm"].into_iter().chain(args.iter().copied());
    let spec = limited(client.spec(&image, "it").args(args));
    let done = client.run("it", &image, spec).await?;
    containerd.close().await?;
    Ok(done)
}

/// How many MiB the guest `grow` got.
pub(crate) fn mib(done: &Finished) -> Result<u64> {
    ensure!(done.code == 0, "{done:?}");
    let count = done.stdout.strip_prefix("up\n").unwrap_or_default();
    let count = count.trim_end().strip_suffix(" MiB");
    count
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("{done:?}"))
}

/// Most of the limit, and not all of it.
pub(crate) fn assert_most_of_the_limit(mib: u64) {
    assert!((LIMIT * 3 / 4..LIMIT).contains(&mib), "{mib} MiB");
}

/// More than its limit, that is; it is not killed.
#[tokio::test]
async fn a_module_that_wants_too_much_memory_is_told_so() -> Result<()> {
    let done = run(guests::module("grow")?, &["touch"]).await?;
    assert_most_of_the_limit(mib(&done)?);
    Ok(())
}

/// More than its limit, that is; it is not killed.
#[tokio::test]
async fn a_component_that_wants_too_much_memory_is_told_so() -> Result<()> {
    let done = run(guests::component("grow")?, &["touch"]).await?;
    assert_most_of_the_limit(mib(&done)?);
    Ok(())
}

#[tokio::test]
async fn memory_that_a_guest_has_and_does_not_use_yet_counts() -> Result<()> {
    let done = run(guests::module("grow")?, &["reserve"]).await?;
    assert_most_of_the_limit(mib(&done)?);
    Ok(())
}

/// The kernel gives the pages of files back when it needs them.
#[tokio::test]
async fn files_that_a_guest_has_written_do_not_take_its_memory() -> Result<()> {
    let done = run(guests::module("grow")?, &["touch", "/data/file", "48"]).await?;
    assert_most_of_the_limit(mib(&done)?);
    Ok(())
}

#[tokio::test]
async fn a_table_that_grows_past_the_limit_is_refused() -> Result<()> {
    let done = run(guests::module("tables")?, &[]).await?;
    assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
    Ok(())
}

/// The error has both sizes.
#[tokio::test]
async fn a_memory_that_begins_above_the_limit_fails_start() -> Result<()> {
    for wasm in [guests::module("large")?, guests::component("large")?] {
        let image = images::wasm("large", &wasm)?;
        let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
        let spec = limited(client.spec(&image, "it"));
        let refused = client.refused("it", &image, spec).await?;
        let sentence = refused.message();
        for part in ["/large.wasm", "134217728 bytes", "67108864 bytes"] {
            assert!(sentence.contains(part), "no {part:?} in: {sentence}");
        }
        // Without a limit it runs.
        assert_eq!(client.run_image("other", &image).await?.code, 0);
        containerd.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_running_guest_may_take_more_once_its_limit_is_raised() -> Result<()> {
    let image = images::wasm("grow", &guests::module("grow")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = client
        .spec(&image, "it")
        .args(["/grow.wasm", "until", "96"]);
    let container = client.create("it", &image, limited(spec)).await?;
    let mut task = container.start(Stdin::None).await?;
    task.update(&json!({"memory": limit(128)})).await?;
    assert_eq!(task.wait().await?, 0);
    assert_eq!(task.output().await?.0, "up\n96 MiB\n");
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_guest_that_is_added_to_a_container_has_its_limit_too() -> Result<()> {
    let image = ImageBuilder::scratch("two")
        .file("/sleep.wasm", guests::module("sleep")?, 0o644)
        .file("/grow.wasm", guests::module("grow")?, 0o644)
        .entrypoint(["/sleep.wasm"])
        .build()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = limited(client.spec(&image, "it"));
    let container = client.create("it", &image, spec).await?;
    let task = container.start(Stdin::None).await?;
    let (code, stdout, stderr) = task
        .run_exec("e", process(&["/grow.wasm", "touch"]))
        .await?;
    assert_most_of_the_limit(mib(&Finished {
        code,
        stdout,
        stderr,
    })?);
    assert_eq!(task.status().await?.as_str_name(), "RUNNING");
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}
