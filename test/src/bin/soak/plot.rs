//! The memory of shims over the execs in their containers, drawn as SVG.

use std::fmt::Write as _;

/// How much memory a shim had after so many execs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// How many.
    pub(crate) execs: u32,
    /// How much.
    pub(crate) kib: u64,
}

/// One shim's.
#[derive(Debug)]
pub(crate) struct Line {
    /// What was run.
    pub(crate) name: &'static str,
    /// In which color it is drawn.
    pub(crate) color: &'static str,
    /// What was seen.
    pub(crate) samples: Vec<Sample>,
}

/// The picture and, in it, what is drawn on; in pixels.
const SIZE: (f64, f64) = (720.0, 320.0);
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 620.0;
const HEIGHT: f64 = 220.0;

/// How many parts each axis has.
const PARTS: u32 = 5;

/// Draws the lines over one another. Both axes begin at zero.
pub(crate) fn svg(lines: &[Line]) -> String {
    let samples = || lines.iter().flat_map(|line| &line.samples);
    let most_execs = samples()
        .map(|sample| sample.execs)
        .max()
        .unwrap_or(1)
        .max(1);
    let most_kib = samples().map(|sample| sample.kib).max().unwrap_or(1).max(1);
    // Round, and with room above.
    let top = u32::try_from(most_kib * 5 / 4)
        .unwrap_or(u32::MAX)
        .next_multiple_of(500);
    let x = |execs: u32| LEFT + WIDTH * f64::from(execs) / f64::from(most_execs);
    let y = |kib: u32| TOP + HEIGHT * (1.0 - f64::from(kib) / f64::from(top));
    let mut out = String::new();
    let mut put = |text: String| {
        // Into a String: it takes everything.
        out.push_str(&text);
        out.push('\n');
    };
    put(format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="12" fill="#57606a">"##,
        SIZE.0, SIZE.1
    ));
    put(r##"<rect width="100%" height="100%" fill="#ffffff"/>"##.to_owned());
    put(format!(
        r##"<text x="{LEFT}" y="24" font-size="14" fill="#24292f">Private memory of the shim, KiB, over execs in its container</text>"##
    ));
    for part in 0..=PARTS {
        let (kib, execs) = (top / PARTS * part, most_execs / PARTS * part);
        let (at_x, at_y) = (x(execs), y(kib));
        put(format!(
            r##"<path d="M{LEFT} {at_y:.1}h{WIDTH}" stroke="#d0d7de"/><text x="{:.1}" y="{:.1}" text-anchor="end">{kib}</text>"##,
            LEFT - 8.0,
            at_y + 4.0
        ));
        put(format!(
            r##"<text x="{at_x:.1}" y="{:.1}" text-anchor="middle">{execs}</text>"##,
            TOP + HEIGHT + 18.0
        ));
    }
    for (number, line) in (0_u32..).zip(lines) {
        let mut points = String::new();
        for sample in &line.samples {
            let kib = u32::try_from(sample.kib).unwrap_or(u32::MAX);
            // Into a String, which takes everything.
            write!(points, "{:.1},{:.1} ", x(sample.execs), y(kib)).ok();
        }
        put(format!(
            r##"<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>"##,
            points.trim_end(),
            line.color
        ));
        let at = LEFT + f64::from(number) * WIDTH / 2.0;
        put(format!(
            r##"<rect x="{at:.1}" y="{:.1}" width="14" height="4" fill="{}"/><text x="{:.1}" y="{:.1}">{}</text>"##,
            TOP + HEIGHT + 40.0,
            line.color,
            at + 20.0,
            TOP + HEIGHT + 46.0,
            line.name
        ));
    }
    put("</svg>".to_owned());
    out
}

#[cfg(test)]
mod tests {
    use super::{Line, Sample, svg};

    #[test]
    fn every_sample_is_a_point_of_its_line() {
        let line = Line {
            name: "one",
            color: "#000000",
            samples: vec![
                Sample { execs: 0, kib: 400 },
                Sample {
                    execs: 100,
                    kib: 400,
                },
            ],
        };
        let drawn = svg(&[line]);
        // 500 KiB are all of the height of 220.
        assert!(
            drawn.contains(r#"points="70.0,84.0 690.0,84.0""#),
            "{drawn}"
        );
        assert!(drawn.trim_end().ends_with("</svg>"));
    }
}
