//! What the processes of one life have written.

use std::collections::HashMap;
use std::path::Path;

use medley_test::{Context as _, Result, ensure};

/// One life, by one clock in microseconds.
#[derive(Debug)]
pub(crate) struct Life {
    /// When `ctr` was run, and when it had ended.
    pub(crate) began: f64,
    pub(crate) ended: f64,
    /// In the order in which they began.
    pub(crate) processes: Vec<Process>,
}

/// A process, or a clone of one.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// In the order in which they began; what holds others comes before these.
    pub(crate) spans: Vec<Span>,
}

/// Something that took time, or a moment.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) began: f64,
    /// 0 of a moment.
    pub(crate) lasted: f64,
}

impl Life {
    /// From `ctr`'s first instruction to its end.
    pub(crate) fn lasted(&self) -> f64 {
        self.ended - self.began
    }
}

/// CLOCK_MONOTONIC, in microseconds.
pub(crate) fn now() -> f64 {
    let uptime = nix_now();
    uptime.0 * 1e6 + uptime.1 / 1e3
}

fn nix_now() -> (f64, f64) {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let now =
        nix::time::clock_gettime(clock).unwrap_or_else(|_| nix::sys::time::TimeSpec::new(0, 0));
    #[expect(
        clippy::cast_precision_loss,
        reason = "an uptime in microseconds has 53 bits for long"
    )]
    (now.tv_sec() as f64, now.tv_nsec() as f64)
}

/// Takes the files of a life that began and ended then out of `dir`.
pub(crate) fn take(dir: &Path, (began, ended): (f64, f64)) -> Result<Life> {
    let mut processes = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        std::fs::remove_file(&path)?;
        processes.extend(parse(&text).with_context(|| format!("in {}", path.display()))?);
    }
    ensure!(!processes.is_empty(), "no process has written a trace");
    let first = |process: &Process| process.spans.first().map_or(f64::MAX, |span| span.began);
    processes.sort_by(|a, b| first(a).total_cmp(&first(b)));
    Ok(Life {
        began,
        ended,
        processes,
    })
}

/// The processes of one file: an array in JSON without its end.
fn parse(text: &str) -> Result<Vec<Process>> {
    let json = format!("{}]", text.trim_end().trim_end_matches(','));
    let events: Vec<serde_json::Value> = serde_json::from_str(&json)?;
    let mut found: HashMap<i64, Process> = HashMap::new();
    for event in &events {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let process = found
            .entry(event["tid"].as_i64().unwrap_or_default())
            .or_insert_with(|| Process {
                name: String::new(),
                spans: Vec::new(),
            });
        if event["ph"] == "M" {
            process.name = text(&event["args"]["name"]);
            continue;
        }
        process.spans.push(Span {
            name: text(&event["name"]),
            began: event["ts"].as_f64().unwrap_or_default(),
            lasted: event["dur"].as_f64().unwrap_or_default(),
        });
    }
    let mut processes: Vec<Process> = found.into_values().collect();
    for process in &mut processes {
        process.spans.sort_by(|a, b| {
            a.began
                .total_cmp(&b.began)
                .then(b.lasted.total_cmp(&a.lasted))
        });
    }
    Ok(processes)
}
