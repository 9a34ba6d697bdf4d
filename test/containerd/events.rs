//! The order of events that containerd asks of a shim: one test for each row of its table.

use medley_test::shim::Bench;
use medley_test::stdio::Stdin;
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

/// Runs `/bin/true` a few times over, where the exit is hard on the heels of the start, and
/// then a longer one, and returns the topics of each.
async fn lives(runtime: Runtime) -> Result<Vec<Vec<String>>> {
    let containerd = Containerd::start(runtime).await?;
    let linux = images::linux()?;
    containerd.import(&[&linux]).await?;
    let client = containerd.client().await?;
    let events = client.events().await?;
    let mut all = Vec::new();
    for number in 0..5 {
        let id = format!("quick-{number}");
        let spec = client.spec(&linux, &id).args(["/bin/true"]);
        client.run(&id, &linux, spec).await?;
        events.wait_for(&id, "delete").await?;
        all.push(events.topics(&id));
    }
    let spec = client.spec(&linux, "slow").args(["/bin/sleep", "0.3"]);
    client.run("slow", &linux, spec).await?;
    events.wait_for("slow", "delete").await?;
    all.push(events.topics("slow"));
    containerd.close().await?;
    Ok(all)
}

/// Asserts that both were published once, and in this order.
fn assert_order(topics: &[String], first: &str, second: &str) {
    let places = |topic: &str| -> Vec<usize> {
        topics
            .iter()
            .enumerate()
            .filter(|(_, t)| *t == topic)
            .map(|(at, _)| at)
            .collect()
    };
    let (first_at, second_at) = (places(first), places(second));
    assert_eq!(
        (first_at.len(), second_at.len()),
        (1, 1),
        "{first}, {second} in {topics:?}"
    );
    assert!(first_at < second_at, "{second} before {first}: {topics:?}");
}

each_runtime! {
    async fn create_is_published_before_start(runtime: Runtime) -> Result<()> {
        lives(runtime).await?.iter().for_each(|topics| assert_order(topics, "create", "start"));
        Ok(())
    }

    async fn start_is_published_before_exit(runtime: Runtime) -> Result<()> {
        lives(runtime).await?.iter().for_each(|topics| assert_order(topics, "start", "exit"));
        Ok(())
    }

    async fn exit_is_published_before_delete(runtime: Runtime) -> Result<()> {
        lives(runtime).await?.iter().for_each(|topics| assert_order(topics, "exit", "delete"));
        Ok(())
    }

    async fn events_name_the_pid_and_the_status(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import(&[&linux]).await?;
        let client = containerd.client().await?;
        let events = client.events().await?;
        let spec = client.spec(&linux, "it").args(["/bin/sh", "-c", "exit 42"]);
        let container = client.create("it", &linux, spec).await?;
        let mut task = container.start(Stdin::None).await?;
        task.wait().await?;
        task.output().await?;
        task.delete().await?;
        container.delete().await?;
        events.wait_for("it", "delete").await?;
        let exit = events.wait_for("it", "exit").await?;
        assert_eq!((exit.id.as_str(), exit.status), ("it", Some(42)));
        let pids: Vec<_> = events.tasks().iter().map(|event| event.pid).collect();
        assert_eq!(pids, [task.pid; 4]);
        containerd.close().await
    }

    async fn a_killed_task_publishes_exit_before_delete(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import(&[&linux]).await?;
        let client = containerd.client().await?;
        let events = client.events().await?;
        let spec = client.spec(&linux, "it").args(["/bin/sleep", "3600"]);
        let container = client.create("it", &linux, spec).await?;
        container.start(Stdin::None).await?.destroy().await?;
        container.delete().await?;
        events.wait_for("it", "delete").await?;
        assert_eq!(events.topics("it"), ["create", "start", "exit", "delete"]);
        assert_eq!(events.wait_for("it", "exit").await?.status, Some(137));
        containerd.close().await
    }

    async fn a_create_that_fails_publishes_no_create(runtime: Runtime) -> Result<()> {
        let containerd = Containerd::start(runtime).await?;
        let linux = images::linux()?;
        containerd.import(&[&linux]).await?;
        let client = containerd.client().await?;
        let events = client.events().await?;
        let spec = client.spec(&linux, "it").args(["/no/such/program"]);
        client.refused("it", &linux, spec).await?;
        // What comes after it proves that nothing is still on its way.
        let spec = client.spec(&linux, "next").args(["/bin/true"]);
        client.run("next", &linux, spec).await?;
        events.wait_for("next", "delete").await?;
        let topics = events.topics("it");
        assert!(!topics.contains(&"create".to_owned()), "{topics:?}");
        assert!(!topics.contains(&"start".to_owned()), "{topics:?}");
        containerd.close().await
    }
}

