//! What masking costs: a line of a log, and texts that a careless masker takes ever longer for.

use crate::measure::median;
use anyhow::{Result, ensure};
use ops_secrets::{Masker, MaskingWriter};
use serde::Serialize;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Write as _;
use std::time::Instant;

/// One measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    task: String,
    /// Microseconds for each unit of the task.
    microseconds: f64,
}

const LINES: usize = 2_000;

/// All measurements, each the median of its rounds.
pub(crate) fn rows(runs: usize) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for patterns in [70, 700, 7_000] {
        let masker = masker(patterns);
        let lines: Vec<String> = (0..LINES).map(line).collect();
        rows.push(row(format!("a clean line of 300 bytes, {patterns} patterns, in place"), runs, || {
            let mut buffer = Vec::with_capacity(512);
            time(LINES, || {
                for line in &lines {
                    buffer.clear();
                    buffer.extend_from_slice(line.as_bytes());
                    masker.mask(&mut buffer);
                    black_box(&buffer);
                }
            })
        }));
        rows.push(row(format!("a clean line of 300 bytes, {patterns} patterns, as a stream"), runs, || {
            let mut writer = MaskingWriter::new(std::io::sink(), masker.clone());
            time(LINES, || {
                for line in &lines {
                    let _ = writer.write_all(black_box(line.as_bytes()));
                }
            })
        }));
        let secret = "x".repeat(280) + &secret(1);
        ensure!(masker.mask_str(&secret).ends_with("[redacted]"), "the secret was not masked");
        rows.push(row(format!("a line with a secret, {patterns} patterns, in place"), runs, || {
            time(LINES, || {
                for _ in 0..LINES {
                    black_box(masker.mask_str(black_box(&secret)));
                }
            })
        }));
    }
    // Twice the text must not take four times as long: each text is all begins of a secret and none of its ends.
    let masker = Masker::new();
    masker.register("run", &("a".repeat(1_000) + "b"));
    for kilobytes in [64, 128, 256] {
        let text = "a".repeat(kilobytes * 1024);
        rows.push(row(format!("begins without an end, {kilobytes} KiB, each KiB"), runs, || {
            time(kilobytes, || {
                black_box(masker.mask_str(black_box(&text)));
            })
        }));
        rows.push(row(
            format!("begins without an end, {kilobytes} KiB as a stream of 64 bytes, each KiB"),
            runs,
            || {
                let mut writer = MaskingWriter::new(std::io::sink(), masker.clone());
                time(kilobytes, || {
                    for piece in text.as_bytes().chunks(64) {
                        let _ = writer.write_all(piece);
                    }
                })
            },
        ));
    }
    Ok(rows)
}

/// A masker that knows at least so many patterns, which are the forms of its secrets.
fn masker(patterns: usize) -> Masker {
    let masker = Masker::new();
    let count = |masker: &Masker| {
        let debug = format!("{masker:?}");
        debug
            .split(|c: char| !c.is_ascii_digit())
            .find_map(|digits| digits.parse::<usize>().ok())
            .unwrap_or(0)
    };
    let mut number = 0;
    while count(&masker) < patterns {
        number += 1;
        masker.register("name", &secret(number));
    }
    masker
}

fn secret(number: usize) -> String {
    format!("s3cret/{}\"{}", number * 7_919, number * 104_729)
}

/// A line of a log as it is: JSON of 300 bytes.
fn line(number: usize) -> String {
    let mut line = format!(
        "{{\"timestamp\":\"2026-11-21T21:40:{:02}.123456Z\",\"level\":\"INFO\",\"target\":\"shop::orders\",\"message\":\"order {number} was paid\",\"trace_id\":\"{:032x}\",",
        number % 60,
        number * 7_919
    );
    while line.len() < 298 {
        let _ = write!(line, "{:x}", line.len());
    }
    line.truncate(298);
    line.push_str("}\n");
    line
}

fn time(units: usize, work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64() * 1e6 / units as f64
}

fn row(task: String, runs: usize, mut once: impl FnMut() -> f64) -> Row {
    // The first round warms up.
    once();
    let microseconds = median((0..runs.max(9)).map(|_| once()));
    Row { task, microseconds }
}

/// The table for people.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = format!("{:75} {:>8}\n", "masking", "us");
    for row in rows {
        let _ = writeln!(text, "{:75} {:>8.3}", row.task, row.microseconds);
    }
    text
}
