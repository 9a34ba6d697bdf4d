//! How many compilers run at a time, where they count, and what is not compiled again.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures_util::future::try_join_all;
use guests::large;
use medley_test::stdio::Stdin;
use medley_test::*;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

/// Tells the shims of a containerd how many they are to run.
const COMPILERS: &str = "CONTAINERD_SHIM_WASM_COMPILERS";

async fn containerd(compilers: &str) -> Result<Containerd> {
    let options = Options::new(Runtime::Medley).env(COMPILERS, compilers);
    Containerd::start_with(options).await
}

/// The compilers that run for a containerd.
fn running(containerd: &Containerd) -> BTreeSet<u32> {
    let shims = containerd.shims().into_iter();
    let shims = shims.filter_map(|shim| u32::try_from(shim.pid).ok());
    let children = shims.flat_map(proc::children_of);
    children.filter(|pid| proc::is_compiler(*pid)).collect()
}

/// The one slot of a cache, taken.
fn take_the_slot(cache: &Path) -> Result<Flock<File>> {
    let slots = cache.join("slots");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&slots)?;
    let slot = File::create(slots.join("0"))?;
    Flock::lock(slot, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno.into())
}

#[tokio::test]
async fn ten_modules_are_compiled_as_many_at_once_as_the_node_takes() -> Result<()> {
    let containerd = containerd("2").await?;
    let module = large::enlarged(&guests::module("hello")?, 128 << 10)?;
    let mut images = Vec::new();
    for number in 0..10 {
        let module = large::padded(&module, 16 + number);
        images.push(images::wasm(&format!("m{number}"), &module)?);
    }
    containerd
        .import(&images.iter().collect::<Vec<_>>())
        .await?;
    let client = containerd.client().await?;
    let ids: Vec<String> = (0..images.len())
        .map(|number| format!("c{number}"))
        .collect();
    let runs = ids
        .iter()
        .zip(&images)
        .map(|(id, image)| client.run_image(id, image));
    let runs = try_join_all(runs);
    tokio::pin!(runs);
    let (mut seen, mut most) = (BTreeSet::new(), 0);
    let done = loop {
        tokio::select! {
            done = &mut runs => break done?,
            () = tokio::time::sleep(std::time::Duration::from_millis(2)) => {
                let now = running(&containerd);
                most = most.max(now.len());
                seen.extend(now);
            }
        }
    };
    assert!(done.iter().all(|done| done.stdout == "hello\n"), "{done:?}");
    assert!(seen.len() > 2, "only {} compilers were seen", seen.len());
    assert!((1..=2).contains(&most), "{most} compilers at a time");
    containerd.close().await
}

#[tokio::test]
async fn a_create_that_is_given_up_waits_for_no_compiler() -> Result<()> {
    let containerd = containerd("1").await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let slot = take_the_slot(&containerd.dir().join("cache"))?;
    let client = containerd.client().await?;
    let container = client
        .create("it", &image, client.spec(&image, "it"))
        .await?;
    let told = "/hello.wasm waits to be compiled: as many compilers run as may, 1";
    tokio::select! {
        task = container.task(Stdin::None) => {
            bail!("it did not wait: {task:?}");
        }
        waits = proc::until(told, || containerd.log().contains(told)) => waits?,
    }
    // The call was dropped, which cancels it; the slot is taken all the while.
    proc::until("the end of its shim", || containerd.shims().is_empty()).await?;
    container.delete().await?;
    drop(slot);
    let done = client.run_image("other", &image).await?;
    assert_eq!(done.stdout, "hello\n");
    containerd.close().await
}

#[tokio::test]
async fn a_cache_that_is_warmed_takes_its_turn() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("medley-{}", leftovers::unique()));
    fs::create_dir(&dir)?;
    let (cache, module) = (dir.join("cache"), dir.join("hello.wasm"));
    fs::write(&module, guests::module("hello")?)?;
    let slot = take_the_slot(&cache)?;
    let mut warm = Command::new(runtime::shim_path()?)
        .args(["cache", "warm", "--dir"])
        .args([&cache, &module])
        .env(COMPILERS, "1")
        .spawn()?;
    let pid = warm.id();
    let path = cache.join("slots/0").canonicalize()?;
    // Its helper for the fingerprint has come and gone by then.
    proc::until("it looks at the slot", || {
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut files = files.into_iter().flatten().flatten();
        files.any(|file| fs::read_link(file.path()).is_ok_and(|link| link == path))
    })
    .await?;
    assert!(proc::children_of(pid).is_empty(), "it has a compiler");
    assert!(warm.try_wait()?.is_none());
    drop(slot);
    assert!(warm.wait()?.success());
    assert_eq!(fs::read_dir(cache.join("code"))?.count(), 1);
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// The controllers whose cgroups tell where a process counts.
const COUNTED: [&str; 3] = ["memory", "cpu", "pids"];

