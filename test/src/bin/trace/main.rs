//! `make trace`: lives of a Linux and of a Wasm container with `MEDLEY_TRACE`, and where the
//! milliseconds of the middle one are, as docs/trace-linux.svg and docs/trace-wasm.svg. Beside each it
//! leaves the events, for Chrome's or Perfetto's viewer, in the dir that it is given.
//!
//! `trace [LIVES] [DIR]` takes another number of lives, or draws elsewhere.

mod draw;
mod events;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use events::Life;
use medley_test::{
    Containerd, Context as _, Image, ImageBuilder, Options, Result, Runtime, ensure, guests,
    images, runtime,
};

/// How many lives of each there are.
const LIVES: usize = 15;

/// The dir below containerd's own for the events of one life at a time.
const EVENTS: &str = "trace";

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("trace: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let lives = match args.next() {
        Some(number) => number.parse().context("usage: trace [LIVES] [DIR]")?,
        None => LIVES,
    };
    let dir = args
        .next()
        .map_or_else(|| runtime::workspace().join("docs"), PathBuf::from);
    let linux = images::linux_builder("linux")?
        .entrypoint(["/bin/true"])
        .build()?;
    let wasm = ImageBuilder::scratch("guests")
        .file("/hello.wasm", guests::module("hello")?, 0o644)
        .entrypoint(["/hello.wasm"])
        .build()?;
    let events = make_dir()?;
    let drawn = draw_lives(&dir, &events, lives, [&linux, &wasm]).await;
    std::fs::remove_dir_all(&events)?;
    drawn
}

/// Has both live, and draws them.
async fn draw_lives(
    dir: &Path,
    events: &Path,
    lives: usize,
    [linux, wasm]: [&Image; 2],
) -> Result<()> {
    let asked = Options::new(Runtime::Medley).env("MEDLEY_TRACE", &events.display().to_string());
    let containerd = Containerd::start_with(asked).await?;
    containerd.import(&[linux, wasm]).await?;
    for (name, title, image) in [
        (
            "linux",
            "One life of a Linux container: ctr run --rm … /bin/true",
            linux,
        ),
        (
            "wasm",
            "One life of a Wasm container, its code in the cache",
            wasm,
        ),
    ] {
        let life = middle(&containerd, events, image, lives).await?;
        let to = dir.join(format!("trace-{name}.svg"));
        std::fs::write(&to, draw::svg(title, &life))
            .with_context(|| format!("cannot write {}", to.display()))?;
        println!(
            "trace: {}: {:.1} ms in all",
            to.display(),
            life.lasted() / 1000.0
        );
    }
    containerd.close().await
}

/// A dir that no other process has made.
fn make_dir() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join(format!("medley-{EVENTS}-{}", std::process::id()));
    std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The life that took neither longest nor least, of some after the first, which compiles.
async fn middle(
    containerd: &Containerd,
    events: &Path,
    image: &Image,
    lives: usize,
) -> Result<Life> {
    let mut all = Vec::new();
    for number in 0..=lives {
        let id = format!("life{number}");
        containerd.leftovers().expect_gone(containerd.name(), &id);
        let began = events::now();
        let runtime = Runtime::Medley.name();
        let done = containerd
            .ctr(&["run", "--rm", "--runtime", runtime, &image.name, &id])
            .await?;
        let ended = events::now();
        let stderr = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "a life failed: {stderr}");
        containerd.expect_clean()?;
        let life = events::take(events, (began, ended))?;
        if number > 0 {
            all.push(life);
        }
    }
    all.sort_by(|a, b| a.lasted().total_cmp(&b.lasted()));
    let at = all.len() / 2;
    ensure!(at < all.len(), "there was no life");
    Ok(all.swap_remove(at))
}
