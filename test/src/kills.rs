//! Lives of containers whose shims are killed with SIGKILL in the middle, and a count of what is
//! left of them.

use crate::client::{self, process};
use crate::images::{self, Image};
use crate::stdio::Stdin;
use crate::{Client, Container, Containerd, ImageBuilder, Runtime, guests, proc};
use anyhow::{Context, Result};
use containerd_client::tonic::Code;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct SoakRun {
    /// Whose shims.
    pub runtime: Runtime,
    /// How many are to be killed.
    pub kills: u32,
    /// How many lives go on at the same time.
    pub at_once: u32,
    /// Where the random moments begin.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Lives, and of how many of them the shim was killed, by kind.
    pub lives: [(u32, u32); KINDS.len()],
    /// How many kills came before Create was through.
    pub in_create: u32,
    /// What is left, one line each.
    pub left: Vec<String>,
}

/// How a life goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linux,
    LinuxExec,
    Wasm,
    WasmExec,
    Pod,
}

const KINDS: [Kind; 5] = [
    Kind::Linux,
    Kind::LinuxExec,
    Kind::Wasm,
    Kind::WasmExec,
    Kind::Pod,
];

/// How many of [`KINDS`] have no guest: the first ones.
const LINUX_KINDS: usize = 2;

/// The annotation by which containers share a shim.
const GROUP: &str = "io.containerd.runc.v2.group";

/// How long containerd may take until a task whose shim was killed is gone.
const CLEANED: Duration = Duration::from_secs(20);

impl Tally {
    /// How many shims were killed.
    pub fn kills(&self) -> u32 {
        self.lives.iter().map(|(_, kills)| kills).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<24} {:>6} {:>6}", "life", "lives", "kills")?;
        for (kind, (lives, kills)) in KINDS.iter().zip(self.lives) {
            let name = match kind {
                Kind::Linux => "Linux",
                Kind::LinuxExec => "Linux, with execs",
                Kind::Wasm => "Wasm",
                Kind::WasmExec => "Wasm, with execs",
                Kind::Pod => "pod of a Linux and a Wasm",
            };
            writeln!(f, "{name:<24} {lives:>6} {kills:>6}")?;
        }
        writeln!(f, "killed before Create was through: {}", self.in_create)?;
        for kind in [
            "process", "mount", "cgroup", "socket", "bundle", "helper", "other",
        ] {
            let of_kind = |line: &&String| match line.split(' ').next() {
                Some("process" | "mount" | "cgroup" | "socket" | "bundle" | "helper") => {
                    line.starts_with(kind)
                }
                _ => kind == "other",
            };
            writeln!(
                f,
                "left, {kind:<17} {:>6}",
                self.left.iter().filter(of_kind).count()
            )?;
        }
        self.left
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// The helpers of the shim with this pid, and what they have cloned that is no program yet.
pub fn helpers(shim: u32) -> Vec<u32> {
    let of = shim.to_string();
    with_args(|args| args.get(1).is_some_and(|arg| arg == "helper") && args.get(2) == Some(&of))
}

/// The shim that serves container `id`, once it runs.
pub fn shim_of(namespace: &str, id: &str) -> Option<u32> {
    let has = |args: &[String], name: &str, value: &str| {
        args.windows(2)
            .any(|pair| pair[0] == name && pair[1] == value)
    };
    let found = with_args(|args| {
        let is_shim = args
            .first()
            .is_some_and(|name| name.contains("containerd-shim-"));
        let passes = args.iter().any(|arg| arg == "start" || arg == "delete");
        is_shim && !passes && has(args, "-namespace", namespace) && has(args, "-id", id)
    });
    found.first().copied()
}

/// The processes whose arguments are so.
fn with_args(is_so: impl Fn(&[String]) -> bool) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args = String::from_utf8_lossy(&line);
        let args: Vec<String> = args.split_terminator('\0').map(str::to_owned).collect();
        is_so(&args)
    })
    .collect()
}

/// Random numbers, the same for the same seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    /// Most kills come while Create is under way, which takes 10 to 60 ms.
    fn moment(&mut self) -> Duration {
        let limit = if self.below(10) < 7 { 40_000 } else { 250_000 };
        Duration::from_micros(self.below(limit))
    }
}

/// What every life shares.
struct Site {
    client: Client,
    linux: Image,
    wasm: Image,
    runtime: Runtime,
    /// How many are still to be killed.
    open: AtomicU32,
    /// Guards what is counted.
    tally: Mutex<Tally>,
    /// Guards the pids of the killed.
    killed: Mutex<Vec<u32>>,
}