/// The dir of a controller that process `pid` counts in; of cgroup v2, where all are one.
fn counts_in(pid: u32, controller: &str) -> Result<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let found = text.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| format!("/sys/fs/cgroup/{controllers}{path}"))
    });
    let unified = || {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some(format!("/sys/fs/cgroup{path}"))
    };
    let found = found.or_else(unified).context("no cgroup")?;
    Ok(found.into())
}

/// The one compiler of a containerd, once it is there.
async fn compiler(containerd: &Containerd) -> Result<u32> {
    let mut pid = None;
    proc::until("a compiler", || {
        pid = running(containerd).into_iter().next();
        pid.is_some()
    })
    .await?;
    pid.context("no compiler")
}

/// Where that compiler counts, for each controller.
async fn where_it_counts(containerd: &Containerd) -> Result<Vec<PathBuf>> {
    let pid = compiler(containerd).await?;
    COUNTED
        .iter()
        .map(|controller| counts_in(pid, controller))
        .collect()
}

/// A container of a pod whose cgroup is `/<namespace>`.
fn of_pod(client: &Client, image: &Image, id: &str) -> Spec {
    client
        .spec(image, id)
        .annotation("io.kubernetes.cri.sandbox-id", id)
}

/// Makes the cgroup of a pod, with this limit of memory in MiB.
fn make_pod(containerd: &Containerd, limit: Option<u64>) -> Result<()> {
    let name = containerd.name();
    containerd.leftovers().make_cgroup(name)?;
    let Some(limit) = limit else {
        return Ok(());
    };
    let v1 = format!("/sys/fs/cgroup/memory/{name}/memory.limit_in_bytes");
    let v2 = format!("/sys/fs/cgroup/{name}/memory.max");
    let file = if Path::new(&v1).exists() { v1 } else { v2 };
    Ok(fs::write(file, (limit << 20).to_string())?)
}

/// Work for some seconds.
fn large_image() -> Result<Image> {
    let module = large::enlarged(&guests::module("hello")?, 3 << 19)?;
    images::wasm("hello", &module)
}

#[tokio::test]
async fn a_compiler_counts_in_the_pod_of_its_container() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = large_image()?;
    containerd.import(&[&image]).await?;
    make_pod(&containerd, None)?;
    let client = containerd.client().await?;
    let run = client.run("it", &image, of_pod(&client, &image, "it"));
    let (done, dirs) = tokio::try_join!(run, where_it_counts(&containerd))?;
    assert_eq!(done.stdout, "hello\n");
    for dir in dirs {
        let pod = dir.parent().and_then(Path::file_name);
        assert_eq!(pod, Some(containerd.name().as_ref()), "{dir:?}");
        assert!(!dir.exists(), "{dir:?} is left");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_pod_that_has_too_little_for_a_compiler_starts_all_the_same() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = large_image()?;
    containerd.import(&[&image]).await?;
    make_pod(&containerd, Some(64))?;
    let client = containerd.client().await?;
    let run = client.run("it", &image, of_pod(&client, &image, "it"));
    let shim = u32::try_from(containerd.pid())?;
    let (done, dirs) = tokio::try_join!(run, where_it_counts(&containerd))?;
    assert_eq!(done.stdout, "hello\n");
    for (controller, dir) in COUNTED.into_iter().zip(dirs) {
        let shared = dir.parent().and_then(Path::file_name);
        assert_eq!(shared, Some("medley-compilers".as_ref()), "{dir:?}");
        assert_ne!(dir, counts_in(shim, controller)?);
        assert!(!dir.exists(), "{dir:?} is left");
    }
    containerd.close().await
}

/// Small, and much work: what it takes is seen only when it is taken.
fn heavy_image() -> Result<Image> {
    // Calls of itself, none of which can be left out.
    let body = [0x10, 0].repeat(400_000);
    images::wasm("heavy", &large::of_body(&body))
}

