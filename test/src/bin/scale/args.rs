//! What is to be measured.

use std::path::PathBuf;

use medley_test::{Context as _, Result, bail};

const USAGE: &str = "usage: scale [--containers N,N,...] [--rounds N] [--execs N] [--mebibytes N] \
                     [--seconds N] [--json FILE] [--plots DIR], or scale compare OLD NEW";

/// What this program does.
pub(crate) enum Command {
    Measure(Args),
    /// Two files of `--json` beside each other.
    Compare {
        old: PathBuf,
        new: PathBuf,
    },
}

/// How much of each.
pub(crate) struct Args {
    /// So many containers are up at a time.
    pub(crate) containers: Vec<usize>,
    /// Rounds that each median is taken over.
    pub(crate) rounds: usize,
    pub(crate) execs: usize,
    /// What a container writes.
    pub(crate) mebibytes: usize,
    /// How long wake-ups are counted.
    pub(crate) seconds: u64,
    pub(crate) json: Option<PathBuf>,
    /// The dir of the SVGs.
    pub(crate) plots: Option<PathBuf>,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            containers: vec![10, 50, 200, 500],
            rounds: 10,
            execs: 1000,
            mebibytes: 256,
            seconds: 10,
            json: None,
            plots: None,
        }
    }
}

impl Command {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut args = Args::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().context(USAGE);
            match word.as_str() {
                "compare" => {
                    return Ok(Self::Compare {
                        old: value()?.into(),
                        new: value()?.into(),
                    });
                }
                "--containers" => {
                    let numbers = value()?;
                    let numbers = numbers.split(',').map(str::parse);
                    args.containers = numbers.collect::<Result<_, _>>().context(USAGE)?;
                }
                "--rounds" => args.rounds = value()?.parse().context(USAGE)?,
                "--execs" => args.execs = value()?.parse().context(USAGE)?,
                "--mebibytes" => args.mebibytes = value()?.parse().context(USAGE)?,
                "--seconds" => args.seconds = value()?.parse().context(USAGE)?,
                "--json" => args.json = Some(value()?.into()),
                "--plots" => args.plots = Some(value()?.into()),
                _ => bail!(USAGE),
            }
        }
        Ok(Self::Measure(args))
    }
}
