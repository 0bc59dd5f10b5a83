//! The TOML of a policy file as it is written, and where in it something stands; `read` makes sense of it.

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{PolicyProblem, suggestion};

pub(super) type Words = Vec<Spanned<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a policy")]
pub(super) struct PolicyTable {
    pub(super) version: Spanned<u64>,
    pub(super) name: Spanned<String>,
    pub(super) base: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) shadow: bool,
    #[serde(default)]
    pub(super) functions: Words,
    #[serde(default)]
    pub(super) rule: Vec<Spanned<RuleTable>>,
    #[serde(default)]
    pub(super) budget: Vec<Spanned<BudgetTable>>,
    #[serde(default)]
    pub(super) test: Vec<Spanned<TestTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table of a rule")]
pub(super) struct RuleTable {
    pub(super) name: Option<Spanned<String>>,
    pub(super) principal: Option<Spanned<Words>>,
    pub(super) database: Option<Spanned<Words>>,
    pub(super) table: Option<Spanned<Words>>,
    pub(super) effect: Option<Spanned<Words>>,
    pub(super) window: Option<Spanned<WindowTable>>,
    pub(super) decision: Spanned<String>,
    pub(super) rows: Option<Spanned<u64>>,
    pub(super) rows_per_table: Option<Spanned<u64>>,
    pub(super) tables: Option<Spanned<u64>>,
    pub(super) reason: Option<Spanned<String>>,
    pub(super) hint: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table of a window: `{ days, from, to, zone }`")]
pub(super) struct WindowTable {
    pub(super) days: Option<Spanned<Words>>,
    pub(super) from: Option<Spanned<String>>,
    pub(super) to: Option<Spanned<String>>,
    pub(super) zone: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table of a budget")]
pub(super) struct BudgetTable {
    pub(super) effect: Spanned<Words>,
    pub(super) rows: u64,
    pub(super) per: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "the table of a test")]
pub(super) struct TestTable {
    pub(super) sql: String,
    pub(super) principal: Option<String>,
    pub(super) database: Option<String>,
    pub(super) at: Option<Spanned<String>>,
    pub(super) expect: Spanned<String>,
    pub(super) rule: Option<Spanned<String>>,
}

/// Describes a problem at a byte of the text.
pub(super) fn problem(text: &str, at: usize, message: String, hint: Option<String>) -> PolicyProblem {
    let before = text.as_bytes().get(..at).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    PolicyProblem { line, key: key_at(text, at), message, hint }
}

/// Returns the key at a byte of the text, with those around it; none where the text is not TOML, or no key is there.
fn key_at(text: &str, at: usize) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let mut path = Vec::new();
    in_table(root.get_ref(), at, &mut path).then(|| path.join("."))
}

fn in_table<'a>(table: &'a DeTable<'_>, at: usize, path: &mut Vec<&'a str>) -> bool {
    table.iter().any(|(key, value)| {
        path.push(key.get_ref());
        let found =
            in_value(value.get_ref(), at, path) || key.span().contains(&at) || value.span().contains(&at);
        if !found {
            path.pop();
        }
        found
    })
}

fn in_value<'a>(value: &'a DeValue<'_>, at: usize, path: &mut Vec<&'a str>) -> bool {
    match value {
        DeValue::Table(table) => in_table(table, at, path),
        DeValue::Array(items) => {
            items.iter().any(|item| in_value(item.get_ref(), at, path) || item.span().contains(&at))
        }
        _ => false,
    }
}

/// Says in the words of a policy file what the TOML library says in those of Rust.
pub(super) fn reworded(message: &str) -> (String, Option<String>) {
    let message = message.lines().collect::<Vec<_>>().join("; ");
    let mut quoted = message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown field")
        && let Some(given) = quoted.next()
    {
        let known: Vec<&str> = quoted.collect();
        return (format!("`{given}` is no key here"), Some(suggestion(given, &known)));
    }
    let message = message.replace("missing field", "the key is missing:");
    let words = [("a sequence", "a list"), ("u64", "a number from 0 on"), ("a borrowed string", "a string")];
    let message = match message.rsplit_once(", expected ") {
        Some((found, expected)) => {
            let expected = words.iter().find(|(rust, _)| *rust == expected).map_or(expected, |(_, own)| own);
            return (found.to_owned(), Some(format!("expected {expected}")));
        }
        None => message,
    };
    (message, None)
}
