//! `kind = "evidence"`: finds the newest signed record that verifies, and judges it.

use super::chain;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, Threshold, digest};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use ops_core::evidence::{Envelope, Outcome, Record, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An envelope is small; a larger file is something else.
const ENVELOPE_LIMIT: u64 = 4 * 1024 * 1024;

/// How far the clocks of two machines may differ before a record counts as made in the future.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What is asked of a record, with every variable replaced.
struct Wanted {
    kind: String,
    subject: Option<String>,
    digest: Option<String>,
    max_age: Span,
    now: Timestamp,
    rules: Evidence,
}

/// A signed record of work done elsewhere, such as a restore rehearsal.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// A signed envelope, or a pattern with `*`, `?`, `[…]` or `**` that finds several.
    pub path: Text,
    /// The public key that must have signed.
    pub key: Text,
    /// The kind of the record, for example `restore-rehearsal`.
    pub record_kind: String,
    /// How long ago the recorded work may have ended; older evidence proves nothing.
    pub max_age: Span,
    /// The name of a subject that the record must be about.
    pub subject: Option<Text>,
    /// The digest of a subject that the record must be about, as `sha256:…`.
    pub digest: Option<Text>,
    /// Checks that the record must hold, each passed.
    #[serde(default)]
    pub require_checks: Vec<String>,
    /// Limits on what the record measured; a measurement that is missing does not pass.
    #[serde(default)]
    pub measurements: BTreeMap<String, Limits>,
}

/// The range that a measurement must lie in; at least one end is given.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The greatest value that passes.
    pub max: Option<Threshold>,
    /// The least value that passes.
    pub min: Option<Threshold>,
}

