//! The record itself: plain data, without any notion of keys or envelopes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One piece of evidence: an operation that was carried out, and how it ended.
///
/// A later version may add fields; a reader ignores those that it does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What was done: `restore-rehearsal`, `gate-run`, …
    pub kind: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The name and version of the program that did it.
    pub tool: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The trace id of the run (32 hexadecimal digits), empty where there was none.
    #[serde(default)]
    pub trace_id: String,
    /// The things that the evidence is about; at least one, each with a digest.
    ///
    /// In an in-toto statement they stand beside the predicate, not in it.
    pub subjects: Vec<Subject>,
    /// The single checks, in the order in which they ran.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Numbers by name; the unit is part of the name, as in `recovery_time_seconds`.
    #[serde(default)]
    pub measurements: BTreeMap<String, f64>,
    /// Words by name.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// The digest of the envelope before this one in its chain; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

/// How an operation or a check ended.
///
/// The default is `Error`, so that a record somebody forgot to finish never reads as a success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done, and every required check held.
    Passed,
    /// A check did not hold.
    Failed,
    /// It could not be judged.
    #[default]
    Error,
}

/// A thing that evidence is about, pinned by its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The thing's name: a file, an artefact, an image.
    pub name: String,
    /// Digests by algorithm, in hexadecimal: `{"sha256": "…"}`.
    pub digest: BTreeMap<String, String>,
}

impl Subject {
    /// Names a subject by the SHA-256 of its bytes.
    pub fn of_bytes(name: impl Into<String>, bytes: &[u8]) -> Self {
        Self { name: name.into(), digest: [("sha256".to_owned(), crate::digest::sha256_hex(bytes))].into() }
    }
}

/// One check within an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The check's name, unique within the record.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence for a person: what was compared, and what was found.
    #[serde(default)]
    pub detail: String,
}
