//! One test in a process of its own.

use crate::args::Args;
use crate::hang;
use anyhow::{Context, Result, ensure};
use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How tests are run.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) retries: usize,
    wrapper: Vec<String>,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self> {
        let number = |name: &str, otherwise: u32| match std::env::var(name) {
            Ok(text) => text
                .parse()
                .with_context(|| format!("{name} is no number: {text}")),
            Err(_) => Ok(otherwise),
        };
        let wrapper = std::env::var("TEST_WRAPPER").unwrap_or_default();
        Ok(Self {
            timeout: Duration::from_secs(number("TEST_TIMEOUT", 300)?.into()),
            retries: usize::try_from(number("TEST_RETRIES", 0)?)?,
            wrapper: wrapper.split_whitespace().map(str::to_owned).collect(),
        })
    }

    fn command(&self, args: &Args) -> Command {
        let Some((program, words)) = self.wrapper.split_first() else {
            return Command::new(&args.binary);
        };
        let mut command = Command::new(program);
        command.args(words).arg(&args.binary);
        command
    }
}

/// How a test ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Passed,
    /// It failed beside other tests and passed alone.
    Flaky,
    Failed,
    Ignored,
    /// It was killed at the end of its time.
    Hung {
        /// Where it stood, in a few words.
        at: String,
        /// All that is known of where it stood.
        dump: String,
    },
    /// It was not run, because so many before it hung.
    LeftOut {
        hung: usize,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "ok",
            Self::Flaky => "FLAKY",
            Self::Failed => "FAILED",
            Self::Ignored => "ignored",
            Self::Hung { .. } => "HUNG",
            Self::LeftOut { .. } => "NOT RUN",
        })
    }
}

impl Outcome {
    /// The reason, in a few words on one line.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Hung { at, .. } => at.clone(),
            Self::LeftOut { hung } => format!("{hung} tests before it hung"),
            _ => String::new(),
        }
    }
}

/// A test that was run.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// What it wrote, with what the harness wrote around it.
    pub(crate) output: String,
}

impl Done {
    pub(crate) fn left_out(name: String, hung: usize) -> Self {
        Self {
            name,
            outcome: Outcome::LeftOut { hung },
            took: Duration::ZERO,
            output: String::new(),
        }
    }

    /// Runs a test. One that can't be run, or not be ended, has failed.
    pub(crate) fn of(settings: &Settings, args: &Args, name: &str) -> Self {
        let begun = Instant::now();
        run(settings, args, name).unwrap_or_else(|error| Self {
            name: name.to_owned(),
            outcome: Outcome::Failed,
            took: begun.elapsed(),
            output: format!("run-tests: {error:#}\n"),
        })
    }

    /// Runs it again, alone: it is flaky if it passes now.
    pub(crate) fn try_again(&mut self, settings: &Settings, args: &Args) {
        *self = Self::of(settings, args, &self.name);
        if matches!(self.outcome, Outcome::Passed) {
            self.outcome = Outcome::Flaky;
        }
    }
}

/// The names of the tests that the arguments choose.
pub(crate) fn list(settings: &Settings, args: &Args) -> Result<Vec<String>> {
    let mut command = settings.command(args);
    let command = command
        .args(&args.rest)
        .args(["--list", "--format", "terse"]);
    let done = command
        .output()
        .with_context(|| format!("cannot run {}", args.binary.display()))?;
    ensure!(
        done.status.success(),
        "{} cannot list its tests: {}",
        args.binary.display(),
        String::from_utf8_lossy(&done.stderr)
    );
    let text = String::from_utf8(done.stdout)?;
    let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Runs one test until it ends or its time is over.
fn run(settings: &Settings, args: &Args, name: &str) -> Result<Done> {
    // A file, not a pipe: what a test leaves behind may hold it.
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    let mut output = File::from(nix::sys::memfd::memfd_create("output", flags)?);
    let mut command = settings.command(args);
    command.args(["--exact", name, "--nocapture"]);
    if args.with_ignored() {
        command.arg("--include-ignored");
    }
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run {}", args.binary.display()))?;
    let in_time = wait(&mut child, started + settings.timeout)?;
    let took = started.elapsed();
    let mut read = || -> Result<String> {
        let mut bytes = Vec::new();
        output.rewind()?;
        output.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (outcome, output) = if in_time {
        let output = read()?;
        (ended(child.wait()?.success(), &output), output)
    } else {
        let hang = hang::describe(child.id(), name);
        hang::kill(child.id())?;
        child.wait()?;
        // containerds and shims are no children of it any more; the sweep finds them, as its process is gone.
        medley_test::stale::sweep_now();
        let output = read()?;
        let at = hang.at(&output);
        (
            Outcome::Hung {
                at,
                dump: hang.text,
            },
            output,
        )
    };
    Ok(Done {
        name: name.to_owned(),
        outcome,
        took,
        output,
    })
}

/// Whether it ended before the deadline.
fn wait(child: &mut Child, deadline: Instant) -> Result<bool> {
    let mut pause = Duration::from_millis(1);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    Ok(true)
}

/// What the harness says of the one test: a process that ends well has not always run it.
fn ended(success: bool, output: &str) -> Outcome {
    let last = output
        .lines()
        .rev()
        .find(|line| line.starts_with("test result: "));
    let says = |words: &str| last.is_some_and(|line| line.contains(words));
    match success {
        true if says(" 1 passed;") => Outcome::Passed,
        true if says(" 1 ignored;") => Outcome::Ignored,
        _ => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, ended};

    #[test]
    fn a_test_that_ends_its_process_has_not_passed() {
        let result = "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";
        assert!(matches!(ended(true, result), Outcome::Passed));
        assert!(matches!(ended(false, result), Outcome::Failed));
        assert!(matches!(ended(true, "running 1 test\n"), Outcome::Failed));
        let ignored = "test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured";
        assert!(matches!(ended(true, ignored), Outcome::Ignored));
    }
}
