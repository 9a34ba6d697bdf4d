//! Lines over two axes, drawn as SVG.

use std::fmt::Write as _;

/// Where a line goes through.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    /// To the right.
    pub x: f64,
    /// Upwards.
    pub y: f64,
}

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// What it shows.
    pub name: String,
    /// In which color it is drawn.
    pub color: &'static str,
    /// Its points, from left to right.
    pub points: Vec<Point>,
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
pub fn svg(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = |of: fn(&Point) -> f64| points().map(of).fold(0.0, f64::max);
    // With room above.
    let (right, top) = (
        round(most(|point| point.x)),
        round(most(|point| point.y) * 1.1),
    );
    let x = |value: f64| LEFT + WIDTH * value / right;
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
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
        r##"<text x="{LEFT}" y="24" font-size="14" fill="#24292f">{title}</text>"##
    ));
    for part in 0..=PARTS {
        let part = f64::from(part) / f64::from(PARTS);
        put(format!(
            r##"<path d="M{LEFT} {:.1}h{WIDTH}" stroke="#d0d7de"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"##,
            y(top * part),
            LEFT - 8.0,
            y(top * part) + 4.0,
            top * part
        ));
        put(format!(
            r##"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"##,
            x(right * part),
            TOP + HEIGHT + 18.0,
            right * part
        ));
    }
    let share = WIDTH / f64::from(u32::try_from(lines.len().max(1)).unwrap_or(1));
    for (number, line) in (0_u32..).zip(lines) {
        let mut points = String::new();
        for point in &line.points {
            // Into a String, which takes everything.
            write!(points, "{:.1},{:.1} ", x(point.x), y(point.y)).ok();
        }
        put(format!(
            r##"<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>"##,
            points.trim_end(),
            line.color
        ));
        let at = LEFT + f64::from(number) * share;
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

/// The end of an axis for values up to `most`: five parts of 1, 2, 3, 4, 5, 6 or 8 times a power of ten.
fn round(most: f64) -> f64 {
    let part = most.max(1.0) / f64::from(PARTS);
    let power = 10_f64.powf(part.log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps
        .into_iter()
        .find(|step| step * power >= part * 0.999_999);
    step.unwrap_or(10.0) * power * f64::from(PARTS)
}

#[cfg(test)]
mod tests {
    use super::{Line, Point, round, svg};

    #[test]
    fn every_sample_is_a_point_of_its_line() {
        let line = Line {
            name: "one".to_owned(),
            color: "#000000",
            points: vec![Point { x: 0.0, y: 450.0 }, Point { x: 100.0, y: 250.0 }],
        };
        let drawn = svg("title", &[line]);
        // 500 are all of the height of 220.
        assert!(
            drawn.contains(r#"points="70.0,62.0 690.0,150.0""#),
            "{drawn}"
        );
        assert!(drawn.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end) in [
            (0.0, 1.0),
            (5.0, 5.0),
            (61.0, 100.0),
            (495.0, 500.0),
            (500.0, 500.0),
            (10_000.0, 10_000.0),
            (1_700.0, 2_000.0),
        ] {
            assert!((round(most) - end).abs() < 1e-6, "{most}: {}", round(most));
        }
    }
}