#[tokio::test]
async fn a_wasm_task_publishes_create_start_exit_delete() -> Result<()> {
    let image = images::wasm("exit", &guests::module("exit")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let events = client.events().await?;
    let spec = client.spec(&image, "it").args(["/exit.wasm", "42"]);
    client.run("it", &image, spec).await?;
    events.wait_for("it", "delete").await?;
    assert_eq!(events.topics("it"), ["create", "start", "exit", "delete"]);
    assert_eq!(events.wait_for("it", "exit").await?.status, Some(42));
    containerd.close().await
}

#[tokio::test]
async fn a_wasm_task_that_traps_publishes_exit_before_delete() -> Result<()> {
    let image = images::wasm("unreachable", &guests::module("unreachable")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let events = client.events().await?;
    client.run_image("it", &image).await?;
    events.wait_for("it", "delete").await?;
    assert_eq!(events.topics("it"), ["create", "start", "exit", "delete"]);
    containerd.close().await
}

/// What is told of a task that ended while containerd was away, for longer than a limited number of
/// attempts takes.
async fn told_late(runtime: Runtime) -> Result<Vec<String>> {
    /// Eight attempts, each after twice the pause of the one before, take 13 s. No event tells that a
    /// shim has given up, so this is waited out.
    const AWAY: Duration = Duration::from_secs(16);
    let mut bench = Bench::new(runtime).await?;
    let image = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "3600"])
        .build()?;
    let bundle = bench.bundle("it", &image)?;
    let spec = Spec::of(&image, bench.namespace(), "it");
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    let shim = bench.start("it", &bundle).await?;
    let stdio = bench.stdio("it", Stdin::None)?;
    let init = shim.create("it", &bundle, &stdio).await?;
    shim.start("it").await?;
    proc::until("the start is told", || bench.topics("it").len() == 2).await?;
    bench
        .without_events(async || {
            kill(Pid::from_raw(i32::try_from(init)?), Signal::SIGKILL)?;
            shim.wait("it").await?;
            tokio::time::sleep(AWAY).await;
            Ok(())
        })
        .await?;
    // It is told by itself: nothing is asked of the shim meanwhile.
    let told = proc::until("the exit is told", || bench.topics("it").len() == 3).await;
    shim.delete("it").await?;
    if told.is_ok() {
        proc::until("the delete is told", || bench.topics("it").len() == 4).await?;
    }
    let topics = bench.topics("it");
    shim.shutdown("it").await;
    bench.close().await?;
    Ok(topics)
}

/// Not with runc: its shim gives up after five attempts.
#[tokio::test]
async fn an_exit_is_told_to_a_containerd_that_was_away_for_long() -> Result<()> {
    let topics = told_late(Runtime::Medley).await?;
    assert_eq!(topics, ["create", "start", "exit", "delete"]);
    Ok(())
}

#[tokio::test]
async fn a_shim_ends_although_there_is_nobody_to_tell() -> Result<()> {
    let mut bench = Bench::new(Runtime::Medley).await?;
    let image = images::linux()?;
    let bundle = bench.bundle("it", &image)?;
    let spec = Spec::of(&image, bench.namespace(), "it").args(["/bin/true"]);
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    let shim = bench.start("it", &bundle).await?;
    let stdio = bench.stdio("it", Stdin::None)?;
    bench
        .without_events(async || {
            shim.create("it", &bundle, &stdio).await?;
            shim.start("it").await?;
            shim.wait("it").await?;
            let (pid, _) = shim.pids("it").await?;
            shim.delete("it").await?;
            shim.shutdown("it").await;
            proc::until("the shim has ended", || !proc::is_alive(pid)).await
        })
        .await?;
    bench.close().await
}
