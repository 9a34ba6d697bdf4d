//! What was measured: as tables, and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use medley_test::Result;
use serde_json::{Value, json};

use crate::args::Args;
use crate::contender::Contender;

/// One number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    /// What was done, such as `200 containers`.
    pub(crate) row: String,
    /// Who did it.
    pub(crate) contender: String,
    /// What of it was measured, with its unit.
    pub(crate) metric: String,
    pub(crate) value: f64,
}

/// All of them, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Results {
    machine: Vec<(String, String)>,
    pub(crate) measured: Vec<Measured>,
    /// Of each contender, how long each start took in the row with the most containers, in milliseconds.
    pub(crate) starts: BTreeMap<String, Vec<f64>>,
}

impl Results {
    pub(crate) fn new(contenders: &[Contender], args: &Args) -> Self {
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let names: Vec<_> = contenders.iter().map(|one| one.name.as_str()).collect();
        let machine = [
            ("processors", processors.to_string()),
            ("kernel", kernel.trim().to_owned()),
            ("runtimes", names.join("; ")),
            ("rounds", args.rounds.to_string()),
        ];
        Self {
            machine: machine.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Self::default()
        }
    }

    pub(crate) fn add(&mut self, row: &str, contender: &str, metric: &str, value: f64) {
        self.measured.push(Measured {
            row: row.to_owned(),
            contender: contender.to_owned(),
            metric: metric.to_owned(),
            value,
        });
    }

    /// As JSON, for [`crate::compare`] and for other programs.
    pub(crate) fn json(&self) -> Result<String> {
        let machine: BTreeMap<_, _> = self.machine.iter().cloned().collect();
        let measured: Vec<_> = self
            .measured
            .iter()
            .map(|one| {
                json!({
                    "row": one.row,
                    "contender": one.contender,
                    "metric": one.metric,
                    "value": one.value,
                })
            })
            .collect();
        let all = json!({ "machine": machine, "measured": measured, "starts": self.starts });
        Ok(serde_json::to_string_pretty(&all)? + "\n")
    }

    /// Reads what [`Self::json`] gave.
    pub(crate) fn parse(text: &str) -> Result<Vec<Measured>> {
        let all: Value = serde_json::from_str(text)?;
        let measured = all["measured"].as_array().into_iter().flatten();
        Ok(measured
            .map(|one| {
                let text = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
                Measured {
                    row: text("row"),
                    contender: text("contender"),
                    metric: text("metric"),
                    value: one["value"].as_f64().unwrap_or_default(),
                }
            })
            .collect())
    }

    fn value(&self, row: &str, contender: &str, metric: &str) -> Option<f64> {
        let is_it =
            |one: &&Measured| one.row == row && one.contender == contender && one.metric == metric;
        self.measured.iter().find(is_it).map(|one| one.value)
    }
}

/// The texts of some measurements, each once, in their order.
pub(crate) fn each(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut all = Vec::new();
    for text in texts {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

/// A number with as many digits as say something.
pub(crate) fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 || value == 0.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.machine {
            writeln!(f, "{name}: {value}")?;
        }
        // Rows with the same metrics are one table.
        let mut above = Vec::new();
        for row in each(self.measured.iter().map(|one| one.row.clone())) {
            let of_row = || self.measured.iter().filter(|one| one.row == row);
            let metrics = each(of_row().map(|one| one.metric.clone()));
            if metrics != above {
                writeln!(f, "\n| | | {} |", metrics.join(" | "))?;
                writeln!(f, "|---|---|{}", "---|".repeat(metrics.len()))?;
                above.clone_from(&metrics);
            }
            for contender in each(of_row().map(|one| one.contender.clone())) {
                let values = metrics.iter().map(|metric| {
                    let value = self.value(&row, &contender, metric);
                    value.map_or_else(String::new, short)
                });
                let values: Vec<_> = values.collect();
                writeln!(f, "| {row} | {contender} | {} |", values.join(" | "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Results;

    fn results() -> Results {
        let mut results = Results::default();
        for (row, value) in [("10 containers", 30.0), ("50 containers", 31.25)] {
            results.add(row, "Medley", "start, ms", value);
            results.add(row, "Medley", "memory, MiB", value / 30.0);
            results.add(row, "runc", "start, ms", value * 3.0);
        }
        results
    }

    #[test]
    fn rows_with_the_same_metrics_are_one_table() {
        assert_eq!(
            results().to_string(),
            "\n| | | start, ms | memory, MiB |\n|---|---|---|---|\n\
             | 10 containers | Medley | 30.0 | 1.00 |\n| 10 containers | runc | 90.0 |  |\n\
             | 50 containers | Medley | 31.2 | 1.04 |\n| 50 containers | runc | 93.8 |  |\n"
        );
    }

    #[test]
    fn what_is_written_as_json_is_read_again() {
        let results = results();
        let read = Results::parse(&results.json().unwrap()).unwrap();
        assert_eq!(read, results.measured);
    }
}
