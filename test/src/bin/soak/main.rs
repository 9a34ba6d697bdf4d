//! `make soak`: 10,000 execs in a Linux container and 10,000 in a Wasm one, as many as 24 hours of
//! probes make, one after the other; the memory of each shim meanwhile, as docs/soak.svg.
//!
//! `soak [EXECS] [FILE]` runs fewer, or draws elsewhere.
//!
//! `soak kills [KILLS] [AT ONCE] [medley | runc]` is its second part: 1,000 shims are killed with
//! SIGKILL at random moments in the lives of their containers, some lives at the same time, and then
//! nothing may be left of any.

use std::path::PathBuf;
use std::process::ExitCode;

use medley_test::client::process;
use medley_test::kills::{self, SoakRun};
use medley_test::plot::{self, Line, Point};
use medley_test::stdio::Stdin;
use medley_test::{
    Containerd, Context as _, Image, ImageBuilder, Result, Runtime, bail, ensure, guests, images,
    proc, runtime,
};

/// A probe every 8.64 seconds for 24 hours.
const EXECS: u32 = 10_000;

/// How many shims are killed, and how many lives go on at the same time.
const KILLS: (u32, u32) = (1_000, 4);

const USAGE: &str = "usage: soak [EXECS] [FILE], or soak kills [KILLS] [AT ONCE] [medley | runc]";

/// What the picture is of.
const TITLE: &str = "Private memory of the shim, KiB, over execs in its container";

/// How many samples a line has.
const SAMPLES: u32 = 100;

/// How much larger than after its first tenth a shim may be in the end, in KiB: a page here and there
/// in the heap of each thread, and no more than seven bytes an exec.
const MAY_GROW: f64 = 64.0;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soak: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let execs = match args.next() {
        Some(what) if what == "kills" => return kill_shims(args).await,
        Some(number) => number.parse().context(USAGE)?,
        None => EXECS,
    };
    let file = args
        .next()
        .map_or_else(|| runtime::workspace().join("docs/soak.svg"), PathBuf::from);
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/sleep", "36000"])
        .build()?;
    let wasm = ImageBuilder::scratch("guests")
        .file("/sleep.wasm", guests::module("sleep")?, 0o644)
        .file("/hello.wasm", guests::module("hello")?, 0o644)
        .entrypoint(["/sleep.wasm", "36000"])
        .build()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    containerd.import(&[&linux, &wasm]).await?;
    let (linux, wasm) = tokio::try_join!(
        probe(&containerd, "linux", &linux, &["/bin/true"], execs),
        probe(&containerd, "wasm", &wasm, &["/hello.wasm"], execs),
    )?;
    containerd.close().await?;
    let lines = [
        Line {
            name: "Linux container, exec of /bin/true".to_owned(),
            color: "#1f6feb",
            points: linux,
        },
        Line {
            name: "Wasm container, exec of a module".to_owned(),
            color: "#bf5af2",
            points: wasm,
        },
    ];
    std::fs::write(&file, plot::svg(TITLE, &lines))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("soak: {}", file.display());
    lines.iter().try_for_each(does_not_grow)
}

/// Kills shims at random moments, and fails if anything is left.
async fn kill_shims(mut args: impl Iterator<Item = String>) -> Result<()> {
    let mut number = |default| match args.next() {
        Some(number) => number.parse().context(USAGE),
        None => Ok(default),
    };
    let (kills, at_once) = (number(KILLS.0)?, number(KILLS.1)?);
    let runtime = match args.next().as_deref() {
        None | Some("medley") => Runtime::Medley,
        Some("runc") => Runtime::Runc,
        Some(_) => bail!(USAGE),
    };
    let order = SoakRun {
        runtime,
        kills,
        at_once,
        seed: 20,
    };
    let tally = kills::run(order).await?;
    println!("{tally}");
    ensure!(
        tally.left.is_empty(),
        "something is left of shims that were killed"
    );
    Ok(())
}

/// Runs a container and `execs` probes in it, and measures its shim.
async fn probe(
    containerd: &Containerd,
    id: &str,
    image: &Image,
    args: &[&str],
    execs: u32,
) -> Result<Vec<Point>> {
    let client = containerd.client().await?;
    let container = client.create(id, image, client.spec(image, id)).await?;
    let task = container.start(Stdin::None).await?;
    let socket = containerd.leftovers().shim_socket(client.namespace(), id);
    let (shim, _) = medley_test::shim::Shim::connect(&socket)
        .await?
        .pids(id)
        .await?;
    let every = (execs / SAMPLES).max(1);
    let mut samples = Vec::new();
    for number in 0..=execs {
        if number % every == 0 {
            // Threads that wait for helpers go when they have nothing to do.
            proc::until("the shim is at rest", || threads(shim) == 1).await?;
            let kib = written(shim)?;
            samples.push(Point {
                x: f64::from(number),
                y: f64::from(kib),
            });
            if number % (every * 10) == 0 {
                println!("soak: {id}: {number} execs, {kib} KiB");
            }
        }
        let (code, _, stderr) = task
            .run_exec(&format!("probe-{number}"), process(args))
            .await?;
        ensure!(code == 0, "exec {number} in {id}: {code}, {stderr}");
    }
    ensure!(
        proc::children_of(shim) == [task.pid],
        "the shim of {id} has other children than init"
    );
    task.destroy().await?;
    container.delete().await?;
    Ok(samples)
}

fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// What a process has written, in KiB: pages of its binary come and go, and are its own or not, with
/// other processes, so they are left out.
fn written(pid: u32) -> Result<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let name = "Private_Dirty:";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let line = line.with_context(|| format!("no {name} of process {pid}"))?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}

/// Fails if a shim is larger at the end than after the first tenth, when everything has been used
/// once.
fn does_not_grow(line: &Line) -> Result<()> {
    let tenth = line.points.len() / 10;
    let most = |samples: &[Point]| samples.iter().map(|sample| sample.y).fold(0.0, f64::max);
    let (early, late) = line.points.split_at(tenth.max(1));
    let last = &late[late.len().saturating_sub(tenth.max(1))..];
    let (early, last) = (most(early), most(last));
    println!(
        "soak: {}: {early} KiB at first, {last} KiB in the end",
        line.name
    );
    ensure!(
        last <= early + MAY_GROW,
        "{}: the shim grew from {early} to {last} KiB",
        line.name
    );
    Ok(())
}
