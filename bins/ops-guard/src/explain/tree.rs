//! One explained statement, as a tree for people and as an object for machines.

use super::Explanation;
use crate::render::{place, word};
use ops_core::blast::BlastRadius;
use ops_core::guard::{Decision, Limits, Predicted, StatementVerdict};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The statement's own effects, then those of each code that it runs.
fn by_origin(statement: &StatementVerdict) -> Vec<(Option<&str>, Vec<&Predicted>)> {
    let mut groups: Vec<(Option<&str>, Vec<&Predicted>)> = vec![(None, Vec::new())];
    for predicted in &statement.effects {
        let via = predicted.via.as_deref();
        match groups.iter_mut().find(|(origin, _)| *origin == via) {
            Some((_, effects)) => effects.push(predicted),
            None => groups.push((via, vec![predicted])),
        }
    }
    groups
}

/// Draws the decision, the caret, the effects and the reach of a statement.
pub(super) fn text(
    explanation: &Explanation<'_>,
    statement: &StatementVerdict,
    radius: Option<&BlastRadius>,
) -> String {
    let (line, column, source) = place(explanation.sql, statement.position);
    let decision = match (explanation.verdict.shadow, statement.decision) {
        (true, decision) => format!("{} (the policy only reports)", word(decision)),
        (false, decision) => word(decision).to_owned(),
    };
    let mut text = format!(
        "{}:{line}:{}: {decision}, by the policy {}\n  {source}\n  {:column$}^",
        explanation.name,
        column + 1,
        explanation.policy.name(),
        ""
    );
    for (name, sentence) in
        [("rule", &statement.rule), ("reason", &statement.reason), ("hint", &statement.hint)]
    {
        if let Some(sentence) = sentence {
            let _ = write!(text, "\n  {name}: {sentence}");
        }
    }
    if statement.effects.is_empty() {
        text.push_str("\n  effects: none");
    }
    for (origin, effects) in by_origin(statement).into_iter().filter(|(_, effects)| !effects.is_empty()) {
        let indent = match origin {
            None => {
                text.push_str("\n  effects:");
                "    "
            }
            Some(origin) => {
                let _ = write!(text, "\n  through {origin}:");
                "    "
            }
        };
        for predicted in effects {
            let _ = write!(text, "\n{indent}{}: {}", predicted.effect, ruling(explanation, predicted));
        }
    }
    if let Some(radius) = radius {
        add_radius(&mut text, radius);
    }
    text
}

/// What the policy says to one effect.
fn ruling(explanation: &Explanation<'_>, predicted: &Predicted) -> String {
    let explained = explanation.policy.explain(&predicted.effect, explanation.circumstances);
    let mut said = match &explained.rule {
        Some(rule) => format!("{} by rule {rule}", word(explained.decision)),
        None => format!("{} as {}", word(explained.decision), explained.class),
    };
    if let Some(limits) = explained.limits {
        said.push_str(&limited(limits));
    }
    if let (Some(reason), true) = (&explained.reason, explained.decision > Decision::Limit) {
        let _ = write!(said, " ({reason})");
    }
    said
}

fn limited(limits: Limits) -> String {
    let parts: Vec<String> = [
        limits.rows.map(|rows| format!("{rows} rows")),
        limits.rows_per_table.map(|rows| format!("{rows} rows of a table")),
        limits.tables.map(|tables| format!("{tables} tables")),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!(", at most {}", parts.join(", "))
}

fn add_radius(text: &mut String, radius: &BlastRadius) {
    match (radius.rows, &radius.unknown) {
        (Some(rows), _) => {
            let _ = write!(text, "\n  reach: about {rows} rows by the planner's estimate");
        }
        (None, Some(unknown)) => {
            let _ = write!(text, "\n  reach: not estimated: {}", one_line(unknown));
        }
        (None, None) => text.push_str("\n  reach: not estimated"),
    }
    for reached in &radius.reached {
        let what = if reached.removed { "removes" } else { "changes" };
        let _ = write!(
            text,
            "\n    foreign key {} {what} rows of {} that refer to {}",
            one_line(&reached.foreign_key),
            one_line(&reached.table.to_string()),
            one_line(&reached.from.to_string())
        );
    }
}

/// A name of the database must not steer the terminal.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Builds the object for machines.
pub(super) fn object(
    explanation: &Explanation<'_>,
    index: usize,
    statement: &StatementVerdict,
    radius: Option<&BlastRadius>,
) -> Value {
    let effect = |predicted: &Predicted| {
        let explained = explanation.policy.explain(&predicted.effect, explanation.circumstances);
        json!({
            "effect": predicted.effect,
            "via": predicted.via,
            "class": explained.class,
            "decision": explained.decision,
            "rule": explained.rule,
            "reason": explained.reason,
            "hint": explained.hint,
            "limits": explained.limits,
        })
    };
    let effects: Vec<Value> = statement.effects.iter().map(effect).collect();
    let (line, column, _) = place(explanation.sql, statement.position);
    json!({
        "schema": "ops-guard/explain/v1",
        "file": explanation.name,
        "index": index,
        "line": line,
        "column": column + 1,
        "start": statement.start,
        "end": statement.end,
        "policy": explanation.verdict.policy,
        "policy_hash": explanation.verdict.policy_hash,
        "shadow": explanation.verdict.shadow,
        "catalog": explanation.circumstances.catalog.is_some(),
        "verdict": statement.decision,
        "rule": statement.rule,
        "reason": statement.reason,
        "hint": statement.hint,
        "limits": statement.limits,
        "effects": effects,
        "reach": radius.map(reach),
    })
}

fn reach(radius: &BlastRadius) -> Value {
    let reached: Vec<Value> = radius
        .reached
        .iter()
        .map(|reached| {
            json!({
                "table": reached.table.to_string(),
                "foreign_key": reached.foreign_key,
                "from": reached.from.to_string(),
                "removed": reached.removed,
            })
        })
        .collect();
    json!({"estimated_rows": radius.rows, "not_estimated": radius.unknown, "foreign_keys": reached})
}
