//! containerd's shim for runc with Medley's command line, as `BinaryName` chooses it.

use crate::metrics::figures;
use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;

/// The message of runc's options, whose field 6 is the name of the program.
const OPTIONS: &str = "containerd.runc.v1.Options";

/// A client whose containers run by the command line.
async fn client(containerd: &Containerd) -> Result<Client> {
    let program = containerd.command_line();
    let program = program.to_string_lossy();
    let mut options = vec![6 << 3 | 2];
    prost::encode_length_delimiter(program.len(), &mut options)?;
    options.extend(program.as_bytes());
    Ok(containerd.client().await?.with_options(OPTIONS, options))
}

/// Starts a containerd with an image in it, for `test` with a client of the command line.
async fn with(image: Image, test: impl AsyncFnOnce(&Client, &Image) -> Result<()>) -> Result<()> {
    let containerd = Containerd::start(Runtime::Runc).await?;
    containerd.import(&[&image]).await?;
    test(&client(&containerd).await?, &image).await?;
    containerd.close().await
}

#[tokio::test]
async fn a_linux_container_runs_to_its_end() -> Result<()> {
    with(images::linux()?, async |client, image| {
        let script = "echo out; echo err >&2; exit 42";
        let spec = client.spec(image, "it").args(["/bin/sh", "-c", script]);
        let done = client.run("it", image, spec).await?;
        let said = (done.code, done.stdout.as_str(), done.stderr.as_str());
        assert_eq!(said, (42, "out\n", "err\n"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn execs_pauses_updates_and_kills_reach_it() -> Result<()> {
    with(images::linux()?, async |client, image| {
        let spec = client.spec(image, "it").args(["/bin/sleep", "3600"]);
        let container = client.create("it", image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let exec = ["/bin/sh", "-c", "echo in; exit 9"];
        let said = task.run_exec("e1", process(&exec)).await?;
        assert_eq!(said, (9, "in\n".to_owned(), String::new()));
        task.pause().await?;
        task.resume().await?;
        let limits = serde_json::json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 33}});
        task.update(&limits).await?;
        let seen = figures(&task).await?;
        assert_eq!((seen.memory_limit, seen.processes_limit), (64 << 20, 33));
        assert_eq!(task.pids().await?, [task.pid]);
        assert_eq!(task.destroy().await?, 137);
        container.delete().await
    })
    .await
}

#[tokio::test]
async fn a_terminal_is_handed_over() -> Result<()> {
    with(images::linux()?, async |client, image| {
        let script = "tty; read line; echo \"read $line\"";
        let spec = client.spec(image, "it").args(["/bin/sh", "-c", script]);
        let container = client.create("it", image, spec.terminal()).await?;
        let task = container.start(Stdin::Terminal).await?;
        task.says("/dev/pts/0").await?;
        task.types("a line\n").await?;
        task.says("read a line").await?;
        assert_eq!(task.wait().await?, 0);
        task.delete().await?;
        container.delete().await
    })
    .await
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told() -> Result<()> {
    with(images::linux()?, async |client, image| {
        let spec = client.spec(image, "it").args(["/bin/nope"]);
        let status = client.refused("it", image, spec).await?;
        assert!(status.message().contains("no such file"), "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_guest_runs_to_its_end() -> Result<()> {
    with(
        images::wasm("exit", &guests::module("exit")?)?,
        async |client, image| {
            let spec = client.spec(image, "it").args(["/exit.wasm", "42"]);
            assert_eq!(client.run("it", image, spec).await?.code, 42);
            Ok(())
        },
    )
    .await
}
