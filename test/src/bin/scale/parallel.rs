//! Several starts at a time.

use std::time::Instant;

use futures_util::future::try_join_all;
use medley_test::Result;

use crate::contender::Contender;
use crate::median;
use crate::results::Results;

/// How many at a time.
const AT_ONCE: [usize; 3] = [1, 4, 16];

pub(crate) async fn measure(
    contenders: &[Contender],
    rounds: usize,
    results: &mut Results,
) -> Result<()> {
    for at_once in AT_ONCE {
        let mut times = vec![Vec::new(); contenders.len()];
        for _ in 0..rounds {
            for (contender, times) in contenders.iter().zip(&mut times) {
                times.push(round(contender, at_once).await?);
            }
        }
        for (contender, times) in contenders.iter().zip(times) {
            let row = format!("{at_once} starts at a time");
            results.add(&row, &contender.name, "until all run, ms", median(times));
        }
    }
    Ok(())
}

/// How long it takes until all run, in milliseconds.
async fn round(contender: &Contender, at_once: usize) -> Result<f64> {
    let mut containers = Vec::new();
    for number in 0..at_once {
        containers.push(contender.container(&format!("at-once-{number}")).await?);
    }
    let from = Instant::now();
    let started = try_join_all(containers.into_iter().map(Contender::start)).await?;
    let took = from.elapsed().as_secs_f64() * 1000.0;
    for one in started {
        one.end().await?;
    }
    Ok(took)
}
