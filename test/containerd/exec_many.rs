//! Many execs, as probes make them, leave nothing in the shim.

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;

/// What a shim holds: descriptors, threads, processes below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Holding {
    files: usize,
    threads: usize,
    children: usize,
}

fn holding(shim: u32) -> Holding {
    let count =
        |dir: &str| std::fs::read_dir(format!("/proc/{shim}/{dir}")).map_or(0, Iterator::count);
    Holding {
        files: count("fd"),
        threads: count("task"),
        children: proc::children_of(shim).len(),
    }
}

/// Runs 200 execs in a row and 20 at once in a container of the image.
async fn many(image: &Image, args: &[&str], said: &str) -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[image]).await?;
    let client = containerd.client().await?;
    let container = client.create("it", image, client.spec(image, "it")).await?;
    let task = container.start(Stdin::None).await?;
    assert_eq!(task.run_exec("first", process(args)).await?.0, 0);
    let shim = containerd.shims()[0].pid.unsigned_abs();
    // The threads that waited for helpers end after a while, and with them what they held.
    proc::until("the shim is at rest", || holding(shim).threads == 1).await?;
    let before = holding(shim);
    let expected = (0, said.to_owned(), String::new());
    for number in 0..200 {
        let ran = task.run_exec(&format!("e{number}"), process(args)).await?;
        assert_eq!(ran, expected, "exec {number}");
    }
    let at_once = (0..20).map(|each| {
        let (task, id) = (&task, format!("at-once-{each}"));
        async move { task.run_exec(&id, process(args)).await }
    });
    for ran in futures_util::future::join_all(at_once).await {
        assert_eq!(ran?, expected);
    }
    assert_eq!(task.pids().await?, [task.pid]);
    let after = proc::until("the shim holds what it held before", || {
        holding(shim) == before
    });
    after
        .await
        .with_context(|| format!("{before:?} before, {:?} after", holding(shim)))?;
    task.destroy().await?;
    container.delete().await?;
    containerd.close().await
}

/// Two hundred in a row, and twenty at once.
#[tokio::test]
async fn many_execs_leave_nothing_in_the_shim_of_a_linux_container() -> Result<()> {
    let image = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()?;
    many(&image, &["echo", "hello"], "hello\n").await
}

/// Two hundred in a row, and twenty at once.
#[tokio::test]
async fn many_execs_leave_nothing_in_the_shim_of_a_wasm_container() -> Result<()> {
    let image = ImageBuilder::scratch("guests")
        .file("/sleep.wasm", guests::module("sleep")?, 0o644)
        .file("/hello.wasm", guests::module("hello")?, 0o644)
        .entrypoint(["/sleep.wasm", "3600"])
        .build()?;
    many(&image, &["/hello.wasm"], "hello\n").await
}
