//! The cache of native code: what it saves, and what it may never do.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use futures_util::future::try_join_all;
use medley_test::*;
use nix::mount::{MntFlags, MsFlags};

/// How a shim tells that it had a module compiled.
const COMPILED: &str = "compiled engine=";

/// The files of one dir of the cache.
fn files(containerd: &Containerd, dir: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(containerd.dir().join("cache").join(dir));
    let mut files: Vec<_> = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}

/// How often a compiler has run for this containerd.
fn compiles(containerd: &Containerd) -> usize {
    containerd.log().matches(COMPILED).count()
}

/// Runs the guest `hello`, by module or component, and says what it printed.
async fn hello(containerd: &Containerd, id: &str, image: &Image) -> Result<()> {
    let done = containerd.client().await?.run_image(id, image).await?;
    assert_eq!(
        (done.code, done.stdout.as_str(), done.stderr.as_str()),
        (0, "hello\n", "")
    );
    Ok(())
}

#[tokio::test]
async fn a_module_is_compiled_once() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let module = images::wasm("module", &guests::module("hello")?)?;
    let component = images::wasm("component", &guests::component("hello")?)?;
    containerd.import(&[&module, &component]).await?;
    hello(&containerd, "first", &module).await?;
    let entries = files(&containerd, "code");
    assert_eq!(entries.len(), 1);
    let made = fs::metadata(&entries[0])?.ino();
    hello(&containerd, "second", &module).await?;
    assert_eq!(files(&containerd, "code"), entries);
    let now = fs::metadata(&entries[0])?.ino();
    assert_eq!(made, now, "the entry was written again");
    hello(&containerd, "third", &component).await?;
    hello(&containerd, "fourth", &component).await?;
    assert_eq!(files(&containerd, "code").len(), 2);
    proc::until("both compiles are in the log", || {
        compiles(&containerd) == 2
    })
    .await?;
    containerd.close().await
}

#[tokio::test]
async fn sixteen_first_starts_at_once_compile_once() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    // Large enough that all of them are there before the first is done.
    let module = guests::large::enlarged(&guests::module("hello")?, 1 << 20)?;
    let image = images::wasm("hello", &module)?;
    containerd.import(&[&image]).await?;
    let ids: Vec<String> = (0..16).map(|number| format!("c{number}")).collect();
    try_join_all(ids.iter().map(|id| hello(&containerd, id, &image))).await?;
    proc::until("the compile is in the log", || compiles(&containerd) > 0).await?;
    hello(&containerd, "late", &image).await?;
    assert_eq!(compiles(&containerd), 1, "{}", containerd.log());
    for (dir, count) in [("code", 1), ("keys", 1), ("locks", 0)] {
        assert_eq!(files(&containerd, dir).len(), count, "{dir}");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_module_that_fails_to_compile_fails_all_that_wait() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let mut module = guests::large::enlarged(&guests::module("hello")?, 1 << 20)?;
    module.truncate(module.len() - 3);
    let image = images::wasm("hello", &module)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let ids: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let refusals = ids
        .iter()
        .map(|id| client.refused(id, &image, client.spec(&image, id)));
    for status in try_join_all(refusals).await? {
        let message = status.message();
        assert!(
            message.contains("/hello.wasm is not valid Wasm"),
            "{message}"
        );
    }
    assert_eq!(files(&containerd, "code").len(), 0);
    containerd.close().await
}

#[tokio::test]
async fn a_damaged_entry_costs_a_compile_and_no_start() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    hello(&containerd, "first", &image).await?;
    let entry = files(&containerd, "code").remove(0);
    let mut code = fs::read(&entry)?;
    let middle = code.len() / 2;
    code[middle] ^= 1;
    fs::set_permissions(&entry, fs::Permissions::from_mode(0o600))?;
    fs::write(&entry, &code)?;
    hello(&containerd, "second", &image).await?;
    assert_ne!(fs::read(&entry)?, code, "the damaged entry is still there");
    let told = format!("{} is damaged and was removed", entry.display());
    proc::until(&told, || containerd.log().contains(&told)).await?;
    hello(&containerd, "third", &image).await?;
    proc::until("two compiles", || compiles(&containerd) == 2).await?;
    containerd.close().await
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_costs_no_start() -> Result<()> {
    for broken in ["a file", "somebody else's"] {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let image = images::wasm("hello", &guests::module("hello")?)?;
        containerd.import(&[&image]).await?;
        let dir = containerd.dir().join("cache");
        if broken == "a file" {
            fs::write(&dir, "")?;
        } else {
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        }
        hello(&containerd, "x", &image).await?;
        proc::until(broken, || containerd.log().contains("not cached: ")).await?;
        containerd.close().await?;
    }
    Ok(())
}

