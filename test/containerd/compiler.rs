//! The compiler: hostile bytes do no harm, and its end at any moment leaves nothing bad.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use guests::large;
use medley_test::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A dir of a test's own, with modules and a cache; gone with it.
struct Place {
    dir: PathBuf,
}

impl Place {
    fn new() -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("medley-{}", leftovers::unique()));
        fs::create_dir(&dir)?;
        Ok(Self { dir })
    }

    fn module(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    fn command(&self, args: &[&str], modules: &[&Path]) -> Result<Command> {
        let mut command = Command::new(runtime::shim_path()?);
        command
            .arg("cache")
            .args(args)
            .args(modules)
            .env("CONTAINERD_SHIM_WASM_CACHE", self.dir.join("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(command)
    }

    fn cache(&self, args: &[&str], modules: &[&Path]) -> Result<Output> {
        Ok(self.command(args, modules)?.output()?)
    }

    fn warm(&self, module: &Path) -> Result<Child> {
        Ok(self.command(&["warm"], &[module])?.spawn()?)
    }

    /// The files in one dir of the cache, hidden ones too.
    fn files(&self, dir: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join("cache").join(dir));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).ok();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The compiler that a process has started, if it is there and has given up its privileges.
fn compiler_of(parent: u32) -> Option<u32> {
    proc::children_of(parent)
        .into_iter()
        .find(|pid| proc::is_compiler(*pid))
}

#[tokio::test]
async fn a_compiler_has_no_privileges_no_network_no_files_and_limits() -> Result<()> {
    let place = Place::new()?;
    // Work for a while.
    let module = large::enlarged(&guests::module("hello")?, 8 << 20)?;
    let module = place.module("large.wasm", &module)?;
    let warm = place.warm(&module)?;
    let mut pid = 0;
    proc::until("a compiler under its filter", || {
        pid = compiler_of(warm.id()).unwrap_or(0);
        pid != 0 && proc::field(pid, "Seccomp").is_ok_and(|mode| mode == "2")
    })
    .await?;
    let field = |name| proc::field(pid, name);
    assert_eq!(field("NoNewPrivs")?, "1");
    assert_eq!(field("Groups")?, "");
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(field(set)?, "0000000000000000", "{set}");
    }
    for namespace in ["net", "mnt", "ipc"] {
        let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/{namespace}"));
        assert_ne!(of(&pid.to_string())?, of("self")?, "{namespace}");
    }
    let root = fs::read_dir(format!("/proc/{pid}/root/"))?.count();
    assert_eq!(root, 0, "files in its root");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    for (name, limit) in [
        ("Max cpu time", "600"),
        ("Max data size", "8589934592"),
        ("Max file size", "4294967296"),
        ("Max open files", "64"),
        ("Max core file size", "0"),
    ] {
        let line = limits.lines().find(|line| line.starts_with(name));
        let line = line.with_context(|| format!("no {name}"))?;
        let words: Vec<_> = line[name.len()..].split_whitespace().collect();
        assert_eq!(words[0], limit, "{name}");
    }
    let score = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    assert_eq!(score.trim(), "1000");
    // Its end is the end of the start, and is told.
    kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?;
    let done = warm.wait_with_output()?;
    assert_eq!(done.status.code(), Some(1));
    let said = text(&done.stderr);
    assert!(
        said.contains("large.wasm: the compiler was killed, most likely"),
        "{said}"
    );
    // Another try may come to another end.
    assert_eq!(place.files("failed"), Vec::<PathBuf>::new());
    Ok(())
}

/// The limits of the process that runs it hold for a compiler too, so that they can be seen to hold.
#[test]
fn a_module_that_is_too_much_is_refused_with_the_limit() -> Result<()> {
    let place = Place::new()?;
    let module = large::enlarged(&guests::module("hello")?, 8 << 20)?;
    let module = place.module("large.wasm", &module)?;
    for (limit, told) in [
        ("--cpu=1:60", "more than the 1 s of processor time"),
        ("--data=100000000", "more than the 95 MiB of memory"),
    ] {
        let shim = runtime::shim_path()?;
        let done = Command::new("prlimit")
            .arg(limit)
            .arg(shim)
            .args(["cache", "warm", "--dir"])
            .arg(place.dir.join("cache"))
            .arg(&module)
            .output()?;
        assert_eq!(done.status.code(), Some(1), "{limit}: {done:?}");
        let said = text(&done.stderr);
        assert!(said.contains("large.wasm: the compiler needs"), "{said}");
        assert!(said.contains(told), "{said}");
        // Nor is it remembered: without this limit it can be compiled.
        for dir in ["code", "keys", "locks", "failed"] {
            assert_eq!(place.files(dir), Vec::<PathBuf>::new());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_compiler_ends_with_whoever_wanted_its_code() -> Result<()> {
    let place = Place::new()?;
    let module = large::enlarged(&guests::module("hello")?, 8 << 20)?;
    let module = place.module("large.wasm", &module)?;
    let mut warm = place.warm(&module)?;
    let mut pid = 0;
    proc::until("a compiler", || {
        pid = compiler_of(warm.id()).unwrap_or(0);
        pid != 0
    })
    .await?;
    warm.kill()?;
    warm.wait()?;
    proc::until("its end", || !proc::is_alive(pid)).await
}

/// Kills either the compiler, or the process that takes its code to the cache, at a hundred moments.
#[tokio::test]
async fn a_kill_at_any_moment_leaves_no_bad_entry() -> Result<()> {
    const SEED: u64 = 0x5eed;
    const KILLS: usize = 100;
    let place = Place::new()?;
    let hello = large::enlarged(&guests::module("hello")?, 64 << 10)?;
    // Each another one, for which there is no entry yet.
    let module = |number: usize| {
        let bytes = large::padded(&hello, 16 + number);
        place.module(&format!("m{number}.wasm"), &bytes)
    };
    let first = module(KILLS)?;
    let started = Instant::now();
    let done = place.cache(&["warm"], &[&first])?;
    assert!(done.status.success(), "{done:?}");
    let whole = started.elapsed();

    let mut modules = Vec::new();
    let (mut state, mut killed) = (SEED, 0);
    for number in 0..KILLS {
        let path = module(number)?;
        let mut warm = place.warm(&path)?;
        // From Knuth's MMIX.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let moment = whole.mul_f64(f64::from(u32::try_from(state >> 32)?) / f64::from(u32::MAX));
        tokio::time::sleep(moment).await;
        if number % 2 == 0 {
            if let Some(pid) = compiler_of(warm.id()) {
                // It may just have ended.
                killed +=
                    usize::from(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL).is_ok());
            }
        } else {
            killed += usize::from(warm.try_wait()?.is_none());
            warm.kill()?;
        }
        warm.wait()?;
        modules.push(path);
    }
    assert!(killed > KILLS / 4, "only {killed} were killed");

    // Nothing is believed to have been read: every entry that is there is read to its end now.
    for used in place.files("used") {
        fs::remove_file(used)?;
    }
    let modules: Vec<&Path> = modules.iter().map(PathBuf::as_path).collect();
    let done = place.cache(&["warm"], &modules)?;
    let (said, told) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{told}");
    assert_eq!(told, "", "an entry was not as it should be");
    let found = said.matches(": there already").count();
    let compiled = said.matches(": compiled").count();
    assert_eq!(found + compiled, KILLS);
    assert!(
        found > 0 && compiled > 0,
        "{found} found, {compiled} compiled"
    );

    // What the dead have left goes with time.
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for dir in ["code", "keys", "used", "locks"] {
        for path in place.files(dir) {
            fs::File::open(path)?.set_modified(long_ago)?;
        }
    }
    let done = place.cache(&["prune"], &[])?;
    assert!(done.status.success(), "{done:?}");
    let hidden = ["code", "keys", "used", "locks"]
        .into_iter()
        .flat_map(|dir| place.files(dir))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        })
        .count();
    assert_eq!((hidden, place.files("locks").len()), (0, 0));
    assert_eq!(place.files("keys").len(), KILLS + 1);
    Ok(())
}

/// Modules that are made to be hard on a compiler.
fn bombs() -> Result<Vec<(&'static str, Vec<u8>)>> {
    const BLOCK: [u8; 2] = [0x02, 0x40];
    const END: u8 = 0x0b;
    let repeated = |part: &[u8], times: usize| part.repeat(times);
    let nested = [repeated(&BLOCK, 100_000), vec![END; 100_000]].concat();
    // i32.const 0, i32.load offset=0, drop: each may trap, none can be left out.
    let huge = repeated(&[0x41, 0, 0x28, 2, 0, 0x1a], 200_000);
    // A switch of 50,000 arms to the one block that there is.
    let arms = [
        BLOCK.to_vec(),
        vec![0x41, 0, 0x0e],
        large::unsigned(50_000),
        vec![0; 50_001],
        vec![END],
    ]
    .concat();
    // Functions without number, and the last bytes of a memory that is as large as it can be.
    let mut wat = "(module".to_owned();
    wat.push_str(&"(func)".repeat(20_000));
    wat.push_str("(memory 65536) (data (i32.const -16) \"end\") (func (export \"_start\")))");
    Ok(vec![
        ("nested", large::of_body(&nested)),
        ("huge", large::of_body(&huge)),
        ("arms", large::of_body(&arms)),
        ("many", wat::parse_str(&wat)?),
        ("data", {
            let data = "x".repeat(16 << 20);
            wat::parse_str(format!(
                "(module (memory 1024) (data (i32.const 0) \"{data}\") (func (export \"_start\")))"
            ))?
        }),
    ])
}

/// What comes of each is said in a sentence, and the next container runs.
#[tokio::test]
async fn a_hostile_module_hurts_nobody_but_itself() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let hello = images::wasm("hello", &guests::module("hello")?)?;
    containerd.import(&[&hello]).await?;
    let client = containerd.client().await?;
    for (name, module) in bombs()? {
        let image = images::wasm(name, &module)?;
        containerd.import(&[&image]).await?;
        match client.run_image(name, &image).await {
            Ok(done) => assert_eq!(done.code, 0, "{name}: {done:?}"),
            Err(error) => {
                assert!(client::code(&error).is_some(), "no answer: {error:#}");
                let message = format!("{error:#}");
                assert!(message.contains(&format!("/{name}.wasm")), "{message}");
            }
        }
        let id = format!("after-{name}");
        let done = client.run_image(&id, &hello).await?;
        assert_eq!(done.stdout, "hello\n", "after {name}");
    }
    containerd.close().await
}

#[tokio::test]
async fn a_module_that_is_too_large_is_refused_before_it_is_read() -> Result<()> {
    let image = images::wasm("hello", &guests::module("hello")?)?;
    let (containerd, client, image) = Containerd::with_image(Runtime::Medley, image).await?;
    let volume = containerd.dir().join("volume");
    fs::create_dir(&volume)?;
    let module = volume.join("large.wasm");
    fs::write(&module, guests::module("hello")?)?;
    // A terabyte that takes no room: to copy or to read it would take the node down.
    fs::File::options()
        .write(true)
        .open(&module)?
        .set_len(1 << 40)?;
    let spec = client
        .spec(&image, "large")
        .args(["/app/large.wasm"])
        .bind(&volume, "/app", true);
    let status = client.refused("large", &image, spec).await?;
    assert!(
        status.message().contains("1099511627776 bytes"),
        "{}",
        status.message()
    );
    containerd.close().await
}
