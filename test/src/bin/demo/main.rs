//! `make demo`: one pod with a Linux init container, a Wasm container and a Linux sidecar,
//! on a private containerd, driven through the CRI as a kubelet would; then the proof that
//! nothing of it is left. Interrupted, it takes everything down before it ends.

mod http;
mod plans;
mod show;
mod story;

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use medley_test::{Containerd, Context as _, Result, Runtime, ensure};
use show::Show;
use story::Census;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell gives a command that SIGINT ended: 128 + 2.
const INTERRUPTED: u8 = 130;

/// How many lines of containerd's log are worth showing after a failure.
const LOG_LINES: usize = 15;

#[tokio::main]
async fn main() -> ExitCode {
    let show = Show::new();
    match demo(&show).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            show.step(&error.to_string());
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            show.step(&format!("FAILED: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn demo(show: &Show) -> Result<()> {
    let mut interrupts = Interrupts::new()?;
    show.step("starting a private containerd");
    let containerd = tokio::select! {
        started = Containerd::start(Runtime::Medley) => started?,
        name = interrupts.next() => return interrupted(name),
    };
    show.detail(&format!(
        "pid {}, everything in {}",
        containerd.pid(),
        containerd.dir().display()
    ));
    let leftovers = containerd.leftovers().clone();
    let dir = containerd.dir().to_owned();

    let told = tokio::select! {
        told = story::tell(show, &containerd) => told,
        name = interrupts.next() => interrupted(name),
    };
    let told = match told {
        // A Ctrl-C also ends the commands that we run, and their failure may be the first to
        // be noticed.
        Err(error) if !error.is::<Interrupted>() => tokio::select! {
            name = interrupts.next() => interrupted(name),
            () = tokio::time::sleep(Duration::from_millis(100)) => Err(error),
        },
        told => told,
    };
    match &told {
        Err(error) if error.is::<Interrupted>() => show.step("interrupted: taking everything down"),
        Err(_) => show_troubles(show, &containerd.log()),
        Ok(()) => {}
    }

    show.step("stopping containerd");
    let closed = containerd.close().await.context("taking containerd down");
    if let Err(error) = &closed {
        show.detail(&format!("{error:#}"));
    }
    let left = leftovers.settle(&[], Duration::from_secs(5));
    ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
    let kept = std::env::var_os("MEDLEY_KEEP").is_some();
    ensure!(kept || !dir.exists(), "left behind: {}", dir.display());
    told?;
    closed?;
    show.step(&format!("done: {} are left of it", Census::of(&left)));
    Ok(())
}

/// The last warnings and errors of containerd and the shim.
fn show_troubles(show: &Show, log: &str) {
    let trouble = |line: &&str| line.contains("level=warning") || line.contains("level=error");
    let lines: Vec<_> = log.lines().filter(trouble).collect();
    show.step("it failed; the last warnings and errors in containerd's log:");
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        show.detail(line);
    }
}

/// A signal ended the demo, which has taken down what there was by then.
#[derive(Debug)]
struct Interrupted(&'static str);

impl fmt::Display for Interrupted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ended by {}; nothing of it is left", self.0)
    }
}

impl std::error::Error for Interrupted {}

fn interrupted<T>(name: &'static str) -> Result<T> {
    Err(Interrupted(name).into())
}

/// The signals that end the demo early. A second one does not end the cleaning up.
struct Interrupts {
    int: tokio::signal::unix::Signal,
    term: tokio::signal::unix::Signal,
    hup: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.int.recv() => "SIGINT",
            _ = self.term.recv() => "SIGTERM",
            _ = self.hup.recv() => "SIGHUP",
        }
    }
}
