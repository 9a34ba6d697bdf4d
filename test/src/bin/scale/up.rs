//! Many containers at a time.

use std::time::{Duration, Instant};

use medley_test::{Containerd, Result};

use crate::contender::Contender;
use crate::median;
use crate::results::Results;
use crate::usage;

/// How many starts are the first, and how many the last, of which the one in the middle counts.
const ENDS: usize = 5;

/// Time for what a start leaves to be done: threads that end, memory that is given back.
const REST: Duration = Duration::from_secs(2);

pub(crate) async fn measure(
    containerd: &Containerd,
    contender: &Contender,
    containers: usize,
    seconds: u64,
    results: &mut Results,
) -> Result<()> {
    let before = usage::of(containerd);
    let mut started = Vec::with_capacity(containers);
    let mut times = Vec::with_capacity(containers);
    for number in 0..containers {
        let container = contender.container(&format!("up-{number}")).await?;
        let from = Instant::now();
        started.push(Contender::start(container).await?);
        times.push(from.elapsed().as_secs_f64() * 1000.0);
    }
    tokio::time::sleep(REST).await;
    let rested = usage::of(containerd);
    let since = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let after = usage::of(containerd);
    let elapsed = since.elapsed().as_secs_f64();
    for one in started {
        one.end().await?;
    }
    let each = |more: f64| more / u32::try_from(containers).map_or(1.0, f64::from);
    let count = |after: usize, before: usize| {
        f64::from(u32::try_from(after.saturating_sub(before)).unwrap_or(u32::MAX))
    };
    let part = |kib: u64| f64::from(u32::try_from(kib).unwrap_or(u32::MAX));
    let ends = ENDS.min(times.len());
    let row = format!("{containers} containers");
    let mut add = |metric, value| results.add(&row, &contender.name, metric, value);
    add("first start, ms", median(times[..ends].to_vec()));
    add(
        "last start, ms",
        median(times[times.len() - ends..].to_vec()),
    );
    let memory = part(rested.pss_kib.saturating_sub(before.pss_kib)) / 1024.0;
    add("PSS each, MiB", each(memory));
    add("open files each", each(count(rested.files, before.files)));
    add("threads each", each(count(rested.threads, before.threads)));
    let wakeups = part(after.switches.saturating_sub(rested.switches)) / elapsed;
    add("wake-ups of all, 1/s", wakeups);
    let known = results.starts.entry(contender.name.clone()).or_default();
    if known.len() < times.len() {
        *known = times;
    }
    Ok(())
}
