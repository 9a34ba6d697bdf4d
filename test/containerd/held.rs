//! A Create, a Start or an exec that is held up: nothing else stands still for it, and it can be ended.

use std::path::{Path, PathBuf};

use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::json;

/// What shims group containers by.
const GROUP: &str = "io.containerd.runc.v2.group";

/// The cgroup by which a process is frozen.
fn freezer(pid: u32) -> Result<PathBuf> {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (controller, mount) = match unified {
        true => ("", "/sys/fs/cgroup"),
        false => ("freezer", "/sys/fs/cgroup/freezer"),
    };
    let found = cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let path = (fields.next()? == controller).then(|| fields.next())??;
        Some(PathBuf::from(format!("{mount}{path}")))
    });
    found.ok_or_else(|| anyhow::anyhow!("no freezer of process {pid} in {cgroups}"))
}

/// Freezes a container behind its shim's back.
fn freeze(cgroup: &Path) -> Result<()> {
    let (file, word) = match cgroup.join("cgroup.freeze").exists() {
        true => ("cgroup.freeze", "1"),
        false => ("freezer.state", "FROZEN"),
    };
    Ok(std::fs::write(cgroup.join(file), word)?)
}

/// How many processes are in a cgroup.
fn members(cgroup: &Path) -> usize {
    let pids = std::fs::read_to_string(cgroup.join("cgroup.procs"));
    pids.map_or(0, |pids| pids.lines().count())
}

/// And that exec can be killed.
#[tokio::test]
async fn orphans_are_reaped_while_an_exec_is_held_up() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let sleeper = |id: &str| {
        let spec = client.spec(&image, id).args(["/bin/sleep", "3600"]);
        spec.annotation(GROUP, "pod")
    };
    let (held, other) = ("held", "other");
    let frozen = client.create(held, &image, sleeper(held)).await?;
    let frozen_task = frozen.start(Stdin::None).await?;
    // Its orphans come to the shim.
    let spec = sleeper(other).edit(|json| {
        if let Some(all) = json["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != "pid");
        }
    });
    let busy = client.create(other, &image, spec).await?;
    let busy_task = busy.start(Stdin::None).await?;
    assert_eq!(containerd.shims().len(), 1);

    let cgroup = freezer(frozen_task.pid)?;
    freeze(&cgroup)?;
    let exec = frozen_task
        .exec("e", process(&["true"]), Stdin::None)
        .await?;
    let (started, ended) = tokio::join!(exec.start(), async {
        // Who makes the process stands still in there.
        proc::until("the exec is on its way", || members(&cgroup) > 1).await?;
        let script = "sleep 0.01 >/dev/null 2>&1 & echo $!";
        let leave = process(&["sh", "-c", script]);
        let (_, orphan, _) = busy_task.run_exec("leave", leave).await?;
        let orphan = PathBuf::from(format!("/proc/{}", orphan.trim()));
        proc::until("the orphan is reaped", || !orphan.exists()).await?;
        assert_eq!(members(&cgroup), 2);
        exec.kill(9).await
    });
    ended?;
    let error = format!("{:#}", started.expect_err("it was killed on its way"));
    assert!(error.contains("was killed"), "{error}");
    exec.delete().await?;
    busy_task.destroy().await?;
    busy.delete().await?;
    frozen_task.destroy().await?;
    frozen.delete().await?;
    containerd.close().await
}

#[tokio::test]
async fn a_create_that_is_held_up_ends_with_its_caller() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    for (number, kind) in ["createRuntime", "createContainer"].iter().enumerate() {
        let id = format!("it{number}");
        let noted = containerd.dir().join(&id);
        let script = format!("echo $$ > {}; exec sleep 3600", noted.display());
        let spec = client.spec(&image, &id).edit(|json| {
            json["hooks"][kind] = json!([{
                "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"],
            }]);
        });
        let container = client.create(&id, &image, spec).await?;
        let pid = || -> Option<u32> { std::fs::read_to_string(&noted).ok()?.trim().parse().ok() };
        tokio::select! {
            made = container.task(Stdin::None) => {
                made?;
                anyhow::bail!("{kind} holds nothing up");
            }
            running = proc::until("the hook runs", || pid().is_some()) => running?,
        }
        // Dropped, it is cancelled, and containerd deletes what there is of the task.
        proc::until("the shim is gone", || containerd.shims().is_empty()).await?;
        let hook = pid().unwrap_or_default();
        // That of createContainer has a pid of its container's.
        if *kind == "createRuntime" {
            proc::until("the hook is gone", || !proc::is_alive(hook)).await?;
        }
        container.delete().await?;
    }
    containerd.close().await
}

/// Of runc a kill may wait for the start to end.
#[tokio::test]
async fn a_start_that_is_held_up_ends_with_the_container() -> Result<()> {
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let spec = client.spec(&image, "it").args(["/bin/true"]).edit(|json| {
        json["hooks"]["startContainer"] =
            json!([{"path": "/bin/sleep", "args": ["sleep", "3600"]}]);
    });
    let container = client.create("it", &image, spec).await?;
    let task = container.task(Stdin::None).await?;
    let (started, killed) = tokio::join!(task.start(), async {
        proc::until("the hook runs", || {
            proc::children_of(task.pid)
                .iter()
                .any(|pid| proc::field(*pid, "Name").is_ok_and(|name| name == "sleep"))
        })
        .await?;
        task.kill(9, false).await
    });
    killed?;
    let error = format!(
        "{:#}",
        started.expect_err("it was killed before its program ran")
    );
    assert!(error.contains("killed"), "{error}");
    task.wait().await?;
    task.delete().await?;
    container.delete().await?;
    containerd.close().await
}