/// Kills shims as ordered, under a containerd of their own, and tells what is left once that has
/// cleaned up.
///
/// # Errors
/// containerd does not run, or refuses what has nothing to do with a shim.
pub async fn run(order: SoakRun) -> Result<Tally> {
    let containerd = Containerd::start(order.runtime).await?;
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/sh", "-c", "sleep 3600 & sleep 3600"])
        .build()?;
    let wasm = ImageBuilder::scratch("guests")
        .file("/sleep.wasm", guests::module("sleep")?, 0o644)
        .file("/hello.wasm", guests::module("hello")?, 0o644)
        .entrypoint(["/sleep.wasm", "36000"])
        .build()?;
    containerd.import(&[&linux, &wasm]).await?;
    let site = Arc::new(Site {
        client: containerd.client().await?,
        linux,
        wasm,
        runtime: order.runtime,
        open: AtomicU32::new(order.kills),
        tally: Mutex::default(),
        killed: Mutex::default(),
    });
    let workers: Vec<_> = (0..order.at_once)
        .map(|worker| tokio::spawn(work(Arc::clone(&site), worker, order.seed)))
        .collect();
    for worker in workers {
        worker.await??;
    }
    let mut tally = std::mem::take(&mut *lock(&site.tally));
    tally.left = containerd
        .leftovers()
        .settle(&[containerd.pid()], Duration::from_secs(15));
    let bundles = containerd
        .dir()
        .join("state/io.containerd.runtime.v2.task")
        .join(site.client.namespace());
    let bundles = std::fs::read_dir(bundles).into_iter().flatten().flatten();
    tally
        .left
        .extend(bundles.map(|entry| format!("bundle {}", entry.path().display())));
    let killed = std::mem::take(&mut *lock(&site.killed));
    for shim in killed {
        let left = helpers(shim).into_iter();
        let lines = left.map(|pid| format!("helper {pid} of the shim {shim}"));
        tally.left.extend(lines);
    }
    if tally.left.is_empty() {
        containerd.close().await?;
    }
    Ok(tally)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One life after the other, until enough shims were killed.
async fn work(site: Arc<Site>, worker: u32, seed: u64) -> Result<()> {
    let mut random = Random((seed << 8) + u64::from(worker) + 1);
    for number in 0_u32.. {
        if site.open.load(Ordering::Relaxed) == 0 {
            break;
        }
        let kinds = match site.runtime {
            Runtime::Medley => KINDS.len(),
            Runtime::Runc => LINUX_KINDS,
        };
        let kind = KINDS[usize::try_from(random.below(u64::try_from(kinds)?))?];
        let id = format!("life-{worker}-{number}");
        let was_killed = life(&site, &id, kind, random.moment()).await;
        let (killed, in_create) = was_killed.with_context(|| format!("{id}, {kind:?}"))?;
        let left = site
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                open.checked_sub(u32::from(killed))
            });
        let mut tally = lock(&site.tally);
        let (lives, kills) = &mut tally.lives[kind as usize];
        *lives += 1;
        *kills += u32::from(killed);
        tally.in_create += u32::from(killed && in_create);
        if killed && left.is_ok_and(|left| left % 100 == 1) {
            eprintln!("kills: {} so far", tally.kills());
        }
    }
    Ok(())
}

/// One life; tells whether its shim was killed, and whether Create was under way then.
async fn life(site: &Site, id: &str, kind: Kind, moment: Duration) -> Result<(bool, bool)> {
    let second = format!("{id}-b");
    let in_group = |image: &Image, id: &str, group: &str| {
        site.client.spec(image, id).edit(|json| {
            json["annotations"][GROUP] = group.into();
        })
    };
    let image = match kind {
        Kind::Linux | Kind::LinuxExec | Kind::Pod => &site.linux,
        Kind::Wasm | Kind::WasmExec => &site.wasm,
    };
    let mut containers = Vec::new();
    let spec = in_group(image, id, id);
    containers.push(site.client.create(id, image, spec).await?);
    if kind == Kind::Pod {
        let spec = in_group(&site.wasm, &second, id);
        containers.push(site.client.create(&second, &site.wasm, spec).await?);
    }
    let killer = tokio::task::spawn_blocking({
        let (namespace, id) = (site.client.namespace().to_owned(), id.to_owned());
        move || kill_later(&namespace, &id, moment)
    });
    let mut made = 0;
    // Any answer will do: the shim may be dead.
    let lived = live(&containers, kind, &mut made).await;
    let Some(pid) = killer.await? else {
        lived.context("a life whose shim was not killed")?;
        for container in &containers {
            container.delete().await?;
        }
        return Ok((false, false));
    };
    lock(&site.killed).push(pid);
    for container in &containers {
        cleaned(site, container).await?;
    }
    Ok((true, made < containers.len()))
}

/// Kills the shim of `id` some time after it was there. Gives its pid, unless it had ended by then.
fn kill_later(namespace: &str, id: &str, moment: Duration) -> Option<u32> {
    let deadline = Instant::now() + Duration::from_secs(10);
    let shim = loop {
        match shim_of(namespace, id) {
            Some(shim) => break shim,
            None if Instant::now() > deadline => return None,
            None => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    std::thread::sleep(moment);
    if !proc::is_alive(shim) {
        return None;
    }
    let killed = kill(Pid::from_raw(i32::try_from(shim).ok()?), Signal::SIGKILL);
    killed.is_ok().then_some(shim)
}

async fn live(containers: &[Container], kind: Kind, made: &mut usize) -> Result<()> {
    let mut tasks = Vec::new();
    for container in containers {
        let task = container.task(Stdin::None).await?;
        *made += 1;
        task.start().await?;
        tasks.push(task);
    }
    let args: &[&str] = match kind {
        Kind::LinuxExec => &["/bin/true"],
        Kind::WasmExec => &["/hello.wasm"],
        Kind::Linux | Kind::Wasm | Kind::Pod => &[],
    };
    if let (Some(task), false) = (tasks.first(), args.is_empty()) {
        for number in 0..4 {
            task.run_exec(&format!("exec-{number}"), process(args))
                .await?;
        }
    }
    for task in tasks.into_iter().rev() {
        task.destroy().await?;
    }
    Ok(())
}

/// Waits until containerd knows of no task any more, and removes the container.
async fn cleaned(site: &Site, container: &Container) -> Result<()> {
    let deadline = Instant::now() + CLEANED;
    loop {
        let mut tasks = site.client.tasks();
        let get = containerd_client::services::v1::GetRequest {
            container_id: container.id.clone(),
            ..Default::default()
        };
        let gone = match tasks.get(site.client.request(get)?).await {
            Ok(_) => false,
            Err(status) => status.code() == Code::NotFound,
        };
        if gone || Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match container.delete().await {
        Err(error) if client::code(&error) == Some(Code::NotFound) => Ok(()),
        removed => removed,
    }
}
