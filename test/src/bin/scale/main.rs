//! `make bench`, its last part: what many containers cost, beside runc and beside the other runtimes that
//! are found, as tables, as JSON and as SVGs.
//!
//! - 10, 50, 200 and 500 containers: how long the last one takes to start against the first, memory, open
//!   files, threads and wake-ups of all that they add.
//! - Starts at a time: 1, 4, 16.
//! - A pod's sandbox, through the CRI.
//! - What a container writes, with a terminal and without.
//! - 1,000 execs in one container.
//!
//! ```text
//! scale [--containers 10,50,200,500] [--rounds N] [--execs N] [--mebibytes N] [--seconds N]
//!       [--json FILE] [--plots DIR]
//! scale compare OLD NEW
//! ```
//!
//! The runtimes take turns, each with a containerd of its own that all of them share.

mod args;
mod compare;
mod contender;
mod draw;
mod execs;
mod logs;
mod parallel;
mod results;
mod sandbox;
mod up;
mod usage;

use std::process::ExitCode;

use args::{Args, Command};
use medley_test::{Containerd, Context as _, Result, Runtime};
use results::Results;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let args = match Command::parse(std::env::args().skip(1))? {
        Command::Compare { old, new } => return compare::print(&old, &new),
        Command::Measure(args) => args,
    };
    usage::many_files()?;
    let containerd = Containerd::start(Runtime::Medley).await?;
    let measured = measure(&containerd, &args).await;
    containerd.close().await?;
    let results = measured?;
    println!("{results}");
    if let Some(file) = &args.json {
        std::fs::write(file, results.json()?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(dir) = &args.plots {
        draw::write(&results, dir)?;
    }
    Ok(())
}

async fn measure(containerd: &Containerd, args: &Args) -> Result<Results> {
    let contenders = contender::found(containerd).await?;
    let mut results = Results::new(&contenders, args);
    for contender in &contenders {
        contender.warm_up().await?;
    }
    for containers in &args.containers {
        for contender in &contenders {
            say(&format!("{containers} containers of {}", contender.name));
            up::measure(
                containerd,
                contender,
                *containers,
                args.seconds,
                &mut results,
            )
            .await?;
        }
    }
    say("starts at a time");
    parallel::measure(&contenders, args.rounds, &mut results).await?;
    say("sandboxes");
    sandbox::measure(containerd, args.rounds, &mut results).await?;
    for contender in &contenders {
        say(&format!("what {} writes", contender.name));
        logs::measure(contender, args.mebibytes, args.rounds, &mut results).await?;
    }
    say("execs");
    execs::measure(&contenders, args.execs, &mut results).await?;
    Ok(results)
}

/// Tells how far it is.
fn say(text: &str) {
    eprintln!("scale: {text}");
}

/// The one in the middle, of those that are sorted.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