/// Mounts a file system in memory where the cache is to be.
fn mount_cache(containerd: &Containerd, size: &str) -> Result<PathBuf> {
    let dir = containerd.dir().join("cache");
    fs::create_dir_all(&dir)?;
    let options = format!("mode=0700,size={size}");
    nix::mount::mount(
        Some("medley-test"),
        &dir,
        Some("tmpfs"),
        MsFlags::empty(),
        Some(options.as_str()),
    )?;
    Ok(dir)
}

fn unmount_cache(dir: &Path) -> Result<()> {
    Ok(nix::mount::umount2(dir, MntFlags::MNT_DETACH)?)
}

#[tokio::test]
async fn a_full_disk_costs_no_start_and_keeps_no_half_of_an_entry() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    // Room for the dirs, and for a part of an entry.
    let dir = mount_cache(&containerd, "32k")?;
    for id in ["first", "second"] {
        hello(&containerd, id, &image).await?;
    }
    let told = "No space left on device";
    proc::until(told, || containerd.log().contains(told)).await?;
    for part in ["code", "keys"] {
        assert_eq!(files(&containerd, part), Vec::<PathBuf>::new());
    }
    unmount_cache(&dir)?;
    containerd.close().await
}

#[tokio::test]
async fn a_read_only_cache_gives_what_it_has_and_costs_no_start() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let known = images::wasm("known", &guests::module("hello")?)?;
    let other = images::wasm("other", &guests::component("hello")?)?;
    containerd.import(&[&known, &other]).await?;
    let dir = mount_cache(&containerd, "64m")?;
    hello(&containerd, "first", &known).await?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    nix::mount::mount(None::<&str>, &dir, None::<&str>, read_only, None::<&str>)?;
    hello(&containerd, "second", &known).await?;
    hello(&containerd, "third", &other).await?;
    let told = "Read-only file system";
    proc::until(told, || containerd.log().contains(told)).await?;
    assert_eq!(compiles(&containerd), 2, "{}", containerd.log());
    unmount_cache(&dir)?;
    containerd.close().await
}

/// As hardened nodes mount all that is written to.
#[tokio::test]
async fn a_cache_that_is_mounted_noexec_costs_no_start() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let module = images::wasm("module", &guests::module("hello")?)?;
    let component = images::wasm("component", &guests::component("hello")?)?;
    containerd.import(&[&module, &component]).await?;
    let dir = mount_cache(&containerd, "64m")?;
    let noexec = MsFlags::MS_REMOUNT | MsFlags::MS_NOEXEC | MsFlags::MS_NOSUID;
    nix::mount::mount(None::<&str>, &dir, None::<&str>, noexec, None::<&str>)?;
    for id in ["first", "second"] {
        hello(&containerd, &format!("module-{id}"), &module).await?;
        hello(&containerd, &format!("component-{id}"), &component).await?;
    }
    let told = "mount it without noexec";
    proc::until(told, || containerd.log().contains(told)).await?;
    proc::until("both compiles", || compiles(&containerd) == 2).await?;
    unmount_cache(&dir)?;
    containerd.close().await
}

/// The sentence comes from what it exports, with or without cached code, each time that it is tried.
#[tokio::test]
async fn a_module_that_cannot_start_is_not_compiled() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let large = guests::large::enlarged(&guests::module("hello")?, 8 << 20)?;
    let image = images::wasm("hello", &large)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let used = || nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    let spec = client.spec(&image, "none").args(["/hello.wasm#handle"]);
    let status = client.refused("none", &image, spec).await?;
    let message = status.message();
    assert!(
        message.contains("/hello.wasm has no function \"handle\" to call; it exports"),
        "{message}"
    );
    assert_eq!(files(&containerd, "code").len(), 0);
    // The same by the command line, whose compiler's time can be told: the validation of 8 MB, of
    // which the compile takes some thirty times as long.
    let path = containerd.dir().join("reactor.wasm");
    let reactor = renamed(&large);
    fs::write(&path, reactor)?;
    let before = used()?.user_time();
    let done = std::process::Command::new(runtime::shim_path()?)
        .args(["cache", "warm", "--dir"])
        .arg(containerd.dir().join("cache"))
        .arg(&path)
        .output()?;
    let took = used()?.user_time() - before;
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(
        said.contains("has no function \"_start\" to call"),
        "{said}"
    );
    assert!(took.tv_sec() < 4, "{took} of processor time");
    containerd.close().await
}

