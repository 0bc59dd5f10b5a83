//! TAP, version 13: one test a gate, and one for the verdict, so that no consumer sees green where the run is blocked.

use super::printable;
use crate::record::{GateRecord, RunRecord};
use crate::verdict::Verdict;
use std::fmt::Write as _;

/// The run as TAP. A gate that did not pass and does not block, because it is advisory or excused, is a `TODO`, which does
/// not fail the run of the consumer either.
pub fn tap(record: &RunRecord) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", record.gates.len() + 1);
    for (position, gate) in record.gates.iter().enumerate() {
        write(gate, position + 1, &mut text).expect("writing to a string cannot fail");
    }
    let ok = if record.verdict == Verdict::Passed { "ok" } else { "not ok" };
    let number = record.gates.len() + 1;
    text.push_str(&format!("{ok} {number} - verdict: {}\n", record.verdict));
    block(&[("message", Some(record.reason.as_str())), ("run_id", Some(&record.run_id))], &mut text);
    text
}

fn write(gate: &GateRecord, number: usize, out: &mut String) -> std::fmt::Result {
    let passed = gate.outcome.as_ref().is_some_and(|outcome| outcome.is_pass());
    let ok = if passed { "ok" } else { "not ok" };
    // A `#` begins a directive; an id has none, but whoever makes a record by hand may write one.
    let id = printable(&gate.id).replace('#', "\\#");
    let spared = match (&gate.excuse, gate.required) {
        _ if passed => "",
        (Some(_), _) => " # TODO excused",
        (None, false) => " # TODO advisory",
        (None, true) => "",
    };
    writeln!(out, "{ok} {number} - {id}{spared}")?;
    if !passed {
        let outcome = gate.outcome.as_ref().map_or("UNFINISHED", |outcome| outcome.word());
        let log = gate.log.as_ref().map(|log| log.path.as_str());
        let fields = [
            ("outcome", Some(outcome)),
            ("code", gate.code.as_deref()),
            ("message", gate.reason.as_deref()),
            ("log", log),
        ];
        block(&fields, out);
    }
    Ok(())
}

/// A YAML block. Strings are written as JSON, which is YAML, so that no text can end the block.
fn block(fields: &[(&str, Option<&str>)], out: &mut String) {
    out.push_str("  ---\n");
    for (name, value) in fields.iter().filter_map(|(name, value)| Some((name, (*value)?))) {
        let value = serde_json::Value::from(printable(value));
        out.push_str(&format!("  {name}: {value}\n"));
    }
    out.push_str("  ...\n");
}
