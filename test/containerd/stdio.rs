//! What goes in comes out.

use medley_test::stdio::Stdin;
use medley_test::*;
use std::io::Write;

const FLOOD: usize = 10 * 1024 * 1024;

/// Byte n is 'a' + n % 26, as the guest `flood` writes.
fn pattern() -> Vec<u8> {
    (b'a'..=b'z').cycle().take(FLOOD).collect()
}

/// Input as bytes, and input that stays open until CloseIO, through a program that copies.
pub(crate) async fn input(containerd: &Containerd, image: &Image, args: &[&str]) -> Result<()> {
    let client = containerd.client().await?;
    let bytes = pattern();
    let stdin = Stdin::Bytes(bytes[..100_000].to_vec());
    let spec = client.spec(image, "bytes").args(args.iter().copied());
    let done = client.run_with("bytes", image, spec, stdin).await?;
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout.as_bytes() == &bytes[..100_000],
        "got {} bytes",
        done.stdout.len()
    );

    let spec = client.spec(image, "open").args(args.iter().copied());
    let container = client.create("open", image, spec).await?;
    let mut task = container.start(Stdin::Open).await?;
    let mut writer = task.stdin().await?;
    writer.write_all(b"line\n")?;
    drop(writer);
    task.close_stdin().await?;
    assert_eq!(task.wait().await?, 0);
    assert_eq!(task.output().await?.0, "line\n");
    task.delete().await?;
    container.delete().await
}

async fn flood(containerd: &Containerd, image: &Image, args: &[&str]) -> Result<()> {
    let client = containerd.client().await?;
    let spec = client.spec(image, "flood").args(args.iter().copied());
    let done = client.run("flood", image, spec).await?;
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(done.stdout.len(), FLOOD);
    assert!(
        done.stdout.as_bytes() == pattern(),
        "the bytes are not those that were written"
    );
    Ok(())
}

each_runtime! {
    async fn stdin_reaches_a_linux_container_and_close_io_ends_it(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let image = images::linux()?;
        containerd.import(&[&image]).await?;
        input(&containerd, &image, &["/bin/cat"]).await?;
        containerd.close().await
    }

    async fn ten_megabytes_of_a_linux_containers_stdout_are_intact(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let image = images::linux_builder("flood")?.file("/flood", pattern(), 0o644).build()?;
        containerd.import(&[&image]).await?;
        flood(&containerd, &image, &["/bin/cat", "/flood"]).await?;
        containerd.close().await
    }

    async fn stdout_and_stderr_of_a_linux_container_are_kept_apart(runtime: Runtime) -> Result<()> {
        let done = Scenario::linux(runtime, "echo out; echo err >&2").finished().await?;
        assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("out\n", "err\n"));
        Ok(())
    }
}

#[tokio::test]
async fn stdin_reaches_a_module_and_close_io_ends_it() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("cat", &guests::module("cat")?)?;
    containerd.import(&[&image]).await?;
    input(&containerd, &image, &["/cat.wasm"]).await?;
    containerd.close().await
}

#[tokio::test]
async fn stdin_reaches_a_component_and_close_io_ends_it() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("cat", &guests::component("cat")?)?;
    containerd.import(&[&image]).await?;
    input(&containerd, &image, &["/cat.wasm"]).await?;
    containerd.close().await
}

#[tokio::test]
async fn stdin_of_a_module_without_input_is_at_its_end() -> Result<()> {
    let done = Scenario::wasm("cat", guests::module("cat"))
        .finished()
        .await?;
    assert_eq!((done.code, done.stderr.as_str()), (0, "0 bytes\n"));
    Ok(())
}

#[tokio::test]
async fn ten_megabytes_of_a_modules_stdout_are_intact() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("flood", &guests::module("flood")?)?;
    containerd.import(&[&image]).await?;
    flood(&containerd, &image, &["/flood.wasm", &FLOOD.to_string()]).await?;
    containerd.close().await
}

#[tokio::test]
async fn ten_megabytes_of_a_components_stdout_are_intact() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("flood", &guests::component("flood")?)?;
    containerd.import(&[&image]).await?;
    flood(&containerd, &image, &["/flood.wasm", &FLOOD.to_string()]).await?;
    containerd.close().await
}
