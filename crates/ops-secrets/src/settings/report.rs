//! What was loaded from where, fit to be shown.

use super::values::{scalar, texts};
use crate::mask::{Masker, REDACTED, passwords};
use crate::schema::{Setting, variable};
use crate::source::{Given, Warning};
use figment::value::Value;
use serde::Serialize;

/// Where every setting came from; holds no secret.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub(super) entries: Vec<Entry>,
    pub(super) warnings: Vec<Warning>,
}

/// One setting as it was loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The setting, for example `backup.s3.region`.
    pub key: String,
    /// Its value on one line. `[redacted]` stands for a secret, for a password in a connection string, and for a value
    /// whose type cannot be known before; an empty secret is shown empty.
    pub value: String,
    /// Where the value came from: `default`, `ops.toml:3`, `.env:2 OPS_REPO`, `/run/secrets/repo`, `credential repo`,
    /// `env OPS_REPO`, `env OPS_PASSWORD_FILE (/run/secrets/pw)`, `flag --repo`, or `not set`.
    pub source: String,
    /// Where lower layers gave a value that this one hides, the lowest first.
    pub shadowed: Vec<String>,
    /// The environment variable that sets it.
    pub variable: String,
    /// What was done to the value on its way; None where it is used as it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Report {
    /// Returns all settings in the order of their declaration.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the settings whose value hides one that a person wrote in a lower layer; to hide a default is what they are for.
    pub fn shadowing(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.shadowed.iter().any(|source| source != "default"))
    }

    /// Returns what is odd, though the settings can be used.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

impl Entry {
    pub(super) fn new(
        setting: &Setting,
        prefix: &str,
        found: Option<(Value, String)>,
        given: &[Given],
        masker: &Masker,
    ) -> Self {
        let (value, source) = match found {
            Some((value, source)) => (shown(setting, &value, masker), source),
            None => (String::new(), "not set".into()),
        };
        let mut layers: Vec<&Given> = given.iter().filter(|given| given.key == setting.key).collect();
        let note = layers.pop().and_then(|top| top.note).map(str::to_owned);
        let shadowed = layers.into_iter().map(|given| given.origin.clone()).collect();
        Self {
            key: setting.key.clone(),
            value,
            source,
            shadowed,
            variable: variable(prefix, &setting.key),
            note,
        }
    }
}

fn shown(setting: &Setting, value: &Value, masker: &Masker) -> String {
    if setting.hidden {
        let empty = texts(value).iter().all(String::is_empty);
        return if empty { String::new() } else { REDACTED.into() };
    }
    let text = match value {
        Value::String(_, text) => without_passwords(text),
        other => plain(other),
    };
    let text = masker.mask_str(&text).into_owned();
    one_line(&text)
}

fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A value as TOML writes it, but for what `one_line` escapes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("\"{}\"", without_passwords(text)),
        Value::Array(_, items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Dict(_, entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key} = {}", plain(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => scalar(other),
    }
}

fn without_passwords(text: &str) -> String {
    let mut out = String::new();
    let mut end = 0;
    for span in passwords(text) {
        out.push_str(&text[end..span.start]);
        out.push_str(REDACTED);
        end = span.end;
    }
    out + &text[end..]
}
