//! What the cache of native code saves, in one run: `make bench` shows it after the shim's figures.
//!
//! - A component of 10 MB: its first start, which compiles, and later ones.
//! - Replicas of it: how much memory its native code takes in all of them together.
//! - The same module as a file of a rootfs, and as an artifact's layer.
//! - A module of 1 MB: what looking it up costs at every start, against a small one with the same
//!   native code.
//! - From the call of Start, made to the shim itself, to the guest's first output.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use medley_test::guests::{self, large};
use medley_test::shim::Shim;
use medley_test::stdio::Stdin;
use medley_test::{
    ArtifactBuilder, Client, Containerd, Context as _, Image, Result, Runtime, ensure, images, proc,
};

/// Size of the component, in bytes.
const COMPONENT: usize = 10_000_000;

/// Size of the module that is looked up, in bytes.
const MODULE: usize = 1_000_000;

/// Starts that each median is taken over.
const ROUNDS: usize = 30;

/// Starts of which the first output is timed.
const FIRST_OUTPUTS: usize = 100;

/// Containers of the component that are up at a time.
const REPLICAS: usize = 50;

#[tokio::main]
async fn main() -> Result<()> {
    let containerd = Containerd::start(Runtime::Medley).await?;
    let measured = measure(&containerd).await;
    containerd.close().await?;
    measured
}

async fn measure(containerd: &Containerd) -> Result<()> {
    let sleep = large::enlarged(&guests::module("sleep")?, COMPONENT)?;
    let component = images::wasm("component", &guests::componentise(&sleep)?)?;
    let hello = guests::module("hello")?;
    let small = images::wasm("small", &hello)?;
    let padded = large::padded(&hello, MODULE);
    let large = images::wasm("large", &padded)?;
    let artifact = |name, module| {
        ArtifactBuilder::new(name)
            .layer("application/wasm", module)
            .entrypoint(["/hello.wasm"])
            .build()
    };
    let small_layer = artifact("small-layer", hello.clone())?;
    let large_layer = artifact("large-layer", padded)?;
    containerd.import(&[&component, &small, &large]).await?;
    containerd
        .import_packed(&[&small_layer, &large_layer])
        .await?;
    let client = containerd.client().await?;

    // The shim itself comes from the disk the first time.
    start(&client, "before", &small).await?;
    let first = ctr_run(containerd, "first", &component)?;
    let mut later = Vec::new();
    for round in 0..ROUNDS {
        later.push(ctr_run(containerd, &format!("later-{round}"), &component)?);
    }
    let later = median(later);
    println!("| a component of 10 MB | `ctr run` |");
    println!("|---|---|");
    println!("| first start, compiled | {} |", ms(first));
    println!("| later starts, median of {ROUNDS} | {} |", ms(later));
    println!(
        "| faster by | {:.1} × |\n",
        first.as_secs_f64() / later.as_secs_f64()
    );

    let images = [&small, &small_layer, &large, &large_layer];
    for (number, image) in images.into_iter().enumerate() {
        start(&client, &format!("first-{number}"), image).await?;
    }
    let mut times = [const { Vec::new() }; 4];
    for round in 0..ROUNDS {
        for (number, (image, times)) in images.into_iter().zip(&mut times).enumerate() {
            times.push(start(&client, &format!("start-{round}-{number}"), image).await?);
        }
    }
    let [of_small, of_small_layer, of_large, of_large_layer] = times.map(median);
    println!("| the same native code | Create and Start, median of {ROUNDS} |");
    println!("|---|---|");
    println!(
        "| by a module of {} kB | {} |",
        hello.len() / 1000,
        ms(of_small)
    );
    println!("| by it as an artifact's layer | {} |", ms(of_small_layer));
    println!("| by a module of 1 MB | {} |", ms(of_large));
    println!("| by it as an artifact's layer | {} |", ms(of_large_layer));
    println!(
        "| look-up of 1 MB | {:.2} ms |\n",
        (of_large.as_secs_f64() - of_small.as_secs_f64()) * 1000.0
    );
    let mut first = Vec::new();
    for round in 0..FIRST_OUTPUTS {
        first.push(first_output(&client, &format!("output-{round}"), &small).await?);
    }
    first.sort();
    println!("| from Start to a guest's first output | {FIRST_OUTPUTS} starts |");
    println!("|---|---|");
    println!("| fastest | {:.2} ms |", first[0].as_secs_f64() * 1000.0);
    println!(
        "| median | {:.2} ms |\n",
        median(first).as_secs_f64() * 1000.0
    );
    replicas(containerd, &client, &component).await
}

