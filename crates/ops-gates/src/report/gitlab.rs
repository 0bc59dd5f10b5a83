//! What GitLab shows of a run: the outputs of gates that did not pass, in sections that fold.

use super::printable;
use crate::record::RunRecord;

/// How many lines of a gate's output are shown.
const LINES: usize = 20;

/// The sections for the log of a job.
pub fn gitlab(record: &RunRecord) -> String {
    let mut text = String::new();
    for (position, gate) in record.not_passed().enumerate() {
        let Some(output) = gate.output.as_deref().filter(|output| !output.trim().is_empty()) else {
            continue;
        };
        let start = gate.started_at.unwrap_or(record.started_at).as_second();
        let end = record.finished_at.unwrap_or(record.started_at).as_second().max(start);
        // A name has letters, digits, `_`, `.` and `-`, and is unique in the job.
        let name: String =
            gate.id.chars().filter(|c| c.is_ascii_alphanumeric() || "_.-".contains(*c)).collect();
        let name = format!("gate_{position}_{name}");
        let outcome = gate.outcome.as_ref().map_or("UNFINISHED", |outcome| outcome.word());
        let reason = printable(gate.reason.as_deref().unwrap_or("did not end"));
        text.push_str(&format!(
            "\u{1b}[0Ksection_start:{start}:{name}[collapsed=true]\r\u{1b}[0K{outcome} {}: {reason}\n",
            printable(&gate.id)
        ));
        let lines: Vec<&str> = output.lines().collect();
        for line in &lines[lines.len().saturating_sub(LINES)..] {
            text.push_str(&format!("{}\n", printable(line)));
        }
        text.push_str(&format!("\u{1b}[0Ksection_end:{end}:{name}\r\u{1b}[0K\n"));
    }
    text
}
