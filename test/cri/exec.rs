//! Exec probes, lifecycle hooks and `kubectl exec`.

use crate::node::{Node, features};
use medley_test::cri::Executed;
use medley_test::*;
use std::time::Duration;

fn executed(code: i32, stdout: &str, stderr: &str) -> Executed {
    Executed {
        code,
        stdout: stdout.into(),
        stderr: stderr.into(),
    }
}

async fn an_exec_probe_hears_what_its_command_says(node: &Node) -> Result<()> {
    let pod = node.pod("probe").await?;
    let it = pod.run(node.sleeper("it").env("GREETING", "hello")).await?;
    let script = "echo $GREETING; echo err >&2; exit 7";
    let ran = it.exec_sync(&["sh", "-c", script], 0).await?;
    assert_eq!(ran, executed(7, "hello\n", "err\n"));
    let ran = it.exec_sync(&["true"], 10).await?;
    assert_eq!(ran, executed(0, "", ""));
    pod.remove().await
}

/// Waits until no process of the container has `pattern` in its command line, which does not fit
/// the line that looks for it.
async fn ends(it: &CriContainer, pattern: &str) -> Result<()> {
    let look = format!("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -q '{pattern}'");
    for _ in 0..300 {
        if it.exec_sync(&["sh", "-c", &look], 0).await?.code != 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the command still runs")
}

async fn an_exec_probe_that_takes_too_long_is_ended(node: &Node) -> Result<()> {
    let pod = node.pod("timeout").await?;
    let it = pod.run(node.sleeper("it")).await?;
    let error = it
        .exec_sync(&["sleep", "1234"], 1)
        .await
        .expect_err("too late");
    assert!(format!("{error:#}").contains("timeout"), "{error:#}");
    ends(&it, "sleep 12[3]4").await?;
    pod.remove().await
}

async fn an_exec_probe_whose_command_is_not_there_fails(node: &Node) -> Result<()> {
    let pod = node.pod("missing").await?;
    let it = pod.run(node.sleeper("it")).await?;
    let error = it
        .exec_sync(&["nope"], 0)
        .await
        .expect_err("it is not there");
    assert!(format!("{error:#}").contains("nope"), "{error:#}");
    assert_eq!(it.exec_sync(&["true"], 0).await?.code, 0);
    pod.remove().await
}

async fn an_exec_into_a_container_that_has_ended_fails(node: &Node) -> Result<()> {
    let pod = node.pod("ended").await?;
    let it = pod.run(node.shell("it", "true")).await?;
    it.ends_with(0).await?;
    it.exec_sync(&["true"], 0)
        .await
        .expect_err("no container is there");
    pod.remove().await
}

async fn kubectl_exec_streams_and_tells_the_exit_code(node: &Node) -> Result<()> {
    let pod = node.pod("kubectl").await?;
    let it = pod.run(node.sleeper("it")).await?;
    let script = "read line; echo got $line; echo err >&2; exit 5";
    let ran = it.exec(&["sh", "-c", script], "a line\n").await?;
    assert_eq!(ran, executed(5, "got a line\n", "err\n"));
    let ran = it.exec(&["true"], "").await?;
    assert_eq!(ran.code, 0);
    pod.remove().await
}

async fn a_probe_of_a_wasm_container_runs_wasm_or_linux_programs(node: &Node) -> Result<()> {
    let pod = node.pod("exec-guest").await?;
    let it = node.guest_beside_programs("it", &["/sleep.wasm", "3600"]);
    let it = pod.run(it).await?;
    let ran = it.exec_sync(&["/exports.wasm#other"], 0).await?;
    assert_eq!(ran, executed(0, "other\n", ""));
    let ran = it.exec_sync(&["/exit-with-code.wasm", "7"], 0).await?;
    assert_eq!(ran, executed(7, "", ""));
    let ran = it.exec_sync(&["echo", "linux"], 0).await?;
    assert_eq!(ran, executed(0, "linux\n", ""));
    let ran = it.exec(&["/exports.wasm"], "").await?;
    assert_eq!(ran, executed(0, "start\n", ""));
    let error = it.exec_sync(&["nope"], 0).await.expect_err("not there");
    assert!(
        format!("{error:#}").contains("wasm-file#function"),
        "{error:#}"
    );
    pod.remove().await
}

async fn a_probe_of_a_wasm_container_that_takes_too_long_is_ended(node: &Node) -> Result<()> {
    let pod = node.pod("timeout-guest").await?;
    let it = pod.run(node.guest("it", &["/sleep.wasm"])).await?;
    let error = it
        .exec_sync(&["/spin.wasm"], 1)
        .await
        .expect_err("too late");
    assert!(format!("{error:#}").contains("timeout"), "{error:#}");
    let init = it.pid().await?;
    proc::until("init is alone", || proc::beside(init) == [init]).await?;
    assert_eq!(it.exec_sync(&["/hello.wasm"], 0).await?.code, 0);
    pod.remove().await
}

features! {
    linux:
        an_exec_into_a_container_that_has_ended_fails,
        an_exec_probe_hears_what_its_command_says,
        an_exec_probe_that_takes_too_long_is_ended,
        an_exec_probe_whose_command_is_not_there_fails,
        kubectl_exec_streams_and_tells_the_exit_code;
    wasm:
        a_probe_of_a_wasm_container_runs_wasm_or_linux_programs,
        a_probe_of_a_wasm_container_that_takes_too_long_is_ended,
}
