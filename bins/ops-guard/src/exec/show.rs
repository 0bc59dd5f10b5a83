//! What `exec` shows: rows as a table, what was observed, and refusals with the caret and the next step.

use super::{Statement, exit_of};
use crate::render::{self, place, unwritten};
use crate::words::visible;
use ops_cli::{Exit, Failure, Format, output};
use ops_core::guard::{Observation, StatementVerdict, Touched};
use ops_core::postgres::{Preview, TextAnswer, Undo};
use ops_core::{Error, ErrorKind};
use serde_json::{Value, json};
use std::fmt::Write as _;

const SCHEMA: &str = "ops-guard/exec/v1";

/// The text that is run, and how its answers are written.
pub(super) struct Show<'a> {
    pub(super) name: &'a str,
    pub(super) sql: &'a str,
    pub(super) format: Format,
}

impl Show<'_> {
    /// Writes the answer of a statement that lasts.
    pub(super) fn answer(&self, statement: &Statement<'_>, answer: &TextAnswer) -> Result<(), Failure> {
        let written = match self.format {
            Format::Json => output::json(&json!({
                "schema": SCHEMA, "file": self.name, "index": statement.index, "line": statement.line,
                "outcome": "done", "columns": answer.columns, "rows": answer.rows, "count": answer.count,
                "observed": answer.observation,
            })),
            Format::Text => {
                let mut text = table(&answer.columns, &answer.rows);
                let changes = answer.observation.as_ref().map(changes).unwrap_or_default();
                let count = answer.count.max(answer.rows.len() as u64);
                let _ = write!(text, "{}{changes}", counted(count));
                output::text(&text)
            }
        };
        written.map_err(unwritten)
    }

    /// Writes what a statement would do.
    pub(super) fn preview(&self, statement: &Statement<'_>, preview: &Preview) -> Result<(), Failure> {
        let Preview { verdict, observation, rows, refusal, .. } = preview;
        let judged = &verdict.statements[0];
        let reason = judged.reason.as_ref().filter(|_| !verdict.is_allowed()).or(refusal.as_ref());
        let written = match self.format {
            Format::Json => output::json(&json!({
                "schema": SCHEMA, "file": self.name, "index": statement.index, "line": statement.line,
                "outcome": "preview", "verdict": judged.decision, "rule": judged.rule, "reason": reason,
                "hint": judged.hint, "count": rows, "observed": observation,
            })),
            Format::Text => {
                let mut text = format!(
                    "{}:{}: would concern {rows} rows{}",
                    self.name,
                    statement.line,
                    changes(observation)
                );
                match reason {
                    Some(reason) => {
                        let _ = write!(text, "\n  the policy {} would refuse it: {reason}", verdict.policy);
                    }
                    None => {
                        let _ = write!(text, "\n  the policy {} would let it last", verdict.policy);
                    }
                }
                text.push_str("\n  nothing of it lasts now");
                output::text(&text)
            }
        };
        written.map_err(unwritten)
    }

    /// Writes what was kept, and how it is put back.
    pub(super) fn undo(&self, statement: &Statement<'_>, undo: &Undo) -> Result<(), Failure> {
        let written = match self.format {
            Format::Json => {
                let copies: Vec<Value> = undo
                    .copies
                    .iter()
                    .map(|copy| json!({"copy": copy.name, "table": copy.table.to_string(), "removed": copy.removed}))
                    .collect();
                output::json(&json!({
                    "schema": SCHEMA, "file": self.name, "index": statement.index, "line": statement.line,
                    "outcome": "done", "count": undo.rows, "observed": undo.observation, "copies": copies,
                    "restore": undo.restore, "forget": undo.forget,
                }))
            }
            Format::Text => {
                let mut text = format!("{}{}", counted(undo.rows), changes(&undo.observation));
                for copy in &undo.copies {
                    let _ = write!(text, "\n  kept: rows of {} in {}", copy.table, copy.name);
                }
                text.push_str("\n\n-- puts the rows back:\nBEGIN;\n");
                for sql in &undo.restore {
                    let _ = writeln!(text, "{sql};");
                }
                text.push_str("COMMIT;\n-- removes the copies when they are no longer wanted:\n");
                for sql in &undo.forget {
                    let _ = writeln!(text, "{sql};");
                }
                output::text(&text)
            }
        };
        written.map_err(unwritten)
    }

    /// Says that a transaction was rolled back as a whole.
    pub(super) fn nothing_lasts(&self) -> Result<(), Failure> {
        match self.format {
            Format::Json => Ok(()),
            Format::Text => output::text("The transaction was rolled back: nothing of this text lasts.")
                .map_err(unwritten),
        }
    }

    /// Writes why a statement was refused, or words the error that ended it.
    pub(super) fn refused(&self, statement: &Statement<'_>, error: &Error) -> Result<Exit, Failure> {
        let denied = error.denial().and_then(|verdict| Some((verdict, verdict.statements.first()?)));
        let Some((verdict, judged)) = denied.filter(|_| error.kind() == ErrorKind::Denied) else {
            return Err(self.failure(statement, error));
        };
        let (line, column, source) = place(self.sql, statement.start + judged.position);
        let written = match self.format {
            Format::Json => output::json(&json!({
                "schema": SCHEMA, "file": self.name, "index": statement.index, "line": line,
                "outcome": if error.observed().is_some() { "rolled_back" } else { "refused" },
                "verdict": judged.decision, "rule": judged.rule, "reason": judged.reason, "hint": judged.hint,
                "policy": verdict.policy, "policy_hash": verdict.policy_hash, "observed": error.observed(),
            })),
            Format::Text => {
                let how = match (error.observed(), judged.is_allowed()) {
                    (Some(_), _) => "rolled back",
                    (None, _) => render::refused(judged.decision),
                };
                let rule = judged.rule.as_deref().unwrap_or("?");
                let mut text = format!(
                    "{}:{line}:{}: {how} by rule {rule} of policy {}\n  {source}\n  {:column$}^",
                    self.name,
                    column + 1,
                    verdict.policy,
                    ""
                );
                for (name, sentence) in sentences(judged) {
                    let _ = write!(text, "\n  {name}: {sentence}");
                }
                if let Some(observation) = error.observed() {
                    let _ = write!(text, "\n  observed{}", changes(observation));
                }
                output::text(&text)
            }
        };
        written.map_err(unwritten)?;
        Ok(Exit::No)
    }

    fn failure(&self, statement: &Statement<'_>, error: &Error) -> Failure {
        let failure = Failure::from_error(exit_of(error), error);
        let place = format!("statement {} of {}, line {}", statement.index + 1, self.name, statement.line);
        let failure = failure.hint(format!("it is {place}"));
        match error.sqlstate() {
            Some("42501") => failure.hint("the role may not do that: `ops-guard doctor` shows what it may"),
            _ => failure,
        }
    }
}

