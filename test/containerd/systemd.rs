//! The cgroup driver systemd, which the form of `cgroupsPath` asks for: `slice:prefix:name`.

use crate::metrics::figures;
use medley_test::client::process;
use medley_test::stdio::Stdin;
use medley_test::*;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

const MIB: u64 = 1 << 20;

/// runc's shim is told of the driver by its options; ours can tell by itself.
const OPTIONS: (&str, [u8; 2]) = ("containerd.runc.v1.Options", [9 << 3, 1]);

/// Whether systemd runs here. If not, says past the harness that `what` can't be tried.
fn can_try(what: &str) -> Result<bool> {
    let runs = Path::new("/run/systemd/system").is_dir();
    if !runs {
        let line = format!("\ntest: not tried: {what}: systemd is not pid 1 here\n");
        std::io::stderr().write_all(line.as_bytes())?;
    }
    Ok(runs)
}

/// The cgroup of a process, on the unified hierarchy or else as systemd's own.
fn cgroup_of(pid: u32) -> Result<PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with("0::/") || line.contains(":name=systemd:"));
    let line = line.context("no cgroup")?;
    Ok(line.splitn(3, ':').nth(2).unwrap_or_default().into())
}

/// A property of a unit, as systemd has it.
fn property(unit: &str, name: &str) -> Result<String> {
    let done = std::process::Command::new("systemctl")
        .args(["show", "--value", "-p", name, "--", unit])
        .output()?;
    ensure!(done.status.success(), "systemctl show {unit}: {done:?}");
    Ok(String::from_utf8(done.stdout)?.trim().to_owned())
}

/// Stops a slice, and with it those below. Who asks for one removes it, as the kubelet does: no runtime
/// knows what else is to come into it.
fn stop(slice: &str) -> Result<()> {
    let done = std::process::Command::new("systemctl")
        .args(["stop", "--", slice])
        .output()?;
    ensure!(done.status.success(), "systemctl stop {slice}: {done:?}");
    Ok(())
}

/// A container that sleeps, in a scope of a slice of the containerd's own.
async fn lives_in_a_scope(runtime: Runtime, image: &Image, exec: &[&str]) -> Result<()> {
    let containerd = Containerd::start(runtime).await?;
    containerd.import(&[image]).await?;
    let (kind, options) = OPTIONS;
    let client = containerd
        .client()
        .await?
        .with_options(kind, options.to_vec());
    let slice = format!("{}-pod.slice", containerd.name());
    let spec = client.spec(image, "it").edit(|json| {
        json["linux"]["cgroupsPath"] = json!(format!("{slice}:medley:it"));
        json["linux"]["resources"]["memory"] = json!({"limit": 64 * MIB});
    });
    let container = client.create("it", image, spec).await?;
    let task = container.start(Stdin::None).await?;
    let unit = "medley-it.scope";
    let scope = PathBuf::from(format!("/{}.slice/{slice}/{unit}", containerd.name()));
    assert_eq!(cgroup_of(task.pid)?, scope);
    assert_eq!(property(unit, "ActiveState")?, "active");
    assert_eq!(property(unit, "MemoryMax")?, (64 * MIB).to_string());
    let seen = figures(&task).await?;
    assert_eq!(seen.memory_limit, 64 * MIB);
    assert_eq!(task.pids().await?, [task.pid]);

    let added = task.exec("e", process(exec), Stdin::None).await?;
    let pid = added.start().await?;
    assert_eq!(cgroup_of(pid)?, scope);
    added.kill(9).await?;
    assert_eq!(added.wait().await?, 137);
    added.delete().await?;

    task.update(&json!({"memory": {"limit": 96 * MIB}, "pids": {"limit": 77}}))
        .await?;
    let seen = figures(&task).await?;
    assert_eq!((seen.memory_limit, seen.processes_limit), (96 * MIB, 77));
    assert_eq!(property(unit, "MemoryMax")?, (96 * MIB).to_string());
    task.pause().await?;
    task.resume().await?;

    assert_eq!(task.destroy().await?, 137);
    container.delete().await?;
    proc::until("systemd has forgotten the scope", || {
        property(unit, "ActiveState").is_ok_and(|state| state == "inactive")
    })
    .await?;
    stop(&format!("{}.slice", containerd.name()))?;
    containerd.close().await
}