/// How long `ctr run` takes for a component that sleeps for no time. Unlike our own client it waits
/// for as long as it takes.
fn ctr_run(containerd: &Containerd, id: &str, image: &Image) -> Result<Duration> {
    let from = Instant::now();
    let done = Command::new("ctr")
        .arg("-a")
        .arg(containerd.socket())
        .args(["-n", containerd.name(), "run", "--rm", "--runtime"])
        .args([Runtime::Medley.name(), &image.name, id])
        .args(["/component.wasm", "0"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run ctr")?;
    let took = from.elapsed();
    containerd.leftovers().expect_gone(containerd.name(), id);
    ensure!(done.status.success(), "ctr run failed: {done:?}");
    Ok(took)
}

/// How long Create and Start take together; nothing stays.
async fn start(client: &Client, id: &str, image: &Image) -> Result<Duration> {
    let container = client.create(id, image, client.spec(image, id)).await?;
    let from = Instant::now();
    let task = container.start(Stdin::None).await?;
    let took = from.elapsed();
    task.destroy().await?;
    container.delete().await?;
    Ok(took)
}

/// How long it takes from the call of Start to the first byte at the end of the guest's stdout. The
/// call is the shim's: what containerd adds is not in it.
async fn first_output(client: &Client, id: &str, image: &Image) -> Result<Duration> {
    let container = client.create(id, image, client.spec(image, id)).await?;
    let mut task = container.task(Stdin::None).await?;
    let shim = Shim::connect(&task.shim_socket()).await?;
    let from = Instant::now();
    shim.start(id).await?;
    task.wait().await?;
    task.output().await?;
    let first = task.first_output().context("the guest said nothing")?;
    task.delete().await?;
    container.delete().await?;
    Ok(first.saturating_duration_since(from))
}

async fn replicas(containerd: &Containerd, client: &Client, image: &Image) -> Result<()> {
    let mut up = Vec::new();
    for number in 0..REPLICAS {
        let id = format!("replica-{number}");
        let container = client.create(&id, image, client.spec(image, &id)).await?;
        up.push((container.start(Stdin::None).await?, container));
    }
    let code = std::fs::read_dir(containerd.dir().join("cache/code"))?
        .flatten()
        .filter_map(|entry| {
            use std::os::unix::fs::MetadataExt;
            let found = entry.metadata().ok()?;
            Some((found.len(), found.ino()))
        })
        .max()
        .context("no entry in the cache")?;
    let of_code = |pid| native(pid, code.1);
    let one = of_code(up[0].0.pid)?;
    let (mut pss, mut rss, mut dirty) = (0, 0, 0);
    for (task, _) in &up {
        let each = of_code(task.pid)?;
        pss += each.pss;
        rss += each.rss;
        dirty += each.dirty;
    }
    println!("| native code of {REPLICAS} replicas | KiB |");
    println!("|---|---|");
    println!("| the file in the cache | {} |", code.0 / 1024);
    println!("| in memory for one replica (RSS) | {} |", one.rss);
    println!("| ... for {REPLICAS}, counted for each (sum of RSS) | {rss} |");
    println!("| ... for {REPLICAS}, shared pages once (sum of PSS) | {pss} |");
    println!("| written to, and so private | {dirty} |");
    for (task, container) in up {
        task.destroy().await?;
        container.delete().await?;
    }
    proc::until("no shim is left", || containerd.shims().is_empty()).await
}

/// What a process has of a file in memory as code that is not written to, in KiB.
#[derive(Default)]
struct Native {
    rss: u64,
    pss: u64,
    dirty: u64,
}

fn native(pid: u32, inode: u64) -> Result<Native> {
    let mut found = Native::default();
    let mut ours = false;
    for line in std::fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [range, permissions, _, _, of, ..] if range.contains('-') => {
                ours = of.parse() == Ok(inode) && !permissions.contains('w');
            }
            ["Rss:", size, _] if ours => found.rss += size.parse::<u64>()?,
            ["Pss:", size, _] if ours => found.pss += size.parse::<u64>()?,
            ["Private_Dirty:", size, _] if ours => found.dirty += size.parse::<u64>()?,
            _ => {}
        }
    }
    Ok(found)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
