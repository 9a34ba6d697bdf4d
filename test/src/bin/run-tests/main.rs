//! Runs each test of a test binary in a process of its own, with a timeout: cargo's runner for the tests.
//!
//! `cargo test` calls it as `run-tests BINARY [ARGUMENTS]`, where the arguments are those of the
//! standard test harness. A test that takes longer than its timeout is killed with all that it has
//! started, after where it stands has been written down, and the others go on. A test that fails is
//! tried once more, alone, if few have: it is `FLAKY` if it passes then, which is not the same as passed.
//!
//! `test/scripts/test` says how, in the environment:
//! - `TEST_TIMEOUT`: seconds that a test has.
//! - `TEST_RETRIES`: the most failures that are tried again; with more, none is.
//! - `TEST_RESULTS`: a file that gets a line for each test, for the summary: outcome, binary and name,
//!   seconds, reason.
//! - `TEST_WRAPPER`: words to put before each test's command line.

mod args;
mod hang;
mod process;

use anyhow::{Context, Result};
use args::Args;
use process::{Done, Outcome, Settings};
use std::fs::File;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Tests of one binary that may hang before the rest is left out: more of them are one fault, and each
/// costs its whole timeout.
const MAX_HUNG: usize = 4;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("run-tests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let args = Args::parse(std::env::args().skip(1))?;
    let settings = Settings::from_env()?;
    if args.list {
        let status = Command::new(&args.binary)
            .args(&args.rest)
            .arg("--list")
            .status();
        return Ok(status.context("cannot run the test binary")?.success());
    }
    let names = process::list(&settings, &args)?;
    let mut report = Report::new(args.binary_name())?;
    println!("\nrunning {} tests", names.len());
    let (mut failed, left_out) = run_all(&settings, &args, &names, &mut report)?;
    for name in left_out {
        report.add(&Done::left_out(name, MAX_HUNG))?;
    }
    if !failed.is_empty() && failed.len() <= settings.retries {
        for done in &mut failed {
            // One that hung once has shown what it can do.
            if matches!(done.outcome, Outcome::Failed) {
                println!("test: once more, alone: {}", done.name);
                done.try_again(&settings, &args);
                report.show(done);
            }
        }
    }
    for done in &failed {
        report.add(done)?;
    }
    Ok(report.end())
}

/// Runs all tests, some at a time, and returns those that did not pass, and the names of those that
/// were left out because too many hung.
fn run_all(
    settings: &Settings,
    args: &Args,
    names: &[String],
    report: &mut Report,
) -> Result<(Vec<Done>, Vec<String>)> {
    let next = AtomicUsize::new(0);
    let give_up = AtomicBool::new(false);
    let (sender, results) = mpsc::channel();
    let mut failed = Vec::new();
    let mut hung = 0;
    std::thread::scope(|scope| {
        for _ in 0..args.threads.min(names.len()) {
            let (sender, next, give_up) = (sender.clone(), &next, &give_up);
            scope.spawn(move || {
                while !give_up.load(Ordering::Relaxed) {
                    let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        break;
                    };
                    if sender.send(Done::of(settings, args, name)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for done in results {
            report.show(&done);
            match &done.outcome {
                Outcome::Passed | Outcome::Ignored => report.add(&done)?,
                Outcome::Hung { .. } => {
                    hung += 1;
                    give_up.fetch_or(hung >= MAX_HUNG, Ordering::Relaxed);
                    failed.push(done);
                }
                _ => failed.push(done),
            }
        }
        anyhow::Ok(())
    })?;
    let begun = next.load(Ordering::Relaxed).min(names.len());
    Ok((failed, names[begun..].to_vec()))
}

/// What came of the tests, on stdout and in the file of results.
struct Report {
    binary: String,
    file: Option<File>,
    passed: usize,
    flaky: usize,
    failed: usize,
    ignored: usize,
}

impl Report {
    fn new(binary: String) -> Result<Self> {
        let file = std::env::var_os("TEST_RESULTS").map(|path| {
            File::options()
                .append(true)
                .create(true)
                .open(&path)
                .with_context(|| format!("cannot open the results, {}", path.display()))
        });
        Ok(Self {
            binary,
            file: file.transpose()?,
            passed: 0,
            flaky: 0,
            failed: 0,
            ignored: 0,
        })
    }

    /// Says how a test ended, and what it has written if that is of use.
    fn show(&self, done: &Done) {
        let seconds = done.took.as_secs_f32();
        println!("test {} ... {} ({seconds:.1} s)", done.name, done.outcome);
        if matches!(done.outcome, Outcome::Passed) {
            // Such as what it could not try here.
            for line in done
                .output
                .lines()
                .filter(|line| line.starts_with("test: "))
            {
                println!("{line}");
            }
        } else if matches!(done.outcome, Outcome::Failed | Outcome::Hung { .. }) {
            println!("---- {} ----\n{}\n----", done.name, done.output.trim_end());
        }
        if let Outcome::Hung { dump, .. } = &done.outcome {
            println!("{dump}");
        }
    }

    /// Counts how a test ended in the end.
    fn add(&mut self, done: &Done) -> Result<()> {
        match done.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Ignored => self.ignored += 1,
            Outcome::Flaky => self.flaky += 1,
            Outcome::Failed | Outcome::Hung { .. } | Outcome::LeftOut { .. } => self.failed += 1,
        }
        if let Some(file) = &mut self.file {
            let (seconds, reason) = (done.took.as_secs(), done.outcome.reason());
            let (binary, name) = (&self.binary, &done.name);
            writeln!(
                file,
                "{}\t{binary} {name}\t{seconds}\t{reason}",
                done.outcome
            )?;
        }
        Ok(())
    }

    /// The line of totals; whether no test failed.
    fn end(&self) -> bool {
        let result = if self.failed == 0 { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {result}. {} passed; {} failed; {} flaky; {} ignored",
            self.passed, self.failed, self.flaky, self.ignored
        );
        self.failed == 0
    }
}
