//! The record of a rehearsal in words.

use super::words;
use ops_core::evidence::{Outcome, Record};
use std::fmt::Write as _;
use std::path::PathBuf;

/// The record, and where its signed form lies.
pub(super) fn text(record: &Record, evidence: Option<&PathBuf>) -> String {
    let word = |outcome: Outcome| match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::Error => "ERROR",
    };
    let mut text = format!("{}: {}", record.kind, word(record.outcome));
    for check in &record.checks {
        let _ = write!(text, "\n  {:6}  {}: {}", word(check.outcome), check.name, check.detail);
    }
    for (name, value) in &record.measurements {
        let _ = write!(text, "\n  {}", measured(name, *value));
    }
    for (name, value) in &record.attributes {
        let _ = write!(text, "\n  {}: {value}", name.replace('_', " "));
    }
    match evidence {
        Some(path) => {
            let _ = write!(text, "\nevidence: {}", path.display());
        }
        None => text.push_str("\nnot signed: set `signing_key` and `evidence_dir` to keep this as evidence"),
    }
    text
}

/// A measurement, whose name ends in its unit.
fn measured(name: &str, value: f64) -> String {
    if let Some(name) = name.strip_suffix("_seconds") {
        return format!("{}: {value:.3} s", name.replace('_', " "));
    }
    match name.strip_suffix("_bytes") {
        Some(name) if value >= 0.0 => format!("{}: {}", name.replace('_', " "), words::bytes(value as u64)),
        _ => format!("{name}: {value}"),
    }
}
