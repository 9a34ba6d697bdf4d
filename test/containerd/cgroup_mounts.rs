//! A container's own cgroups, seen in it.

use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::{Value, json};

/// What the CRI and Docker mount.
fn with_cgroups(json: &mut Value, access: &str) {
    if let Some(mounts) = json["mounts"].as_array_mut() {
        mounts.push(json!({
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", access],
        }));
    }
}

/// What a container says of its cgroups.
const LOOK: &str = "cd /sys/fs/cgroup; for it in *; do echo $it $(readlink $it); done; \
    sed 's/^[0-9]*://; s/:.*//' /proc/self/cgroup | sort; \
    grep -c . */cgroup.procs cgroup.procs 2>/dev/null; \
    for at in */; do mkdir $at/made 2>/dev/null && echo made $at && rmdir $at/made; done; true";

/// Runs a script in a container that sees its cgroups, in a pid namespace of its own or that of
/// another, where init has a number that no process of the node has.
async fn says(
    runtime: Runtime,
    (access, joins, own): (&str, bool, bool),
    script: &str,
) -> Result<String> {
    let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
    let spec = client.spec(&image, "host").args(["/bin/sleep", "3600"]);
    let host = client.create("host", &image, spec).await?;
    let hosting = host.start(Stdin::None).await?;
    let spec = client
        .spec(&image, "it")
        .args(["/bin/sh", "-c", script])
        .edit(|json| {
            with_cgroups(json, access);
            if let Some(all) = json["linux"]["namespaces"].as_array_mut() {
                if joins {
                    let path = format!("/proc/{}/ns/pid", hosting.pid);
                    all.retain(|namespace| namespace["type"] != "pid");
                    all.push(json!({"type": "pid", "path": path}));
                }
                if own {
                    all.push(json!({"type": "cgroup"}));
                }
            }
        });
    if joins {
        let last: i32 = std::fs::read_to_string("/proc/sys/kernel/pid_max")?
            .trim()
            .parse()?;
        let last = (last / 2..last - 200).rev().find(|pid| {
            (0..100).all(|more| !std::path::Path::new(&format!("/proc/{}", pid + more)).exists())
        });
        let last = last.context("every process number is in use")?;
        let write = format!("echo {last} > /proc/sys/kernel/ns_last_pid");
        let pid = hosting.pid.to_string();
        let written = std::process::Command::new("nsenter")
            .args(["-t", &pid, "-p", "sh", "-c", &write])
            .status()?;
        ensure!(written.success(), "ns_last_pid cannot be written");
    }
    let done = client.run("it", &image, spec).await?;
    assert_eq!(done.code, 0, "{done:?}");
    hosting.destroy().await?;
    host.delete().await?;
    containerd.close().await?;
    Ok(done.stdout)
}

/// Both runtimes say the same.
async fn are_same(how: (&str, bool, bool)) -> Result<String> {
    let runc = says(Runtime::Runc, how, LOOK).await?;
    let medley = says(Runtime::Medley, how, LOOK).await?;
    assert_eq!(medley, runc, "{how:?}");
    Ok(medley)
}

#[tokio::test]
async fn a_container_sees_its_cgroups_and_changes_none() -> Result<()> {
    let said = are_same(("ro", false, false)).await?;
    assert!(!said.contains("made"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_container_that_may_writes_to_its_cgroups() -> Result<()> {
    let said = are_same(("rw", false, false)).await?;
    assert!(said.contains("made"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_container_of_its_own_cgroup_namespace_sees_its_cgroups() -> Result<()> {
    are_same(("ro", false, true)).await.map(drop)
}

#[tokio::test]
async fn a_container_in_the_pid_namespace_of_another_sees_its_cgroups() -> Result<()> {
    are_same(("ro", true, false)).await.map(drop)
}

each_runtime! {
    async fn the_limits_in_sight_are_the_containers_own(runtime: Runtime) -> Result<()> {
        let script = "cat /sys/fs/cgroup/pids/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | head -n 1";
        assert_eq!(says(runtime, ("ro", false, false), script).await?, "1\n");
        Ok(())
    }
}
