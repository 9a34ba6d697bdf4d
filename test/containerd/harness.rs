//! The harness notices what it is there to notice.

use medley_test::stdio::Stdin;
use medley_test::*;

/// Starts a sleeper with runc, which every machine has.
async fn sleeper(containerd: &Containerd) -> Result<Task> {
    let image = images::linux()?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let spec = client.spec(&image, "it").args(["/bin/sleep", "3600"]);
    client
        .create("it", &image, spec)
        .await?
        .start(Stdin::None)
        .await
}

#[tokio::test]
async fn what_a_container_has_is_reported_as_long_as_it_is_there() -> Result<()> {
    let containerd = Containerd::start(Runtime::Runc).await?;
    let task = sleeper(&containerd).await?;
    let found = containerd
        .leftovers()
        .inspect(&[containerd.pid()])
        .join("\n");
    for kind in ["process", "mount", "cgroup", "socket"] {
        assert!(found.contains(kind), "no {kind} in {found}");
    }
    assert!(
        found.contains(&format!("process {} ", task.pid)),
        "no init in {found}"
    );
    assert_eq!(containerd.shims().len(), 1);
    // Deletes it before it checks.
    containerd.close().await
}

#[tokio::test]
async fn what_outlives_its_container_is_reported() -> Result<()> {
    let containerd = Containerd::start(Runtime::Runc).await?;
    let marker = containerd
        .dir()
        .join("marker")
        .to_string_lossy()
        .into_owned();
    let mut stray = std::process::Command::new("/bin/busybox")
        .args(["sh", "-c", "sleep 60; exit 0", &marker])
        .spawn()?;
    // The one hierarchy of cgroup v2, or any of v1.
    let top = std::path::PathBuf::from("/sys/fs/cgroup");
    let v1 = top.join("pids");
    let root = if top.join("cgroup.procs").exists() {
        top
    } else {
        v1
    };
    let cgroup = root.join(containerd.name()).join("stray");
    std::fs::create_dir_all(&cgroup)?;
    let dir = containerd.dir().to_owned();
    let error = containerd
        .close()
        .await
        .expect_err("a stray process and a cgroup");
    stray.wait()?;
    let text = format!("{error:#}");
    assert!(text.contains(&format!("process {} ", stray.id())), "{text}");
    assert!(
        text.contains(&format!("cgroup {}", cgroup.display())),
        "{text}"
    );
    assert!(!cgroup.exists() && !dir.exists(), "not taken away");
    Ok(())
}

#[tokio::test]
async fn a_containerd_that_is_dropped_takes_everything_with_it() -> Result<()> {
    let containerd = Containerd::start(Runtime::Runc).await?;
    sleeper(&containerd).await?;
    let (leftovers, dir) = (containerd.leftovers().clone(), containerd.dir().to_owned());
    drop(containerd);
    assert_eq!(leftovers.inspect(&[]), Vec::<String>::new());
    assert!(!dir.exists());
    Ok(())
}

#[test]
fn a_missing_guest_is_named() {
    let error = guests::module("no-such-guest").expect_err("there is none");
    assert!(format!("{error:#}").contains("no-such-guest"));
}
