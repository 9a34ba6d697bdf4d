//! One compute loop on each engine, in containers, in turn: `make bench` shows what it costs.
//!
//! Its native code comes from the cache. User time is the kernel's, of the whole of the container's
//! init: it begins with the helper that maps the code, and ends when the guest says so.

use std::path::Path;
use std::time::{Duration, Instant};

use medley_test::stdio::Stdin;
use medley_test::{
    Client, Containerd, Context as _, Engine, Image, Result, Runtime, ensure, guests, images,
};

/// Times that the guest computes: some seconds.
const TIMES: &str = "100";

/// Runs that each median is taken over.
const ROUNDS: usize = 5;

const ENGINES: [&str; 2] = ["wasmtime", "wasmedge"];

/// Longest that one run may take, on however loaded a machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The kernel's clock of /proc, in ticks a second.
const TICKS: f64 = 100.0;

#[tokio::main]
async fn main() -> Result<()> {
    Engine::WasmEdge.program()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let measured = measure(&containerd).await;
    containerd.close().await?;
    measured
}

async fn measure(containerd: &Containerd) -> Result<()> {
    let image = images::wasm("compute", &guests::module("compute")?)?;
    containerd.import(&[&image]).await?;
    let client = containerd.client().await?;
    let volume = containerd.dir().join("volume");
    std::fs::create_dir(&volume)?;
    for engine in ENGINES {
        // Compiles.
        run(&client, &image, &volume, engine, "1").await?;
    }
    let mut times = ENGINES.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        for (engine, times) in ENGINES.into_iter().zip(&mut times) {
            times.push(run(&client, &image, &volume, engine, TIMES).await?);
        }
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    println!("| a compute loop, from the cache | user time, median of {ROUNDS} | of Wasmtime's |");
    println!("|---|---|---|");
    for (engine, median) in ENGINES.into_iter().zip(medians) {
        println!(
            "| {engine} | {:.2} s | {:.2} |",
            f64::from(median) / TICKS,
            f64::from(median) / f64::from(medians[0])
        );
    }
    println!();
    Ok(())
}

/// User time of one run, in ticks.
async fn run(
    client: &Client,
    image: &Image,
    volume: &Path,
    engine: &str,
    times: &str,
) -> Result<u32> {
    let done = volume.join("done");
    let spec = client
        .spec(image, engine)
        .args(["/compute.wasm", times, "/volume/done"])
        .annotation("run.oci.handler", engine)
        .bind(volume, "/volume", false);
    let container = client.create(engine, image, spec).await?;
    let task = container.start(Stdin::Open).await?;
    let deadline = Instant::now() + LIMIT;
    while !done.exists() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", task.pid));
    task.destroy().await?;
    container.delete().await?;
    std::fs::remove_file(&done).with_context(|| format!("{engine} is not done in {LIMIT:?}"))?;
    user_time(&stat?)
}

/// The fourteenth field of a process's `stat`; the second is a name in parentheses.
fn user_time(stat: &str) -> Result<u32> {
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks = fields.split(' ').nth(11).context("stat is cut")?;
    let ticks = ticks.parse()?;
    ensure!(ticks > 0, "the guest took no time: {stat}");
    Ok(ticks)
}