each_runtime! {
    /// It knows the limits too.
    async fn systemd_makes_the_cgroup_of_a_linux_container(runtime: Runtime) -> Result<()> {
        if !can_try("the cgroup driver systemd, for a linux container")? {
            return Ok(());
        }
        let image = images::linux_builder("linux")?.entrypoint(["/bin/sleep", "3600"]).build()?;
        lives_in_a_scope(runtime, &image, &["sleep", "3600"]).await
    }
}

/// It knows the limits too.
#[tokio::test]
async fn systemd_makes_the_cgroup_of_a_wasm_container() -> Result<()> {
    if !can_try("the cgroup driver systemd, for a wasm container")? {
        return Ok(());
    }
    let image = images::wasm("sleep", &guests::module("sleep")?)?;
    let program = image.args[0].clone();
    lives_in_a_scope(Runtime::Medley, &image, &[&program, "3600"]).await
}

each_runtime! {
    /// runc's shim takes the path literally as long as no option names the driver systemd.
    async fn a_scopes_name_is_a_path_for_cgroupfs(runtime: Runtime) -> Result<()> {
        if Path::new("/run/systemd/system").is_dir() {
            let line = "\ntest: not tried: a scope without systemd: systemd is pid 1 here\n";
            std::io::stderr().write_all(line.as_bytes())?;
            return Ok(());
        }
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let name = format!("{}.slice:medley:it", containerd.name());
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]).edit(|json| {
            json["linux"]["cgroupsPath"] = json!(name);
            json["linux"]["resources"]["pids"] = json!({"limit": 77});
        });
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let cgroup = std::fs::read_to_string(format!("/proc/{}/cgroup", task.pid))?;
        assert!(cgroup.contains(&format!(":/{name}")), "{cgroup}");
        let exec = task.exec("e", process(&["sleep", "3600"]), Stdin::None).await?;
        let pid = exec.start().await?;
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/cgroup"))?, cgroup);
        assert!(task.pids().await?.contains(&pid));
        exec.kill(9).await?;
        exec.wait().await?;
        exec.delete().await?;
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }

    /// Files of cgroup v2 can't be had on v1, and are set on v2.
    async fn limits_by_the_names_of_cgroup_files_are_set_or_refused(runtime: Runtime) -> Result<()> {
        let (containerd, client, image) = Containerd::with_image(runtime, images::linux()?).await?;
        let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]).edit(|json| {
            json["linux"]["resources"] = json!({
                "memory": {"limit": 64 << 20, "swap": 64 << 20},
                "unified": {"memory.oom.group": "1", "memory.high": "max", "memory.low": "4096"},
            });
        });
        if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            let status = client.refused("it", &image, spec).await?;
            assert!(status.message().contains("v1"), "{}", status.message());
            containerd.expect_clean()?;
            return containerd.close().await;
        }
        let container = client.create("it", &image, spec).await?;
        let task = container.start(Stdin::None).await?;
        let dir = Path::new("/sys/fs/cgroup").join(containerd.name()).join("it");
        let read = |file: &str| std::fs::read_to_string(dir.join(file));
        assert_eq!(read("memory.oom.group")?.trim(), "1");
        assert_eq!(read("memory.high")?.trim(), "max");
        assert_eq!(read("memory.low")?.trim(), "4096");
        assert_eq!(read("memory.max")?.trim(), (64 << 20).to_string());
        if dir.join("memory.swap.max").exists() {
            assert_eq!(read("memory.swap.max")?.trim(), "0");
        }
        task.destroy().await?;
        container.delete().await?;
        containerd.close().await
    }
}

/// Where systemd is asked for and does not run there is a sentence, and nothing is left behind.
#[tokio::test]
async fn a_scope_is_refused_where_there_is_no_systemd() -> Result<()> {
    if Path::new("/run/systemd/system").is_dir() {
        let line = "\ntest: not tried: a scope without systemd: systemd is pid 1 here\n";
        std::io::stderr().write_all(line.as_bytes())?;
        return Ok(());
    }
    let image = images::linux()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let client = client.with_options(OPTIONS.0, OPTIONS.1.to_vec());
    let spec = client.spec(&image, "it").edit(|json| {
        json["linux"]["cgroupsPath"] = json!("medley.slice:medley:it");
    });
    let status = client.refused("it", &image, spec).await?;
    let wanted = "the cgroup \"medley.slice:medley:it\" of the container is for systemd to make, \
                  but it does not run on this node: configure the cgroup driver cgroupfs";
    assert!(status.message().contains(wanted), "{}", status.message());
    containerd.expect_clean()?;
    containerd.close().await
}