/// A command as a reactor: its `_start` has another name of the same length.
fn renamed(module: &[u8]) -> Vec<u8> {
    let mut module = module.to_vec();
    let starts: Vec<usize> = (0..module.len().saturating_sub(6))
        .filter(|at| &module[*at..at + 6] == b"_start")
        .collect();
    for at in starts {
        module[at..at + 6].copy_from_slice(b"_begin");
    }
    module
}

#[tokio::test]
async fn users_share_an_entry() -> Result<()> {
    let image = images::wasm("hello", &guests::module("hello")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    for (id, user) in [("one", 1000), ("two", 2000), ("root", 0)] {
        let spec = client.spec(&image, id).user(user, user);
        let done = client.run(id, &image, spec).await?;
        assert_eq!((done.code, done.stdout.as_str()), (0, "hello\n"), "{id}");
    }
    assert_eq!(files(&containerd, "code").len(), 1);
    containerd.close().await
}

/// A mapping of a file, as `/proc/<pid>/smaps` has it.
#[derive(Debug)]
struct Mapping {
    permissions: String,
    inode: u64,
    private_dirty: u64,
}

fn mappings(pid: u32) -> Result<Vec<Mapping>> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [range, permissions, _, _, inode, ..] if range.contains('-') => found.push(Mapping {
                permissions: (*permissions).to_owned(),
                inode: inode.parse()?,
                private_dirty: 0,
            }),
            ["Private_Dirty:", size, "kB"] => {
                let last = found.last_mut().context("no mapping")?;
                last.private_dirty = size.parse()?;
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Native code is the file's own pages in every replica, and so is the initial memory until the
/// guest writes to it.
#[tokio::test]
async fn replicas_share_one_copy_and_what_is_mapped_is_never_removed() -> Result<()> {
    for form in ["module", "component"] {
        let containerd = Containerd::start(Runtime::Medley).await?;
        let guest = if form == "module" {
            guests::module("sleep")?
        } else {
            guests::component("sleep")?
        };
        let image = images::wasm("sleep", &guest)?;
        containerd.import(&[&image]).await?;
        let client = containerd.client().await?;
        let mut up = Vec::new();
        for id in ["a", "b", "c"] {
            let container = client.create(id, &image, client.spec(&image, id)).await?;
            up.push((container.start(stdio::Stdin::None).await?, container));
            let code = files(&containerd, "code");
            assert_eq!(code.len(), 1, "{form}");
            // As a node that runs out of room would, between two starts.
            let pruned = shim_cache(&containerd, &["prune", "--all"])?;
            assert!(pruned.contains("kept 1 entry"), "{form}: {pruned}");
        }
        let inode = fs::metadata(&files(&containerd, "code")[0])?.ino();
        for (task, _) in &up {
            let all = mappings(task.pid)?;
            let ours: Vec<_> = all.iter().filter(|one| one.inode == inode).collect();
            let code: Vec<_> = ours
                .iter()
                .filter(|one| one.permissions == "r-xp")
                .collect();
            assert!(!code.is_empty(), "{form}: no code in {ours:?}");
            assert!(
                code.iter().all(|one| one.private_dirty == 0),
                "{form}: {code:?}"
            );
            assert!(
                ours.iter().any(|one| one.permissions == "rw-p"),
                "{form}: the memory's image is not of the file: {ours:?}"
            );
        }
        for (task, container) in up {
            task.destroy().await?;
            container.delete().await?;
        }
        let pruned = shim_cache(&containerd, &["prune", "--all"])?;
        assert!(pruned.contains("removed 1 entry"), "{form}: {pruned}");
        assert_eq!(compiles(&containerd), 1, "{form}");
        containerd.close().await?;
    }
    Ok(())
}

/// Runs a command that must not fail.
fn run(program: &str, args: &[&str]) -> Result<()> {
    let done = std::process::Command::new(program).args(args).output()?;
    ensure!(done.status.success(), "{program} {args:?}: {done:?}");
    Ok(())
}

/// Where the kernel has fs-verity, a page that the disk has changed is never mapped, even in a boot
/// in which the entry was found whole. Where it has not, nothing says that it has.
#[tokio::test]
async fn where_the_file_system_can_the_kernel_checks_every_page() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let can = Path::new("/sys/fs/ext4/features/verity").exists();
    let disk = containerd.dir().join("disk");
    fs::File::create(&disk)?.set_len(64 << 20)?;
    let path = disk.to_string_lossy().into_owned();
    let features = if can { "verity" } else { "extent" };
    // As large as a page, which old kernels want of a block.
    run("mkfs.ext4", &["-q", "-b", "4096", "-O", features, &path])?;
    let dir = containerd.dir().join("cache");
    fs::create_dir(&dir)?;
    let mount_disk = || {
        run("mount", &["-o", "loop", &path, &dir.to_string_lossy()])?;
        anyhow::Ok(fs::set_permissions(
            &dir,
            fs::Permissions::from_mode(0o700),
        )?)
    };
    mount_disk()?;
    hello(&containerd, "first", &image).await?;
    let stat: serde_json::Value =
        serde_json::from_str(&shim_cache(&containerd, &["stat", "--json"])?)?;
    assert_eq!(stat["verity"], i32::from(can), "{stat}");
    if can {
        let code = fs::read(files(&containerd, "code").remove(0))?;
        run("umount", &[&dir.to_string_lossy()])?;
        // The whole entry, wherever its blocks are: one bit of each of its pages.
        let mut bytes = fs::read(&disk)?;
        let pages: std::collections::HashSet<&[u8]> = code.chunks_exact(4096).collect();
        let zeroes = [0; 4096];
        let hits: Vec<usize> = bytes
            .chunks_exact(4096)
            .enumerate()
            .filter(|(_, block)| *block != zeroes && pages.contains(block))
            .map(|(index, _)| index * 4096)
            .collect();
        assert!(!hits.is_empty());
        hits.iter().for_each(|at| bytes[*at] ^= 1);
        fs::write(&disk, bytes)?;
        mount_disk()?;
        hello(&containerd, "second", &image).await?;
        proc::until("another compile", || compiles(&containerd) == 2).await?;
    }
    run("umount", &[&dir.to_string_lossy()])?;
    containerd.close().await
}

/// What `cache` of the shim prints for this containerd's cache.
fn shim_cache(containerd: &Containerd, args: &[&str]) -> Result<String> {
    let done = std::process::Command::new(runtime::shim_path()?)
        .arg("cache")
        .args(args)
        .env("CONTAINERD_SHIM_WASM_CACHE", containerd.dir().join("cache"))
        .output()?;
    assert!(done.status.success(), "{done:?}");
    Ok(String::from_utf8(done.stdout)?)
}

/// Prunes as fast as it can while containers start.
#[tokio::test]
async fn no_start_fails_while_the_cache_is_pruned() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let image = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&image]).await?;
    let started = std::cell::Cell::new(false);
    let pruning = async {
        let mut rounds = 0;
        while !started.get() {
            shim_cache(&containerd, &["prune", "--all"])?;
            rounds += 1;
            tokio::task::yield_now().await;
        }
        anyhow::Ok(rounds)
    };
    let starting = async {
        for number in 0..10 {
            hello(&containerd, &format!("c{number}"), &image).await?;
        }
        started.set(true);
        anyhow::Ok(())
    };
    let (rounds, ()) = tokio::try_join!(pruning, starting)?;
    assert!(rounds > 0);
    containerd.close().await
}

#[tokio::test]
async fn native_code_in_an_image_is_never_run() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let honest = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&honest]).await?;
    hello(&containerd, "honest", &honest).await?;
    let native = fs::read(files(&containerd, "code").remove(0))?;
    // What Wasmtime itself would load, as the entrypoint of an image.
    let forged = ImageBuilder::scratch("medley.test/forged:latest")
        .file("/hello.wasm", &native, 0o755)
        .entrypoint(["/hello.wasm"])
        .build()?;
    containerd.import(&[&forged]).await?;
    let client = containerd.client().await?;
    for handler in ["", "wasmtime"] {
        let spec = client
            .spec(&forged, "forged")
            .annotation("run.oci.handler", handler);
        let status = client.refused("forged", &forged, spec).await?;
        assert!(
            status.message().contains("/hello.wasm"),
            "{}",
            status.message()
        );
    }
    assert_eq!(files(&containerd, "code").len(), 1);
    containerd.close().await
}
