//! Many execs in one container, one after the other.

use std::time::Instant;

use medley_test::{Result, ensure};

use crate::contender::Contender;
use crate::median;
use crate::results::Results;

/// So many are run in one container before it is the next one's turn.
const TURN: usize = 50;

pub(crate) async fn measure(
    contenders: &[Contender],
    execs: usize,
    results: &mut Results,
) -> Result<()> {
    let mut hosts = Vec::new();
    for (number, contender) in contenders.iter().enumerate() {
        let container = contender.container(&format!("execs-{number}")).await?;
        hosts.push((Contender::start(container).await?, Vec::new()));
    }
    let mut done = 0;
    while done < execs {
        let until = (done + TURN).min(execs);
        for (contender, (host, times)) in contenders.iter().zip(&mut hosts) {
            for number in done..until {
                let from = Instant::now();
                let id = format!("exec-{number}");
                let (code, _, stderr) = host.task.run_exec(&id, contender.short()).await?;
                times.push(from.elapsed().as_secs_f64() * 1000.0);
                ensure!(code == 0, "exec {number}: {code}, {stderr}");
            }
        }
        done = until;
    }
    for (contender, (host, times)) in contenders.iter().zip(hosts) {
        host.end().await?;
        let row = format!("{execs} execs");
        let tenth = (times.len() / 10).max(1);
        let all: f64 = times.iter().sum();
        let mut add = |metric, value| results.add(&row, &contender.name, metric, value);
        add("all, s", all / 1000.0);
        add("first tenth, ms each", median(times[..tenth].to_vec()));
        add(
            "last tenth, ms each",
            median(times[times.len() - tenth..].to_vec()),
        );
    }
    Ok(())
}
