//! Verdicts for people (with the line and a caret) and for machines (one JSON object a statement).

use ops_cli::{Format, output};
use ops_core::guard::{Decision, StatementVerdict, Verdict};
use serde_json::json;
use std::fmt::Write as _;

/// Columns of a line that are shown around the caret.
const WIDTH: usize = 100;

/// Writes the verdicts on one file. For people only refusals are shown; for machines every statement is.
pub(crate) fn verdict(file: &str, sql: &str, verdict: &Verdict, format: Format) -> std::io::Result<()> {
    for (index, statement) in verdict.statements.iter().enumerate() {
        match format {
            Format::Json => output::json(&object(file, index, statement))?,
            Format::Text if statement.decision == Decision::Allow => {}
            Format::Text => output::text(&refusal(file, sql, statement))?,
        }
    }
    Ok(())
}

/// Writes the closing line for people.
pub(crate) fn summary(statements: usize, denied: usize, policy: &str, format: Format) -> std::io::Result<()> {
    match (format, statements) {
        (Format::Json, _) => Ok(()),
        (Format::Text, 0) => output::text("There is no statement to judge."),
        (Format::Text, _) => output::text(&format!(
            "{statements} statements under the policy {policy}: {} allowed, {denied} denied.",
            statements - denied
        )),
    }
}

fn object(file: &str, index: usize, statement: &StatementVerdict) -> serde_json::Value {
    let effects: Vec<&str> = statement.effects.iter().map(|predicted| predicted.effect.name()).collect();
    json!({
        "schema": "ops-guard/check/v1",
        "file": file,
        "index": index,
        "line": statement.line,
        "start": statement.start,
        "end": statement.end,
        "verdict": statement.decision,
        "effects": effects,
        "rule": statement.rule,
        "reason": statement.reason,
        "hint": statement.hint,
    })
}

fn refusal(file: &str, sql: &str, statement: &StatementVerdict) -> String {
    let (line, column, source) = place(sql, statement.position);
    let mut text =
        format!("{file}:{line}:{}: denied by {}", column + 1, statement.rule.as_deref().unwrap_or("?"));
    let _ = write!(text, "\n  {source}\n  {:column$}^", "");
    for (name, sentence) in [("reason", &statement.reason), ("hint", &statement.hint)] {
        if let Some(sentence) = sentence {
            let _ = write!(text, "\n  {name}: {sentence}");
        }
    }
    text
}

/// The line of a byte, the column of the caret in characters, and the text around it.
fn place(sql: &str, position: usize) -> (usize, usize, String) {
    let mut at = position.min(sql.len());
    while !sql.is_char_boundary(at) {
        at -= 1;
    }
    let start = sql[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = sql[..at].matches('\n').count() + 1;
    let column = sql[start..at].chars().count();
    let whole = sql[start..].lines().next().unwrap_or_default();
    // A long line is cut so that the caret stays in it; tabs would move the caret.
    let skipped = (column + 1).saturating_sub(WIDTH);
    let shown: String =
        whole.chars().skip(skipped).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    (line, column - skipped, shown)
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