impl Gate for Evidence {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.record_kind.is_empty() {
            wrong.push(Wrong::gate("`record_kind` is empty"));
        }
        for (name, limits) in &self.measurements {
            if limits.min.is_none() && limits.max.is_none() {
                wrong.push(Wrong::gate(format!("measurement `{name}` needs a `max` or `min`")));
            }
        }
        let written = self.digest.as_ref().filter(|text| !text.template().contains("${"));
        if let Some(text) = written.filter(|text| digest(text.template()).is_none()) {
            wrong.push(Wrong::text(text, "`digest` is not a digest such as `sha256:…`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} at {}, at most {} old", self.record_kind, self.path, self.max_age)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.find(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Evidence {
    async fn find(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let resolve = |text: &Option<Text>| text.as_ref().map(|text| context.resolve(text)).transpose();
        let wanted = Wanted {
            kind: self.record_kind.clone(),
            subject: resolve(&self.subject)?,
            digest: resolve(&self.digest)?,
            max_age: self.max_age,
            now: context.now(),
            rules: self.clone(),
        };
        let (pattern, key) = (context.path(&self.path)?, context.path(&self.key)?);
        // A directory on a network file system may hang, and must not hang the run with it.
        let found = tokio::task::spawn_blocking(move || search(&pattern, &key, &wanted)).await;
        found.map_err(|_| Finding::error(Fault::Internal, "panic", "the search for evidence stopped"))
    }
}

fn search(pattern: &Path, key: &Path, wanted: &Wanted) -> Finding {
    let key = match VerifyingKey::from_file(key) {
        Ok(key) => key,
        Err(error) => return Finding::error(Fault::Unresolved, "key", chain(&error)),
    };
    let files = match files(pattern) {
        Ok(files) => files,
        Err(error) => return Finding::error(Fault::Unresolved, "path", error),
    };
    let place = &wanted.rules.path;
    if files.is_empty() {
        return Finding::fail("evidence-missing", format!("no evidence found at {place}"));
    }
    let count = files.len();
    let mut problem = None;
    let mut records = Vec::new();
    for file in files {
        match read(&file, &key) {
            Ok(record) => records.push(record),
            Err(error) => problem = Some(format!("{}: {error}", file.display())),
        }
    }
    if let Some(problem) = problem.filter(|_| records.is_empty()) {
        return Finding::fail(
            "evidence-unverified",
            format!("none of {count} at {place} verifies; {problem}"),
        );
    }
    let verified = records.len();
    records.retain(|record| record.kind == wanted.kind && is_about(record, wanted));
    match records.into_iter().max_by_key(|record| record.finished_at) {
        Some(record) => judge(&record, wanted),
        None => {
            let about = [wanted.subject.as_deref(), wanted.digest.as_deref()]
                .map(Option::unwrap_or_default)
                .join(" ");
            let about =
                if about.trim().is_empty() { String::new() } else { format!(" about {}", about.trim()) };
            let reason =
                format!("none of {verified} verified records at {place} is a `{}`{about}", wanted.kind);
            Finding::fail("evidence-unrelated", reason)
        }
    }
}

fn files(pattern: &Path) -> Result<Vec<PathBuf>, String> {
    let text = pattern.to_str().ok_or("the path is not valid UTF-8")?;
    if pattern.is_file() {
        return Ok(vec![pattern.to_path_buf()]);
    }
    if pattern.is_dir() {
        return Err("the path is a directory; write a pattern such as `evidence/*.json`".to_owned());
    }
    let paths = glob::glob(text).map_err(|error| format!("the path is not a pattern: {error}"))?;
    // What cannot be looked into could hold the newest record, so that it is an error, not an absence.
    let paths: Result<Vec<PathBuf>, _> = paths.collect();
    paths
        .map(|paths| paths.into_iter().filter(|path| path.is_file()).collect())
        .map_err(|error| error.to_string())
}

fn read(file: &Path, key: &VerifyingKey) -> Result<Record, String> {
    let length = std::fs::metadata(file).map_err(|error| error.to_string())?.len();
    if length > ENVELOPE_LIMIT {
        return Err("too large for an envelope".to_owned());
    }
    let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
    let envelope = Envelope::from_json(&bytes).map_err(|error| chain(&error))?;
    envelope.verify(std::slice::from_ref(key)).map_err(|error| chain(&error))
}

/// Whether one subject of the record has both the name and the digest that are asked for.
fn is_about(record: &Record, wanted: &Wanted) -> bool {
    let named = |name: &str| wanted.subject.as_deref().is_none_or(|wanted| wanted == name);
    let digest = wanted.digest.as_deref().map(|digest| digest.split_once(':').unwrap_or(("", digest)));
    record.subjects.iter().any(|subject| {
        named(&subject.name)
            && digest.is_none_or(|(algorithm, hex)| subject.digest.get(algorithm).is_some_and(|it| it == hex))
    })
}

/// Judges the record that counts; the first rule that it breaks is the reason.
fn judge(record: &Record, wanted: &Wanted) -> Finding {
    let mut finding = assess(record, wanted);
    finding.measurements = record.measurements.clone();
    finding
}

fn assess(record: &Record, wanted: &Wanted) -> Finding {
    let kind = &wanted.kind;
    let age = wanted.now.duration_since(record.finished_at);
    if age.is_negative() && age.unsigned_abs() > CLOCK_SKEW {
        let reason =
            format!("the {kind} of {} is in the future; one of the clocks is wrong", record.finished_at);
        return Finding::error(Fault::Unresolved, "evidence-from-the-future", reason);
    }
    if record.outcome != Outcome::Passed {
        let outcome = if record.outcome == Outcome::Failed { "failed" } else { "could not be judged" };
        return Finding::fail(
            "evidence-not-passed",
            format!("the newest {kind}, of {}, {outcome}", record.finished_at),
        );
    }
    if !age.is_negative() && age.unsigned_abs() > wanted.max_age.get() {
        let reason =
            format!("the newest {kind}, of {}, is older than {}", record.finished_at, wanted.max_age);
        return Finding::fail("evidence-too-old", reason);
    }
    for name in &wanted.rules.require_checks {
        let mut checks = record.checks.iter().filter(|check| check.name == *name).peekable();
        if checks.peek().is_none() {
            return Finding::fail("check-missing", format!("the {kind} has no check `{name}`"));
        }
        if let Some(check) = checks.find(|check| check.outcome != Outcome::Passed) {
            return Finding::fail(
                "check-not-passed",
                format!("check `{name}` of the {kind} did not pass: {}", check.detail),
            );
        }
    }
    let mut shown = Vec::new();
    for (name, limits) in &wanted.rules.measurements {
        let Some(value) = record.measurements.get(name) else {
            return Finding::fail("measurement-missing", format!("the {kind} did not measure `{name}`"));
        };
        // In this direction, NaN is outside every range.
        let (at_most, at_least) = (|max: &f64| value <= max, |min: &f64| value >= min);
        let (max, min) = (limits.max.as_ref().map(Threshold::get), limits.min.as_ref().map(Threshold::get));
        if let Some(max) = max.filter(|max| !at_most(max)) {
            return Finding::fail(
                "measurement",
                format!("{name} of the {kind} is {value}, allowed at most {max}"),
            );
        }
        if let Some(min) = min.filter(|min| !at_least(min)) {
            return Finding::fail(
                "measurement",
                format!("{name} of the {kind} is {value}, required at least {min}"),
            );
        }
        shown.push(format!(", {name} {value}"));
    }
    Finding::pass(format!("{kind} of {} passed{}", record.finished_at, shown.concat()))
}
