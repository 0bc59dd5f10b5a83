//! Markdown, as a pull request or a step summary shows it: the verdict, why, and one row a gate.

use super::{printable, seconds};
use crate::record::{GateRecord, RunRecord};
use crate::verdict::Verdict;
use std::fmt::Write as _;

/// How many lines of a gate's output are shown; the rest is in its log.
const LINES: usize = 20;

/// The run as Markdown.
pub fn markdown(record: &RunRecord) -> String {
    let mut text = String::new();
    write(record, &mut text).expect("writing to a string cannot fail");
    text
}

/// The run as Markdown of at most so many bytes, because a page that is too big is not shown at all. What is cut is the
/// end, where the outputs stand, and the cut is said.
pub fn markdown_within(record: &RunRecord, limit: usize) -> String {
    const CUT: &str = "\n\nCut here: the whole report is in `summary.md` of the run directory.\n";
    let mut text = markdown(record);
    if text.len() > limit {
        let end = (0..=limit.saturating_sub(CUT.len())).rev().find(|end| text.is_char_boundary(*end));
        let end = end.unwrap_or(0);
        text.truncate(text[..end].rfind('\n').unwrap_or(end));
        text.push_str(CUT);
    }
    text
}

fn write(record: &RunRecord, out: &mut String) -> std::fmt::Result {
    writeln!(out, "# {} — {}\n\n{}.\n", record.verdict, inline(&record.plan.name), inline(&record.reason))?;
    writeln!(out, "| gate | outcome | time | why |\n|---|---|---|---|")?;
    for gate in &record.gates {
        let advisory = if gate.required { "" } else { " (advisory)" };
        let outcome = gate.outcome.as_ref().map_or("UNFINISHED", |outcome| outcome.word());
        let reason = inline(gate.reason.as_deref().unwrap_or(""));
        writeln!(out, "| {}{advisory} | {outcome} | {} | {reason} |", inline(&gate.id), seconds(gate))?;
    }
    if record.verdict == Verdict::Blocked && !record.blocked_by.is_empty() {
        let ids: Vec<String> = record.blocked_by.iter().map(|id| inline(id)).collect();
        writeln!(out, "\nBlocked by: {}.", ids.join(", "))?;
    }
    for gate in record.not_passed() {
        output(gate, out)?;
    }
    writeln!(out, "\n- run `{}`, from {}", record.run_id, record.started_at)?;
    writeln!(out, "- plan {} (sha256 `{}`)", inline(&record.plan.origin), record.plan.sha256)?;
    if let Some(subject) = &record.subject {
        let digests: Vec<String> =
            subject.digest.iter().map(|(name, hex)| format!("{name} `{hex}`")).collect();
        writeln!(out, "- subject {} ({})", inline(&subject.name), digests.join(", "))?;
    }
    if let Some(trace_id) = &record.trace_id {
        writeln!(out, "- trace `{trace_id}`")?;
    }
    if record.orphans_ended > 0 {
        writeln!(
            out,
            "- {} processes hid from the end of their gate, and were ended with the run",
            record.orphans_ended
        )?;
    }
    Ok(())
}

fn output(gate: &GateRecord, out: &mut String) -> std::fmt::Result {
    let Some(output) = gate.output.as_deref().filter(|output| !output.trim().is_empty()) else {
        return Ok(());
    };
    let lines: Vec<&str> = output.lines().collect();
    let last = &lines[lines.len().saturating_sub(LINES)..];
    let log = gate.log.as_ref().map_or("", |log| log.path.as_str());
    writeln!(out, "\n## {}\n\nThe end of `{log}`:\n", inline(&gate.id))?;
    // Indented, not fenced: no output can end the block.
    last.iter().try_for_each(|line| writeln!(out, "    {}", printable(line)))
}

/// Text that stays in its place: on one line, in one table cell, without markup of its own.
fn inline(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        if matches!(c, '|' | '`' | '*' | '_' | '<' | '>' | '[' | ']' | '\\' | '#') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}
