//! A life as SVG: a line for each span, its process in front, its milliseconds behind.

use crate::events::{Life, Span};

/// In pixels.
const LEFT: f64 = 210.0;
const WIDTH: f64 = 560.0;
const ROOM: f64 = 250.0;
const TOP: f64 = 56.0;
const ROW: f64 = 16.0;

/// Each process has one of these.
const COLORS: [&str; 6] = [
    "#1f6feb", "#bf5af2", "#1a7f37", "#bc4c00", "#57606a", "#cf222e",
];

/// Draws it.
pub(crate) fn svg(title: &str, life: &Life) -> String {
    let mut rows = String::new();
    let mut at = TOP;
    let scale = WIDTH / life.lasted().max(1.0);
    let mut row = |label: &str, color: &str, span: &Span| {
        let x = (span.began - life.began) * scale;
        let width = (span.lasted * scale).max(1.5);
        // A shim ends a moment after `ctr`.
        let x = x.clamp(0.0, WIDTH);
        let width = width.min(WIDTH - x).max(1.5);
        let text = if span.lasted > 0.0 {
            format!("{} {:.1}", span.name, span.lasted / 1000.0)
        } else {
            span.name.clone()
        };
        rows.push_str(&format!(
            "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"{:.1}\" y=\"{:.0}\" width=\"{width:.1}\" height=\"10\" fill=\"{color}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{text}</text>\n",
            LEFT - 8.0,
            at + 9.0,
            LEFT + x,
            at,
            LEFT + x + width + 4.0,
            at + 9.0,
        ));
        at += ROW;
    };
    let whole = Span {
        name: "ctr run --rm".to_owned(),
        began: life.began,
        lasted: life.lasted(),
    };
    row("", "#d0d7de", &whole);
    for (process, color) in life.processes.iter().zip(COLORS.iter().cycle()) {
        for (number, span) in process.spans.iter().enumerate() {
            let label = if number == 0 {
                process.name.as_str()
            } else {
                ""
            };
            row(label, color, span);
        }
    }
    let size = (LEFT + WIDTH + ROOM, at + 16.0);
    let ticks: String = (0..=4)
        .map(|part| {
            let (x, ms) = (
                LEFT + WIDTH * f64::from(part) / 4.0,
                life.lasted() / 1000.0 * f64::from(part) / 4.0,
            );
            format!(
                "<path d=\"M{x:.1} {TOP}V{:.0}\" stroke=\"#eaeef2\"/>\
                 <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{ms:.0} ms</text>\n",
                at,
                TOP - 8.0
            )
        })
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0} {:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#57606a\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"24\" font-size=\"14\" fill=\"#24292f\">{title}</text>\n{ticks}{rows}</svg>\n",
        size.0, size.1
    )
}
