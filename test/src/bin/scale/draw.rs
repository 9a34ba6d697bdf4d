//! The SVGs of docs/performance.md.

use std::path::Path;

use medley_test::plot::{self, Line, Point};
use medley_test::{Context as _, Result};

use crate::results::Results;

/// The colors of the lines, in the contenders' order.
const COLORS: [&str; 6] = [
    "#d1242f", "#bf8700", "#1f6feb", "#bf5af2", "#1a7f37", "#57606a",
];

/// How many starts make one point: the one in the middle counts.
const STARTS: usize = 10;

/// Draws the starts over the containers that are up, and the memory of all.
pub(crate) fn write(results: &Results, dir: &Path) -> Result<()> {
    let save = |name: &str, svg: String| {
        let file = dir.join(name);
        std::fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
        println!("scale: {}", file.display());
        Ok::<_, medley_test::Error>(())
    };
    let title = "Time of one start, ms, over containers that are up";
    save("scale-starts.svg", plot::svg(title, &starts(results)))?;
    let title = "Memory of all containers, MiB (PSS), over their number";
    save("scale-memory.svg", plot::svg(title, &memory(results)))
}

fn color(number: usize) -> &'static str {
    COLORS[number % COLORS.len()]
}

/// The contenders, in the order in which they were measured.
fn contenders(results: &Results) -> Vec<String> {
    let measured = results.measured.iter();
    let mut all = Vec::new();
    for one in measured.filter(|one| one.row.ends_with(" containers")) {
        if !all.contains(&one.contender) {
            all.push(one.contender.clone());
        }
    }
    all
}

fn starts(results: &Results) -> Vec<Line> {
    let line = |(number, name): (usize, String)| {
        let times = results.starts.get(&name)?;
        let points = times
            .chunks(STARTS)
            .enumerate()
            .map(|(chunk, times)| Point {
                x: whole(chunk * STARTS + times.len()),
                y: crate::median(times.to_vec()),
            });
        Some(Line {
            points: points.collect(),
            color: color(number),
            name,
        })
    };
    contenders(results)
        .into_iter()
        .enumerate()
        .filter_map(line)
        .collect()
}

fn memory(results: &Results) -> Vec<Line> {
    let line = |(number, name): (usize, String)| {
        let of_it = results.measured.iter().filter(|one| one.contender == name);
        let points = of_it.filter_map(|one| {
            let containers = one.row.strip_suffix(" containers")?.parse().ok()?;
            let containers = whole(containers);
            (one.metric == "PSS each, MiB").then_some(Point {
                x: containers,
                y: one.value * containers,
            })
        });
        let none = Point { x: 0.0, y: 0.0 };
        Line {
            points: std::iter::once(none).chain(points).collect(),
            color: color(number),
            name,
        }
    };
    contenders(results)
        .into_iter()
        .enumerate()
        .map(line)
        .collect()
}

fn whole(number: usize) -> f64 {
    u32::try_from(number).map_or(0.0, f64::from)
}
