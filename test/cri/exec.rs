//! Exec probes, lifecycle hooks and `kubectl exec`.

use medley_test::cri::Executed;
use medley_test::*;
use std::time::Duration;

/// Runs `check` on a container of a pod that sleeps.
async fn beside_a_sleeper<F>(runtime: Runtime, check: impl FnOnce(CriContainer) -> F) -> Result<()>
where
    F: Future<Output = Result<CriContainer>>,
{
    let containerd = Containerd::start(runtime).await?;
    let image = images::linux()?;
    containerd.import_cri(&[&image]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("exec", PodOptions::default())
        .await?;
    let container = PodContainer::new("it", &image)
        .command(["/bin/sleep", "3600"])
        .env("GREETING", "hello");
    check(pod.run(container).await?).await?;
    pod.remove().await?;
    containerd.close().await
}

fn executed(code: i32, stdout: &str, stderr: &str) -> Executed {
    Executed {
        code,
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

each_runtime! {
    async fn an_exec_probe_hears_what_its_command_says(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |it: CriContainer| {
            let script = "echo $GREETING; echo err >&2; exit 7";
            let ran = it.exec_sync(&["sh", "-c", script], 0).await?;
            assert_eq!(ran, executed(7, "hello\n", "err\n"));
            let ran = it.exec_sync(&["true"], 10).await?;
            assert_eq!(ran, executed(0, "", ""));
            Ok(it)
        }).await
    }

    async fn an_exec_probe_that_takes_too_long_is_ended(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |it: CriContainer| {
            let error = it.exec_sync(&["sleep", "1234"], 1).await.expect_err("too late");
            assert!(format!("{error:#}").contains("timeout"), "{error:#}");
            // The pattern does not fit the line that looks for it.
            let look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q 'sleep 12[3]4'";
            for _ in 0..300 {
                if it.exec_sync(&["sh", "-c", look], 0).await?.code != 0 {
                    return Ok(it);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            bail!("the command still runs")
        }).await
    }

    async fn an_exec_probe_whose_command_is_not_there_fails(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |it: CriContainer| {
            let error = it.exec_sync(&["nope"], 0).await.expect_err("it is not there");
            assert!(format!("{error:#}").contains("nope"), "{error:#}");
            assert_eq!(it.exec_sync(&["true"], 0).await?.code, 0);
            Ok(it)
        }).await
    }

    async fn kubectl_exec_streams_input_and_output_and_tells_the_exit_code(runtime: Runtime) -> Result<()> {
        beside_a_sleeper(runtime, async |it: CriContainer| {
            let script = "read line; echo got $line; echo err >&2; exit 5";
            let ran = it.exec(&["sh", "-c", script], "a line\n").await?;
            assert_eq!(ran, executed(5, "got a line\n", "err\n"));
            let ran = it.exec(&["true"], "").await?;
            assert_eq!(ran.code, 0);
            Ok(it)
        }).await
    }
}

#[tokio::test]
async fn a_probe_of_a_wasm_container_runs_wasm_or_linux_programs() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::linux_builder("guests")?
        .file("/app.wasm", guests::module("sleep")?, 0o644)
        .file("/exports.wasm", guests::module("exports")?, 0o644)
        .entrypoint(["/app.wasm", "3600"])
        .build()?;
    containerd.import_cri(&[&image]).await?;
    let pod = containerd
        .cri()
        .await?
        .run_pod("exec", PodOptions::default())
        .await?;
    let it = pod.run(PodContainer::new("it", &image)).await?;
    let ran = it.exec_sync(&["/exports.wasm#other"], 0).await?;
    assert_eq!(ran, executed(0, "other\n", ""));
    let ran = it.exec_sync(&["echo", "linux"], 0).await?;
    assert_eq!(ran, executed(0, "linux\n", ""));
    let ran = it.exec(&["/exports.wasm"], "").await?;
    assert_eq!(ran, executed(0, "start\n", ""));
    let error = it.exec_sync(&["nope"], 0).await.expect_err("not there");
    assert!(
        format!("{error:#}").contains("wasm-file#function"),
        "{error:#}"
    );
    pod.remove().await?;
    containerd.close().await
}