fn sentences(judged: &StatementVerdict) -> impl Iterator<Item = (&'static str, &str)> {
    let both = [("reason", judged.reason.as_deref()), ("hint", judged.hint.as_deref())];
    both.into_iter().filter_map(|(name, sentence)| sentence.map(|sentence| (name, sentence)))
}

fn counted(rows: u64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
}

/// Tells what was observed: `: 3 removed from public.child, public.old dropped`.
fn changes(observation: &Observation) -> String {
    let mut parts = Vec::new();
    let relations =
        observation.relations.iter().filter(|touched| !touched.relation.starts_with("pg_catalog."));
    for Touched { relation, inserted, updated, deleted, lock, dropped } in relations {
        let counted = [(inserted, "added to"), (updated, "changed in"), (deleted, "removed from")];
        for (rows, what) in counted.into_iter().filter(|(rows, _)| **rows > 0) {
            parts.push(format!("{rows} {what} {relation}"));
        }
        match (dropped, lock) {
            (true, _) => parts.push(format!("{relation} dropped")),
            (false, Some(mode)) => parts.push(format!("{relation} locked in mode {mode}")),
            (false, None) => {}
        }
    }
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join(", ")) }
}

/// The widest cell of a table for people.
const WIDTH: usize = 60;

/// Rows as a table for people: a NULL is empty, a long value is cut.
fn table(columns: &[String], rows: &[Vec<Option<String>>]) -> String {
    if columns.is_empty() {
        return String::new();
    }
    let cell = |text: &str| -> String {
        let text = visible(text).replace(['\n', '\t'], " ");
        if text.chars().count() <= WIDTH {
            text
        } else {
            text.chars().take(WIDTH - 1).chain(['…']).collect()
        }
    };
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|name| cell(name)).collect()];
    lines.extend(
        rows.iter().map(|row| row.iter().map(|value| cell(value.as_deref().unwrap_or(""))).collect()),
    );
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(value, width)| format!("{value:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join(" | ").trim_end());
        if index == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            let _ = writeln!(text, "{}", rule.join("-+-"));
        }
    }
    text
}
