//! Verdicts for people (with the line and a caret) and for machines (one JSON object a statement), and the tests of a policy.

use ops_cli::{Exit, Failure, Format, output};
use ops_core::guard::{Decision, Policy, StatementVerdict, TestOutcome, Verdict};
use serde_json::json;
use std::fmt::Write as _;

/// Columns of a line that are shown around the caret.
const WIDTH: usize = 100;

/// How many statements there are of each decision.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    allowed: usize,
    limited: usize,
    held: usize,
    denied: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, verdict: &Verdict) {
        for statement in &verdict.statements {
            *match statement.decision {
                Decision::Allow => &mut self.allowed,
                Decision::Limit => &mut self.limited,
                Decision::Approve => &mut self.held,
                _ => &mut self.denied,
            } += 1;
        }
    }

    pub(crate) fn all(&self) -> usize {
        self.allowed + self.limited + self.refused()
    }

    /// Those that may not run, or not yet.
    pub(crate) fn refused(&self) -> usize {
        self.held + self.denied
    }
}

/// Writes the verdicts on one file. For people only refusals are shown; for machines every statement is.
pub(crate) fn verdict(file: &str, sql: &str, verdict: &Verdict, format: Format) -> std::io::Result<()> {
    for (index, statement) in verdict.statements.iter().enumerate() {
        match format {
            Format::Json => output::json(&object(file, index, statement, verdict))?,
            Format::Text if statement.is_allowed() => {}
            Format::Text => output::text(&refusal(file, sql, statement, verdict))?,
        }
    }
    Ok(())
}

/// Writes the closing line for people.
pub(crate) fn summary(counts: &Counts, policy: &Policy, format: Format) -> std::io::Result<()> {
    if format == Format::Json {
        return Ok(());
    }
    if counts.all() == 0 {
        return output::text("There is no statement to judge.");
    }
    let Counts { allowed, limited, held, denied } = counts;
    let shadow = if policy.is_shadow() { ", which only reports" } else { "" };
    output::text(&format!(
        "{} statements under the policy {}{shadow}: {allowed} allowed, {limited} limited, {held} held for approval, {denied} denied.",
        counts.all(),
        policy.name(),
    ))
}

/// Writes how one test of a policy came out. For people only what failed is told.
pub(crate) fn outcome(file: &str, outcome: &TestOutcome, format: Format) -> std::io::Result<()> {
    if format == Format::Json {
        return output::json(&json!({
            "schema": "ops-guard/policy-test/v1",
            "file": file,
            "line": outcome.line,
            "sql": outcome.sql,
            "holds": outcome.holds(),
            "expected": outcome.expected,
            "expected_rule": outcome.expected_rule,
            "found": outcome.found,
            "found_rule": outcome.found_rule,
        }));
    }
    if outcome.holds() {
        return Ok(());
    }
    let decision = |decision: Decision, rule: &Option<String>| match rule {
        Some(rule) => format!("{} by rule {rule}", word(decision)),
        None => word(decision).to_owned(),
    };
    output::text(&format!(
        "{file}:{}: a test does not hold\n  {}\n  expected: {}\n  found: {}",
        outcome.line,
        shown(&outcome.sql).collect::<String>(),
        decision(outcome.expected, &outcome.expected_rule),
        decision(outcome.found, &outcome.found_rule),
    ))
}

/// Writes for people that all tests of a policy hold.
pub(crate) fn tests(tests: usize, policy: &str, format: Format) -> std::io::Result<()> {
    match format {
        Format::Json => Ok(()),
        Format::Text => output::text(&format!("{tests} of {tests} tests of the policy {policy} hold.")),
    }
}

/// The failure of a command whose answer nobody receives.
pub(crate) fn unwritten(error: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("the verdicts cannot be written: {error}"))
}

/// The word of a policy file for a decision.
pub(crate) fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allow => "allow",
        Decision::Limit => "limit",
        Decision::Approve => "approve",
        _ => "deny",
    }
}

fn object(file: &str, index: usize, statement: &StatementVerdict, verdict: &Verdict) -> serde_json::Value {
    let effects: Vec<&str> = statement.effects.iter().map(|predicted| predicted.effect.name()).collect();
    let mut object = json!({
        "schema": "ops-guard/check/v1",
        "file": file,
        "index": index,
        "line": statement.line,
        "start": statement.start,
        "end": statement.end,
        "policy": verdict.policy,
        "policy_hash": verdict.policy_hash,
        "verdict": statement.decision,
        "effects": effects,
        "rule": statement.rule,
        "reason": statement.reason,
        "hint": statement.hint,
    });
    if let Some(limits) = statement.limits {
        object["limits"] = json!(limits);
    }
    if verdict.shadow {
        object["shadow"] = json!(true);
    }
    object
}

fn refusal(file: &str, sql: &str, statement: &StatementVerdict, verdict: &Verdict) -> String {
    let (line, column, source) = place(sql, statement.position);
    let what = match (verdict.shadow, statement.decision) {
        (false, Decision::Approve) => "held for approval",
        (true, Decision::Approve) => "would be held for approval",
        (false, _) => "denied",
        (true, _) => "would be denied",
    };
    let rule = statement.rule.as_deref().unwrap_or("?");
    let mut text =
        format!("{file}:{line}:{}: {what} by rule {rule} of policy {}", column + 1, verdict.policy);
    let _ = write!(text, "\n  {source}\n  {:column$}^", "");
    for (name, sentence) in [("reason", &statement.reason), ("hint", &statement.hint)] {
        if let Some(sentence) = sentence {
            let _ = write!(text, "\n  {name}: {sentence}");
        }
    }
    text
}

/// The characters of a line that a terminal may see; tabs would move the caret.
fn shown(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| if c.is_control() { ' ' } else { c })
}

/// The line of a byte, the column of the caret in characters, and the text around it.
pub(crate) fn place(sql: &str, position: usize) -> (usize, usize, String) {
    let mut at = position.min(sql.len());
    while !sql.is_char_boundary(at) {
        at -= 1;
    }
    let start = sql[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = sql[..at].matches('\n').count() + 1;
    let column = sql[start..at].chars().count();
    let whole = sql[start..].lines().next().unwrap_or_default();
    // A long line is cut so that the caret stays in it.
    let skipped = (column + 1).saturating_sub(WIDTH);
    let source: String = shown(whole).skip(skipped).take(WIDTH).collect();
    (line, column - skipped, source)
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_place_is_shown_in_its_line() {
        let long = format!("{}X", "a".repeat(150));
        let cases = [
            ("SELECT 1", 7, (1, 7, "SELECT 1")),
            ("a;\n\tDROP x", 4, (2, 1, " DROP x")),
            ("é DROP", 3, (1, 2, "é DROP")),
            ("", 9, (1, 0, "")),
        ];
        for (sql, position, (line, column, shown)) in cases {
            assert_eq!(place(sql, position), (line, column, shown.to_owned()), "{sql:?}");
        }
        let (_, column, shown) = place(&long, 150);
        assert_eq!(shown.chars().nth(column), Some('X'));
    }
}
