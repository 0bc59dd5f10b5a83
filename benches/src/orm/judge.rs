//! What the `app` policy says of captured statements, and which refusals hinder ordinary work.

use super::log::Logged;
use ops_core::guard::{Context, Policy, redact};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The first words of statements that work on rows. The rest is administration: objects, transactions, the session.
const ROW_WORK: [&str; 12] = [
    "select", "insert", "update", "delete", "with", "merge", "values", "table", "copy", "fetch", "declare",
    "close",
];

/// Rules that refuse, on purpose, what can be row work by its verb: a write without a condition, the session's settings,
/// other sessions, sequences that are moved.
const MEANT: [&str; 7] = [
    "delete-all",
    "update-all",
    "session-escape",
    "session-setting",
    "cluster",
    "sequence-reset",
    "transaction-control",
];

/// What was found in one suite.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// Statements that were sent.
    statements: u64,
    /// Different ones.
    distinct: u64,
    /// Different ones that work on rows.
    row_work: u64,
    /// Different ones that the server could not read either.
    unreadable: u64,
    /// Refused ones by rule, of any kind.
    refused: BTreeMap<String, u64>,
    /// Refused ones by rule, of those that work on rows.
    refused_row_work: BTreeMap<String, u64>,
    /// Ordinary work that is refused, redacted, with the rule.
    false_denials: BTreeSet<(String, String)>,
}

/// Judges each different statement once.
pub(crate) fn judge(logged: &Logged, context: &Context) -> Findings {
    let policy = Policy::app();
    let mut findings = Findings { statements: logged.statements.values().sum(), ..Findings::default() };
    for sql in logged.statements.keys() {
        findings.distinct += 1;
        if logged.unreadable.contains(sql) {
            findings.unreadable += 1;
            continue;
        }
        let shown = redact(sql);
        let first: String =
            shown.trim_start_matches('(').chars().take_while(char::is_ascii_alphabetic).collect();
        let is_row_work = ROW_WORK.contains(&first.to_lowercase().as_str());
        findings.row_work += u64::from(is_row_work);
        let verdict = policy.judge_in(sql, context);
        let Some(denied) = verdict.denied().next() else { continue };
        let rule = denied.rule.clone().unwrap_or_default();
        *findings.refused.entry(rule.clone()).or_default() += 1;
        if is_row_work {
            *findings.refused_row_work.entry(rule.clone()).or_default() += 1;
            if !MEANT.contains(&rule.as_str()) {
                findings.false_denials.insert((rule, shown));
            }
        }
    }
    findings
}

impl Findings {
    pub(crate) fn text(&self) -> String {
        let rules = |rules: &BTreeMap<String, u64>| {
            let parts: Vec<String> = rules.iter().map(|(rule, number)| format!("{rule} {number}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        let share = 100.0 * self.false_denials.len() as f64 / self.row_work.max(1) as f64;
        let mut text = format!(
            "{} statements, {} different, {} of them work on rows, {} that the server cannot read\n  refused: {}\n  \
             refused row work: {}\n  false denials: {} ({share:.2} % of the row work)",
            self.statements,
            self.distinct,
            self.row_work,
            self.unreadable,
            rules(&self.refused),
            rules(&self.refused_row_work),
            self.false_denials.len()
        );
        for (rule, sql) in &self.false_denials {
            let _ = write!(text, "\n    {rule}: {sql}");
        }
        text
    }
}
