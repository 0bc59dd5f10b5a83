//! What GitHub Actions shows of a run: annotations within its cap, and the outputs in groups.
//!
//! GitHub keeps 10 errors and 10 warnings of a step and drops the rest without a word. So the gates are ranked, root
//! causes first, and the last annotation says how many are left out. Commands are read from any line of the log: what a
//! program wrote stands between `::stop-commands::` and its token, so that it cannot give one.

use super::printable;
use crate::record::{GateRecord, RunRecord};

/// How many annotations of a level GitHub shows for a step.
const CAP: usize = 10;

/// How many lines of a gate's output are shown.
const LINES: usize = 20;

/// The annotations and groups for the log of a step. The token must not be known to the programs of the gates: take
/// random digits after the run.
pub fn github(record: &RunRecord, token: &str) -> String {
    let (required, advisory): (Vec<_>, Vec<_>) =
        record.not_passed().partition(|gate| record.blocked_by.contains(&gate.id));
    let mut text = String::new();
    for gate in record.not_passed() {
        group(gate, token, &mut text);
    }
    annotate("error", &required, &mut text);
    annotate("warning", &advisory, &mut text);
    text
}

fn annotate(level: &str, gates: &[&GateRecord], out: &mut String) {
    let shown = if gates.len() > CAP { CAP - 1 } else { gates.len() };
    for gate in &gates[..shown] {
        let outcome = gate.outcome.as_ref().map_or("UNFINISHED", |outcome| outcome.word());
        let title = property(&format!("{outcome} {}", gate.id));
        let reason = message(gate.reason.as_deref().unwrap_or("did not end"));
        out.push_str(&format!("::{level} title={title}::{reason}\n"));
    }
    if gates.len() > shown {
        let ids: Vec<&str> = gates[shown..].iter().map(|gate| gate.id.as_str()).collect();
        let (count, ids) = (ids.len(), message(&ids.join("\n")));
        out.push_str(&format!("::{level} title={count} more gates did not pass::{ids}\n"));
    }
}

fn group(gate: &GateRecord, token: &str, out: &mut String) {
    let Some(output) = gate.output.as_deref().filter(|output| !output.trim().is_empty()) else { return };
    let lines: Vec<&str> = output.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let log = gate.log.as_ref().map_or("", |log| log.path.as_str());
    out.push_str(&format!(
        "::group::{}: the end of {}\n::stop-commands::{token}\n",
        message(&gate.id),
        message(log)
    ));
    last.iter().for_each(|line| out.push_str(&format!("{}\n", printable(line))));
    out.push_str(&format!("::{token}::\n::endgroup::\n"));
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
