//! Charts as inline SVG: no script, no file, no font of their own.

use super::health::short;
use crate::verdict::Verdict;
use jiff::Timestamp;
use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 120.0;
/// Room for the numbers at the left.
const LEFT: f64 = 56.0;
const PAD: f64 = 8.0;

/// Values over time as a line, with a point each.
pub(super) fn line(title: &str, values: &[(Timestamp, f64)]) -> String {
    let mut svg = open(title);
    let times: Vec<f64> = values.iter().map(|(at, _)| at.as_second() as f64).collect();
    let numbers: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let (low, high) = bounds(&numbers);
    let points: Vec<(f64, f64)> = scaled(&times, LEFT, WIDTH - PAD)
        .into_iter()
        .zip(numbers.iter().map(|value| HEIGHT - PAD - (value - low) / (high - low) * (HEIGHT - 2.0 * PAD)))
        .collect();
    let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = write!(svg, "<polyline class=\"line\" points=\"{}\"/>", path.join(" "));
    for ((x, y), (at, value)) in points.iter().zip(values) {
        let _ = write!(
            svg,
            "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"><title>{at}: {}</title></circle>",
            short(*value)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"0\" y=\"{:.1}\">{}</text><text x=\"0\" y=\"{:.1}\">{}</text></svg>",
        PAD + 8.0,
        short(high),
        HEIGHT - PAD,
        short(low)
    );
    svg
}

/// Runs over time as bars: as high as they took long, in the colour of their verdict.
pub(super) fn bars(title: &str, runs: &[(Timestamp, Verdict, Option<f64>)]) -> String {
    let mut svg = open(title);
    let highest = runs.iter().filter_map(|(_, _, seconds)| *seconds).fold(0.0, f64::max);
    let width = ((WIDTH - LEFT - PAD) / runs.len().max(1) as f64).clamp(0.5, 24.0);
    for (position, (at, verdict, seconds)) in runs.iter().enumerate() {
        let share = seconds.filter(|_| highest > 0.0).map_or(0.0, |seconds| seconds / highest);
        // A run without a time is still seen.
        let height = (share * (HEIGHT - 2.0 * PAD)).max(3.0);
        let (x, y) = (LEFT + position as f64 * width, HEIGHT - PAD - height);
        let class = if *verdict == Verdict::Passed { "passed" } else { "blocked" };
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{at}: {verdict}</title></rect>",
            width * 0.8
        );
    }
    let _ = write!(svg, "<text x=\"0\" y=\"{:.1}\">{} s</text></svg>", PAD + 8.0, short(highest));
    svg
}

fn open(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        super::html::escape(title)
    )
}

/// Bounds that are never the same, so that a flat line is drawn in the middle.
fn bounds(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if high > low {
        return (low, high);
    }
    let middle = if low.is_finite() { low } else { 0.0 };
    (middle - 1.0, middle + 1.0)
}

fn scaled(values: &[f64], from: f64, to: f64) -> Vec<f64> {
    let (low, high) = bounds(values);
    values.iter().map(|value| from + (value - low) / (high - low) * (to - from)).collect()
}
