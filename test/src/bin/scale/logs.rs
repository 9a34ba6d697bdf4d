//! What a container writes, until it is read at the other end of its FIFO.

use std::time::Instant;

use medley_test::Result;
use medley_test::stdio::Stdin;

use crate::contender::Contender;
use crate::median;
use crate::results::Results;

pub(crate) async fn measure(
    contender: &Contender,
    mebibytes: usize,
    rounds: usize,
    results: &mut Results,
) -> Result<()> {
    for (terminal, metric) in [
        (false, "without a terminal, MiB/s"),
        (true, "with one, MiB/s"),
    ] {
        let mut rates = Vec::new();
        for _ in 0..rounds {
            rates.push(rate(contender, mebibytes, terminal).await?);
        }
        let row = format!("{mebibytes} MiB written");
        results.add(&row, &contender.name, metric, median(rates));
    }
    Ok(())
}

/// How much arrives, in MiB a second.
async fn rate(contender: &Contender, mebibytes: usize, terminal: bool) -> Result<f64> {
    let bytes = mebibytes << 20;
    let container = contender.flood("flood", bytes, terminal).await?;
    let stdin = if terminal {
        Stdin::Terminal
    } else {
        Stdin::None
    };
    let mut task = container.task(stdin).await?;
    let from = Instant::now();
    task.start().await?;
    let code = task.wait().await?;
    let (stdout, _) = task.output_bytes().await?;
    let took = from.elapsed().as_secs_f64();
    medley_test::ensure!(code == 0, "{}: exit status {code}", contender.name);
    medley_test::ensure!(
        stdout.len() >= bytes,
        "{}: {} of {bytes} bytes have arrived",
        contender.name,
        stdout.len()
    );
    task.delete().await?;
    container.delete().await?;
    Ok(u32::try_from(mebibytes).map_or(0.0, f64::from) / took)
}
