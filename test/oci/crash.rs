//! Commands that are killed at any step: what they leave is removed by `delete --force`.

use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;

/// Kills a command as nothing else would, and cleans up.
fn kill_and_clean(oci: &Oci, started: medley_test::oci::Started) -> Result<()> {
    kill(
        Pid::from_raw(started.child.id().try_into()?),
        Signal::SIGKILL,
    )?;
    started.wait()?;
    clean(oci)
}

/// Has `delete` clean up.
fn clean(oci: &Oci) -> Result<()> {
    oci.run(&["delete", "--force", "it"])?.ok()?;
    assert_eq!(oci.left(), Vec::<String>::new());
    assert!(!oci.root().join("it").exists());
    Ok(())
}

fn create(oci: &Oci, bundle: &Path) -> std::process::Command {
    let mut command = oci.command(&["create", "--bundle"]);
    command.arg(bundle).arg("it");
    command
}

/// A hook that says that it runs, and goes on for ever. It is the test's to end.
fn stuck(spec: Spec, kind: &str, mark: &Path) -> Spec {
    let mark = mark.display();
    let script = format!("echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 3600");
    spec.edit(|json| {
        json["hooks"][kind] = serde_json::json!([{"path": "/bin/sh",
            "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
    })
}

/// Ends the hook that has left `mark`, if it lives.
fn end_hook(mark: &Path) -> Result<()> {
    let pid = std::fs::read_to_string(mark)?.trim().parse()?;
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[tokio::test]
async fn a_create_killed_in_a_hook_is_cleaned_up() -> Result<()> {
    // That of the container itself is in its cgroup and ends with it; its pid is another's here.
    for kind in ["createRuntime", "createContainer"] {
        let oci = Oci::new(Runtime::Medley)?;
        let mark = oci.dir().join("mark");
        let bundle = oci.script("it", "true", |spec| stuck(spec, kind, &mark))?;
        let started = oci.start(create(&oci, &bundle))?;
        proc::until("the hook runs", || mark.exists()).await?;
        assert_eq!(oci.state("it")?["status"], "creating");
        kill(
            Pid::from_raw(started.child.id().try_into()?),
            Signal::SIGKILL,
        )?;
        started.wait()?;
        if kind == "createRuntime" {
            end_hook(&mark)?;
        }
        clean(&oci)?;
        oci.close()?;
    }
    Ok(())
}

#[tokio::test]
async fn a_create_that_hangs_is_ended_by_delete() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let mark = oci.dir().join("mark");
    let bundle = oci.script("it", "true", |spec| stuck(spec, "createRuntime", &mark))?;
    let started = oci.start(create(&oci, &bundle))?;
    proc::until("the hook runs", || mark.exists()).await?;
    let said = oci.run(&["delete", "it"])?;
    assert_eq!(said.code, 1);
    oci.run(&["delete", "--force", "it"])?.ok()?;
    assert!(started.wait()?.code != 0);
    end_hook(&mark)?;
    oci.close()
}

/// At moments that no event names.
#[tokio::test]
async fn a_create_killed_at_any_moment_is_cleaned_up() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let bundle = oci.script("it", "true", |spec| spec)?;
    for moment in (0..32).map(Duration::from_millis) {
        let started = oci.start(create(&oci, &bundle))?;
        tokio::time::sleep(moment).await;
        kill_and_clean(&oci, started)?;
    }
    oci.close()
}

#[tokio::test]
async fn a_start_that_is_killed_leaves_a_container_in_a_state() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let mark = oci.dir().join("mark");
    let bundle = oci.script("it", "exec sleep 3600", |spec| {
        stuck(spec, "poststart", &mark)
    })?;
    oci.create("it", &bundle)?;
    let started = oci.start(oci.command(&["start", "it"]))?;
    proc::until("the hook runs", || mark.exists()).await?;
    assert_eq!(oci.state("it")?["status"], "running");
    kill(
        Pid::from_raw(started.child.id().try_into()?),
        Signal::SIGKILL,
    )?;
    started.wait()?;
    assert_eq!(oci.state("it")?["status"], "running");
    oci.run(&["delete", "--force", "it"])?.ok()?;
    end_hook(&mark)?;
    oci.close()
}

/// Init is the caller's to reap, and nothing of Medley's stays.
#[tokio::test]
async fn no_process_stays_while_a_container_runs() -> Result<()> {
    let oci = Oci::new(Runtime::Medley)?;
    let bundle = oci.script("it", "exec sleep 3600", |spec| spec)?;
    oci.create("it", &bundle)?;
    let pid = oci.state("it")?["pid"].to_string();
    let only = |left: Vec<String>| left.len() == 1 && left[0].contains(&format!("process {pid} "));
    let processes = || oci.processes();
    assert!(only(processes()), "{:?}", processes());
    oci.run(&["start", "it"])?.ok()?;
    assert!(only(processes()), "{:?}", processes());
    oci.run(&["delete", "--force", "it"])?.ok()?;
    oci.close()
}
