//! Pause and Resume.

use medley_test::stdio::Stdin;
use medley_test::*;

/// A container of each kind that never rests, by the runtime that runs it.
fn runners(runtime: Runtime) -> Result<Vec<Image>> {
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/sh", "-c", "while :; do :; done"])
        .build()?;
    Ok(match runtime {
        Runtime::Runc => vec![linux],
        Runtime::Medley => vec![linux, images::wasm("spin", &guests::module("spin")?)?],
    })
}

async fn each_runner<F>(runtime: Runtime, check: impl Fn(Task) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let containerd = Containerd::start(runtime).await?;
    let all = runners(runtime)?;
    containerd.import(&all.iter().collect::<Vec<_>>()).await?;
    let client = containerd.client().await?;
    for image in &all {
        let container = client.create("it", image, client.spec(image, "it")).await?;
        let task = container.start(Stdin::None).await?;
        check(task).await?;
        container.delete().await?;
    }
    containerd.close().await
}

async fn runs(pid: u32) -> Result<()> {
    let before = proc::ticks(pid);
    proc::until("it uses the processor", || proc::ticks(pid) > before).await
}

each_runtime! {
    async fn a_paused_container_stands_still_until_it_is_resumed(runtime: Runtime) -> Result<()> {
        each_runner(runtime, async |task: Task| {
            runs(task.pid).await?;
            for _ in 0..2 {
                task.pause().await?;
                assert_eq!(task.status().await?.as_str_name(), "PAUSED");
                let before = proc::ticks(task.pid);
                proc::spend(30);
                assert_eq!(proc::ticks(task.pid), before);
                task.resume().await?;
                assert_eq!(task.status().await?.as_str_name(), "RUNNING");
                runs(task.pid).await?;
            }
            task.destroy().await?;
            Ok(())
        })
        .await
    }

    async fn only_what_runs_is_paused_and_only_what_is_paused_is_resumed(runtime: Runtime) -> Result<()> {
        each_runner(runtime, async |task: Task| {
            assert!(task.resume().await.is_err());
            task.pause().await?;
            assert!(task.pause().await.is_err());
            assert_eq!(task.status().await?.as_str_name(), "PAUSED");
            task.resume().await?;
            task.destroy().await?;
            Ok(())
        })
        .await
    }
}

#[tokio::test]
async fn sigkill_ends_a_paused_container() -> Result<()> {
    for all in [false, true] {
        each_runner(Runtime::Medley, async |mut task: Task| {
            task.pause().await?;
            task.kill(9, all).await?;
            assert_eq!(task.wait().await?, 137);
            task.output().await?;
            assert_eq!(task.delete().await?, 137);
            Ok(())
        })
        .await?;
    }
    Ok(())
}
