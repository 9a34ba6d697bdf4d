//! The command line: cargo's, for the standard test harness.

use anyhow::{Context, Result};
use std::path::PathBuf;

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) binary: PathBuf,
    /// Tests that run at a time.
    pub(crate) threads: usize,
    /// Whether tests are only to be listed.
    pub(crate) list: bool,
    /// The harness's arguments that choose tests: names, `--exact`, `--skip NAME`, `--ignored`, …
    pub(crate) rest: Vec<String>,
}

impl Args {
    pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut words = words.into_iter();
        let binary = words
            .next()
            .context("no test binary: cargo calls this program")?;
        let cores = std::thread::available_parallelism()?.get();
        let mut this = Self {
            binary: binary.into(),
            threads: cores,
            list: false,
            rest: Vec::new(),
        };
        while let Some(word) = words.next() {
            let threads = match word.as_str() {
                "--test-threads" => words.next(),
                "--list" => {
                    this.list = true;
                    continue;
                }
                // What a test writes is kept apart from the others' in any case.
                "--nocapture" | "--no-capture" | "--show-output" => continue,
                _ => word.strip_prefix("--test-threads=").map(str::to_owned),
            };
            match threads {
                Some(number) => {
                    let number = number.parse::<usize>();
                    this.threads = number.context("--test-threads is no number")?.max(1);
                }
                None => this.rest.push(word),
            }
        }
        Ok(this)
    }

    /// What cargo calls the binary, without the hash behind it.
    pub(crate) fn binary_name(&self) -> String {
        let name = self
            .binary
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let without_hash = name.rsplit_once('-').map(|(name, _)| name.to_owned());
        without_hash.unwrap_or_else(|| name.into_owned())
    }

    /// Whether the harness would run tests that are marked as ignored.
    pub(crate) fn with_ignored(&self) -> bool {
        let mut rest = self.rest.iter();
        rest.any(|word| word == "--ignored" || word == "--include-ignored")
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    #[test]
    fn threads_are_taken_and_what_chooses_tests_is_passed_on() -> anyhow::Result<()> {
        let words = [
            "/t",
            "--test-threads",
            "3",
            "--skip",
            "a",
            "exits::",
            "--exact",
        ];
        let args = Args::parse(words.map(str::to_owned))?;
        assert_eq!((args.threads, args.list), (3, false));
        assert_eq!(args.rest, ["--skip", "a", "exits::", "--exact"]);
        let words = ["/t/medley_sys-61a8", "--test-threads=7"];
        let args = Args::parse(words.map(str::to_owned))?;
        assert_eq!(
            (args.threads, args.binary_name().as_str()),
            (7, "medley_sys")
        );
        assert!(Args::parse(["/t", "--test-threads=x"].map(str::to_owned)).is_err());
        Ok(())
    }
}
