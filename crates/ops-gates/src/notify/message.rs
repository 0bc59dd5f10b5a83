//! What is told: one text for people, and the same as data. It is made from the record, in which secrets are masked.

use super::{Change, Situation};
use crate::record::RunRecord;
use serde::Serialize;
use serde_json::{Value, json};

/// How many gates a message names; a list without end is not read.
const GATES: usize = 10;

/// A message about a change of state.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Message {
    /// One line: the subject of a mail.
    pub title: String,
    /// The whole text.
    pub text: String,
    /// The same for machines.
    pub data: Value,
}

impl Message {
    /// The message about a change.
    pub fn new(change: Change, situation: Situation<'_>) -> Self {
        let record = situation.now;
        let title = match change {
            Change::Passed => format!("{} passes again", record.plan.name),
            Change::Blocked => format!("{} is BLOCKED", record.plan.name),
            Change::OtherGates => format!("{} is BLOCKED by other gates", record.plan.name),
            Change::StillBlocked => format!("{} is still BLOCKED", record.plan.name),
        };
        let title = one_line(&title);
        Self { text: text(&title, situation), data: data(change, record), title }
    }
}

fn text(title: &str, situation: Situation<'_>) -> String {
    let record = situation.now;
    let mut lines = vec![format!("{title}: {}", one_line(&record.reason))];
    for id in record.blocked_by.iter().take(GATES) {
        let gate = record.gates.iter().find(|gate| gate.id == *id);
        let word = gate.and_then(|gate| gate.outcome.as_ref()).map_or("UNFINISHED", |outcome| outcome.word());
        let reason = gate.and_then(|gate| gate.reason.as_deref()).unwrap_or("did not end");
        lines.push(format!("- {} {word}: {}", one_line(id), one_line(reason)));
    }
    if record.blocked_by.len() > GATES {
        lines.push(format!("- and {} more", record.blocked_by.len() - GATES));
    }
    if let Some(since) = situation.blocked_since {
        lines.push(format!("blocked since {}", since.strftime("%Y-%m-%d %H:%M UTC")));
    }
    if let Some(subject) = &record.subject {
        let digests: Vec<String> = subject.digest.iter().map(|(name, hex)| format!("{name} {hex}")).collect();
        lines.push(format!("subject {} ({})", one_line(&subject.name), digests.join(", ")));
    }
    lines.push(format!("run {}", record.run_id));
    if let Some(trace) = &record.trace_id {
        lines.push(format!("trace {trace}"));
    }
    lines.join("\n")
}

fn data(change: Change, record: &RunRecord) -> Value {
    json!({
        "schema": "ops-gates/notification/v1",
        "change": match change {
            Change::Blocked => "blocked",
            Change::OtherGates => "other_gates",
            Change::Passed => "passed",
            Change::StillBlocked => "still_blocked",
        },
        "plan": record.plan.name,
        "verdict": record.verdict,
        "reason": record.reason,
        "blocked_by": record.blocked_by,
        "run_id": record.run_id,
        "trace_id": record.trace_id,
        "subject": record.subject,
        "started_at": record.started_at,
        "finished_at": record.finished_at,
    })
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
