//! Two runs beside each other.

use std::path::Path;

use medley_test::{Context as _, Result};

use crate::results::{Measured, Results, short};

/// Prints what both have measured, and by how much the second differs.
pub(crate) fn print(old: &Path, new: &Path) -> Result<()> {
    println!("{}", table(&read(old)?, &read(new)?));
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Measured>> {
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    Results::parse(&text).with_context(|| format!("{} is no result of scale", file.display()))
}

fn table(old: &[Measured], new: &[Measured]) -> String {
    let mut lines = vec![
        "| | | | old | new | new / old |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    for one in new {
        let is_same = |other: &&Measured| {
            (&other.row, &other.contender, &other.metric) == (&one.row, &one.contender, &one.metric)
        };
        let Some(was) = old.iter().find(is_same) else {
            continue;
        };
        let ratio = if was.value > 0.0 {
            format!("{:.2}", one.value / was.value)
        } else {
            String::new()
        };
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {ratio} |",
            one.row,
            one.contender,
            one.metric,
            short(was.value),
            short(one.value)
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::results::Measured;

    fn measured(metric: &str, value: f64) -> Measured {
        Measured {
            row: "10 containers".to_owned(),
            contender: "Medley".to_owned(),
            metric: metric.to_owned(),
            value,
        }
    }

    #[test]
    fn what_both_have_is_compared() {
        let old = [measured("first start, ms", 40.0), measured("gone", 1.0)];
        let new = [measured("new", 2.0), measured("first start, ms", 30.0)];
        let lines = table(&old, &new);
        assert_eq!(
            lines.lines().skip(2).collect::<Vec<_>>(),
            ["| 10 containers | Medley | first start, ms | 40.0 | 30.0 | 0.75 |"]
        );
    }
}
