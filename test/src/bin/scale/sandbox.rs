//! A pod's sandbox, as a kubelet asks for it.

use std::time::Instant;

use medley_test::{Containerd, PodOptions, Result, Runtime};

use crate::median;
use crate::results::Results;

const NAMES: [(Runtime, &str); 2] = [(Runtime::Runc, "runc"), (Runtime::Medley, "Medley")];

pub(crate) async fn measure(
    containerd: &Containerd,
    rounds: usize,
    results: &mut Results,
) -> Result<()> {
    containerd.import_cri(&[]).await?;
    let cri = containerd.cri().await?;
    let mut times = [const { (Vec::new(), Vec::new()) }; 2];
    // The first one reads from the disk what the others find.
    for round in 0..=rounds {
        for ((runtime, _), (runs, ends)) in NAMES.iter().zip(&mut times) {
            let options = PodOptions {
                handler: Some(runtime.handler().to_owned()),
                ..PodOptions::default()
            };
            let from = Instant::now();
            let pod = cri.run_pod(&format!("pod-{round}"), options).await?;
            let ran = from.elapsed().as_secs_f64() * 1000.0;
            let from = Instant::now();
            pod.stop().await?;
            pod.remove().await?;
            if round > 0 {
                runs.push(ran);
                ends.push(from.elapsed().as_secs_f64() * 1000.0);
            }
        }
    }
    for ((_, name), (runs, ends)) in NAMES.iter().zip(times) {
        results.add("a pod's sandbox", name, "run, ms", median(runs));
        results.add("a pod's sandbox", name, "stop and remove, ms", median(ends));
    }
    Ok(())
}
