//! The shim is killed with SIGKILL while it makes a container: what was made by then goes.

use containerd_shim_protos::{api, protobuf::Message};
use medley_test::kills::{self, SoakRun};
use medley_test::shim::{Bench, Shim};
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A step of Create, and how it is seen to be done.
type Step = (&'static str, fn(&Making) -> bool);

/// The steps in their order. The shim is killed as soon as one is seen.
const STEPS: [Step; 8] = [
    ("the helper runs", |making| {
        !kills::helpers(making.shim).is_empty()
    }),
    ("the record is there", |making| {
        making.has("medley/container.json")
    }),
    ("the rootfs is mounted", |making| making.has("rootfs/bin")),
    ("libcontainer's dir is there", |making| {
        making.has("medley/it")
    }),
    ("there is a cgroup", |making| {
        making.cgroups().any(|dir| dir.exists())
    }),
    ("a process is in the cgroup", |making| {
        let procs = making.cgroups().map(|dir| dir.join("cgroup.procs"));
        let mut texts = procs.filter_map(|procs| std::fs::read_to_string(procs).ok());
        texts.any(|text| !text.is_empty())
    }),
    ("libcontainer's state is there", |making| {
        making.has("medley/it/state.json")
    }),
    ("init is on record", |making| making.has("medley/init.json")),
];

/// A container that is being made.
struct Making {
    shim: u32,
    bundle: PathBuf,
    namespace: String,
}

impl Making {
    fn has(&self, path: &str) -> bool {
        self.bundle.join(path).exists()
    }

    fn cgroups(&self) -> impl Iterator<Item = PathBuf> {
        let own = Path::new(&self.namespace).join("it");
        let unified = Path::new("/sys/fs/cgroup").join(&own);
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten();
        let by_controller = hierarchies.map(move |entry| entry.path().join(&own));
        by_controller.chain([unified])
    }
}

/// A bundle whose rootfs is mounted by the shim, and its shim.
async fn prepare(bench: &Bench, image: &Image) -> Result<(Shim, Making, api::CreateTaskRequest)> {
    let bundle = bench.bundle("it", image)?;
    let source = bundle.join("files");
    std::fs::rename(bundle.join("rootfs"), &source)?;
    std::fs::create_dir(bundle.join("rootfs"))?;
    let spec = Spec::of(image, bench.namespace(), "it");
    std::fs::write(bundle.join("config.json"), spec.json().to_string())?;
    let shim = bench.start("it", &bundle).await?;
    let create = api::CreateTaskRequest {
        id: "it".to_owned(),
        bundle: bundle.to_string_lossy().into_owned(),
        rootfs: vec![containerd_shim_protos::types::mount::Mount {
            type_: "bind".to_owned(),
            source: source.to_string_lossy().into_owned(),
            options: vec!["rbind".to_owned(), "rw".to_owned()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let shim_of = || kills::shim_of(bench.namespace(), "it");
    proc::until("the shim is there", || shim_of().is_some()).await?;
    let making = Making {
        shim: kills::shim_of(bench.namespace(), "it").context("the shim is not there")?,
        bundle,
        namespace: bench.namespace().to_owned(),
    };
    Ok((shim, making, create))
}

/// Kills the shim once `step` is seen, and has `delete` clean up.
async fn killed_at(image: &Image, (name, is_done): Step) -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let (shim, making, create) = prepare(&bench, image).await?;
    let (pid, bundle) = (making.shim, making.bundle.clone());
    let kills = tokio::task::spawn_blocking(move || -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_done(&making) {
            ensure!(Instant::now() < deadline, "never seen: {name}");
        }
        Ok(kill(
            Pid::from_raw(i32::try_from(making.shim)?),
            Signal::SIGKILL,
        )?)
    });
    // It may have answered just before.
    drop(
        shim.call::<_, api::CreateTaskResponse>("Create", &create)
            .await,
    );
    kills.await??;
    // As containerd does, that does not wait for the shim's end but for that of its connection.
    let done = bench.command("it", &bundle, "delete").await?;
    let stderr = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "killed when {name}: {stderr}");
    let answer = api::DeleteResponse::parse_from_bytes(&done.stdout)?;
    ensure!(answer.exit_status == 137, "{answer:?}");
    ensure!(
        kills::helpers(pid).is_empty(),
        "killed when {name}: helpers are left"
    );
    ensure!(
        !bundle.join("medley").exists(),
        "killed when {name}: its dir is left"
    );
    // What containerd does next would fail below a mount.
    std::fs::remove_dir(bundle.join("rootfs")).with_context(|| format!("killed when {name}"))?;
    bench
        .close()
        .await
        .with_context(|| format!("killed when {name}"))
}

fn linux() -> Result<Image> {
    let image = images::linux_builder("linux")?.entrypoint(["/bin/sleep", "3600"]);
    image.build()
}

#[tokio::test]
async fn a_shim_killed_at_any_step_of_create_leaves_nothing() -> Result<()> {
    for image in [linux()?, images::wasm("sleep", &guests::module("sleep")?)?] {
        for step in STEPS {
            // A step that was seen late was another one.
            if image.name.contains("sleep") && step.0 == "the rootfs is mounted" {
                continue;
            }
            killed_at(&image, step).await?;
        }
    }
    Ok(())
}

/// Makes a container and, if `started`, starts it; then kills its shim, with no `delete` to help.
async fn without_delete(image: &Image, started: bool) -> Result<bool> {
    let bench = Bench::new(Runtime::Medley).await?;
    let (shim, making, create) = prepare(&bench, image).await?;
    let made: api::CreateTaskResponse = shim.call("Create", &create).await?;
    if started {
        shim.start("it").await?;
    }
    kill(Pid::from_raw(i32::try_from(making.shim)?), Signal::SIGKILL)?;
    proc::until("the shim is dead", || !proc::is_alive(making.shim)).await?;
    let lives = if started {
        let settled = || !proc::is_alive(made.pid) || proc::rests(made.pid);
        proc::until("init sleeps on or is dead", settled).await?;
        proc::is_alive(made.pid)
    } else {
        let gone = proc::until("init is dead", || !proc::is_alive(made.pid)).await;
        gone.is_err()
    };
    let done = bench.command("it", &making.bundle, "delete").await?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    ensure!(!proc::is_alive(made.pid), "delete has left init");
    bench.close().await?;
    Ok(lives)
}

#[tokio::test]
async fn a_container_that_was_not_started_ends_with_its_shim() -> Result<()> {
    for image in [linux()?, images::wasm("sleep", &guests::module("sleep")?)?] {
        assert!(!without_delete(&image, false).await?, "{}", image.name);
    }
    Ok(())
}

#[tokio::test]
async fn a_container_that_was_started_outlives_its_shim() -> Result<()> {
    for image in [linux()?, images::wasm("sleep", &guests::module("sleep")?)?] {
        assert!(without_delete(&image, true).await?, "{}", image.name);
    }
    Ok(())
}

#[tokio::test]
async fn shims_killed_at_random_under_containerd_leave_nothing() -> Result<()> {
    let tally = kills::run(SoakRun {
        runtime: Runtime::Medley,
        kills: 32,
        at_once: 4,
        seed: 1,
    })
    .await?;
    ensure!(tally.left.is_empty(), "{tally}");
    Ok(())
}

/// Sets how many descriptors a process may have, and what it runs from then on.
fn limit_descriptors(pid: u32, limit: u64) -> Result<()> {
    let (pid, limit) = (format!("--pid={pid}"), format!("--nofile={limit}:"));
    let done = std::process::Command::new("prlimit")
        .args([pid, limit])
        .status()?;
    ensure!(done.success(), "prlimit fails: {done}");
    Ok(())
}

async fn short_of_descriptors(image: &Image) -> Result<()> {
    let bench = Bench::new(Runtime::Medley).await?;
    let (shim, making, create) = prepare(&bench, image).await?;
    let usual = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?.0;
    // The first opens what stays open, such as the connection for events.
    shim.call::<_, api::CreateTaskResponse>("Create", &create)
        .await?;
    shim.delete("it").await?;
    let told = || bench.topics("it").len() == 3;
    proc::until("create, exit and delete are told", told).await?;
    let open = std::fs::read_dir(format!("/proc/{}/fd", making.shim))?.count();
    let mut refused = 0;
    // One more at a time fails one step later.
    for more in 0..40 {
        limit_descriptors(making.shim, u64::try_from(open)? + more)?;
        let made = shim
            .call::<_, api::CreateTaskResponse>("Create", &create)
            .await;
        limit_descriptors(making.shim, usual)?;
        if made.is_ok() {
            shim.delete("it").await?;
        } else {
            refused += 1;
        }
        ensure!(!making.has("medley"), "{more} more: its dir is left");
        ensure!(!making.has("rootfs/bin"), "{more} more: its rootfs is left");
        let cgroup = making.cgroups().find(|dir| dir.exists());
        ensure!(cgroup.is_none(), "{more} more: {cgroup:?} is left");
        ensure!(
            kills::helpers(making.shim).is_empty(),
            "{more} more: a helper is left"
        );
    }
    ensure!((1..40).contains(&refused), "{refused} were refused");
    let now = || std::fs::read_dir(format!("/proc/{}/fd", making.shim)).map_or(0, Iterator::count);
    proc::until("no more descriptors are open than before", || now() <= open).await?;
    shim.shutdown("it").await;
    bench.close().await
}

#[tokio::test]
async fn a_create_that_lacks_descriptors_leaves_nothing() -> Result<()> {
    short_of_descriptors(&linux()?).await?;
    short_of_descriptors(&images::wasm("sleep", &guests::module("sleep")?)?).await
}
