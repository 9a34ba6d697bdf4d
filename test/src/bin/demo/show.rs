//! What the demo prints: steps with their times, tables, the lines of a log.

use std::io::Write as _;
use std::time::Instant;

/// The steps on standard output, each with the time since the demo began.
#[derive(Debug)]
pub(crate) struct Show {
    began: Instant,
}

impl Show {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
        }
    }

    /// Says what is being done now.
    pub(crate) fn step(&self, what: &str) {
        self.line(&format!(
            "[{:6.2} s] {what}",
            self.began.elapsed().as_secs_f64()
        ));
    }

    /// One line below a step.
    pub(crate) fn detail(&self, what: &str) {
        self.line(&format!("            {what}"));
    }

    /// A table below a step; the first row is its heading.
    pub(crate) fn table(&self, rows: &[Vec<String>]) {
        for line in columns(rows) {
            self.detail(&line);
        }
    }

    /// A closed pipe must not keep the demo from cleaning up, so a failed write is let go.
    fn line(&self, line: &str) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .unwrap_or_default();
    }
}

/// Pads the cells of each column to one width, and rules a line under the heading.
fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..count)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let padded = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = widths
        .iter()
        .map(|&width| "-".repeat(width))
        .collect::<Vec<_>>()
        .join("  ");
    let mut lines: Vec<String> = rows.iter().map(padded).collect();
    if !lines.is_empty() {
        lines.insert(1, rule);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let lines = columns(&[row(["container", "kind"]), row(["a", "wasm"])]);
        assert_eq!(
            lines,
            ["container  kind", "---------  ----", "a          wasm"]
        );
    }
}