#[tokio::test]
async fn a_compiler_that_is_killed_for_its_pods_limit_says_so() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = heavy_image()?;
    containerd.import(&[&image]).await?;
    make_pod(&containerd, Some(72))?;
    let client = containerd.client().await?;
    let spec = of_pod(&client, &image, "it");
    let status = client.refused("it", &image, spec).await?;
    let message = status.message();
    for part in ["/heavy.wasm", "limit of 72 MiB of its pod", "cache warm"] {
        assert!(message.contains(part), "no {part:?} in {message}");
    }
    // Another node, or another limit, may have what it needs.
    assert!(!containerd.dir().join("cache/failed").exists());
    containerd.close().await
}

#[tokio::test]
async fn a_killed_shim_leaves_no_compiler_and_no_cgroup_of_one() -> Result<()> {
    for limit in [None, Some(64)] {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let image = large_image()?;
        containerd.import(&[&image]).await?;
        make_pod(&containerd, limit)?;
        let client = containerd.client().await?;
        let spec = of_pod(&client, &image, "it");
        let container = client.create("it", &image, spec).await?;
        let kill = async {
            let pid = compiler(&containerd).await?;
            let dir = counts_in(pid, "memory")?;
            let shim = containerd.shims().into_iter().next().context("no shim")?;
            nix::sys::signal::kill(Pid::from_raw(shim.pid), Signal::SIGKILL)?;
            anyhow::Ok((pid, dir))
        };
        let (task, killed) = tokio::join!(container.task(Stdin::None), kill);
        let (pid, dir) = killed?;
        assert!(task.is_err(), "{task:?}");
        proc::until("the end of the compiler", || !proc::is_alive(pid)).await?;
        proc::until("the end of its cgroup", || !dir.exists()).await?;
        container.delete().await?;
        containerd.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_signal_to_a_compiler_does_not_count_against_its_module() -> Result<()> {
    let image = large_image()?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    // What a module that takes too long, or that an engine can't stand, ends a compiler by.
    for (id, signal) in [("xcpu", Signal::SIGXCPU), ("segv", Signal::SIGSEGV)] {
        let kill = async {
            let pid = i32::try_from(compiler(&containerd).await?)?;
            while nix::sys::signal::kill(Pid::from_raw(pid), signal).is_ok() {
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        let spec = client.spec(&image, id);
        let (refused, killed) = tokio::join!(client.refused(id, &image, spec), kill);
        killed?;
        let status = refused?;
        assert!(status.message().contains("the compiler ended"), "{status}");
    }
    assert!(!containerd.dir().join("cache/failed").exists());
    let spec = client.spec(&image, "it");
    assert_eq!(client.run("it", &image, spec).await?.stdout, "hello\n");
    containerd.close().await
}

#[tokio::test]
async fn a_failed_module_is_not_compiled_until_it_is_forgotten() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let mut module = guests::module("hello")?;
    module.truncate(module.len() - 3);
    let image = images::wasm("hello", &module)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let again = || containerd.log().matches("not compiled again: ").count();
    let mut said = Vec::new();
    for (id, known) in [("first", 0), ("second", 1), ("third", 2)] {
        let status = client.refused(id, &image, client.spec(&image, id)).await?;
        said.push(status.message().replace(id, "it"));
        proc::until(id, || again() == known).await?;
    }
    assert!(
        said[0].contains("/hello.wasm is not valid Wasm"),
        "{said:?}"
    );
    assert!(said.iter().all(|each| *each == said[0]), "{said:?}");

    let cache = |args: &[&str]| -> Result<String> {
        let done = Command::new(runtime::shim_path()?)
            .arg("cache")
            .args(args)
            .arg("--dir")
            .arg(containerd.dir().join("cache"))
            .output()?;
        ensure!(done.status.success(), "{done:?}");
        Ok(String::from_utf8(done.stdout)?)
    };
    let listed = cache(&["ls"])?;
    assert!(
        listed.contains("/hello.wasm") && listed.contains("not valid Wasm"),
        "{listed}"
    );
    assert!(cache(&["stat"])?.contains("failed:         1"));
    assert!(cache(&["prune"])?.contains("1 module that failed may be tried again"));
    client
        .refused("last", &image, client.spec(&image, "last"))
        .await?;
    assert!(cache(&["stat"])?.contains("failed:         1"));
    assert_eq!(again(), 2, "it was not tried again");
    containerd.close().await
}
