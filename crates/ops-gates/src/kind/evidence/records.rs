//! Finding the signed records that a gate asks for, and the rules that hold for all of them.

use super::super::chain;
use crate::gate::Context;
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use jiff::Timestamp;
use ops_core::evidence::{Envelope, Outcome, Record, VerifyingKey};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An envelope is small; a larger file is something else.
const ENVELOPE_LIMIT: u64 = 4 * 1024 * 1024;

/// How far the clocks of two machines may differ before a record counts as made in the future.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// Where records are, who signed them, and which are wanted.
#[derive(Debug)]
pub(in crate::kind) struct Search {
    pattern: PathBuf,
    key: PathBuf,
    /// The pattern as the plan has it.
    place: String,
    kind: String,
    max_age: Span,
    now: Timestamp,
}

impl Search {
    pub(in crate::kind) fn new(
        context: &Context<'_>,
        path: &Text,
        key: &Text,
        kind: &str,
        max_age: Span,
    ) -> Result<Self, Finding> {
        Ok(Self {
            pattern: context.path(path)?,
            key: context.path(key)?,
            place: path.to_string(),
            kind: kind.to_owned(),
            max_age,
            now: context.now(),
        })
    }

    /// The newest record that verifies, is of the kind and is `about` what is asked for; `described` says what that is.
    pub(in crate::kind) fn newest(
        &self,
        described: &str,
        about: impl Fn(&Record) -> bool,
    ) -> Result<Record, Finding> {
        let key = VerifyingKey::from_file(&self.key)
            .map_err(|error| Finding::error(Fault::Unresolved, "key", chain(&error)))?;
        let place = &self.place;
        let files = files(&self.pattern).map_err(|error| Finding::error(Fault::Unresolved, "path", error))?;
        if files.is_empty() {
            return Err(Finding::fail("evidence-missing", format!("no evidence found at {place}")));
        }
        let count = files.len();
        let mut problem = None;
        let mut records = Vec::new();
        for file in files {
            // Who can take the right to read away must not take a newer failure away.
            let envelope = envelope(&file)
                .map_err(|error| Finding::error(Fault::Unresolved, "file-unreadable", error))?;
            let verified = envelope.and_then(|envelope| {
                envelope.verify(std::slice::from_ref(&key)).map_err(|error| chain(&error))
            });
            match verified {
                Ok(record) => records.push(record),
                Err(error) => problem = Some(format!("{}: {error}", file.display())),
            }
        }
        if let Some(problem) = problem.filter(|_| records.is_empty()) {
            return Err(Finding::fail(
                "evidence-unverified",
                format!("none of {count} at {place} verifies; {problem}"),
            ));
        }
        let verified = records.len();
        records.retain(|record| record.kind == self.kind && about(record));
        records.into_iter().max_by_key(|record| record.finished_at).ok_or_else(|| {
            let about = if described.is_empty() { String::new() } else { format!(" about {described}") };
            let reason =
                format!("none of {verified} verified records at {place} is a `{}`{about}", self.kind);
            Finding::fail("evidence-unrelated", reason)
        })
    }

    /// Whether a record says that all went well, and not too long ago.
    pub(in crate::kind) fn current(&self, record: &Record) -> Result<(), Finding> {
        let Self { kind, max_age, .. } = self;
        let age = self.now.duration_since(record.finished_at);
        if age.is_negative() && age.unsigned_abs() > CLOCK_SKEW {
            let reason =
                format!("the {kind} of {} is in the future; one of the clocks is wrong", record.finished_at);
            return Err(Finding::error(Fault::Unresolved, "evidence-from-the-future", reason));
        }
        if record.outcome != Outcome::Passed {
            let outcome = if record.outcome == Outcome::Failed { "failed" } else { "could not be judged" };
            return Err(Finding::fail(
                "evidence-not-passed",
                format!("the newest {kind}, of {}, {outcome}", record.finished_at),
            ));
        }
        if !age.is_negative() && age.unsigned_abs() > max_age.get() {
            let reason = format!("the newest {kind}, of {}, is older than {max_age}", record.finished_at);
            return Err(Finding::fail("evidence-too-old", reason));
        }
        Ok(())
    }

    /// Whether a record has these checks, each passed.
    pub(in crate::kind) fn checks<'n>(
        &self,
        record: &Record,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<(), Finding> {
        let kind = &self.kind;
        for name in names {
            let mut checks = record.checks.iter().filter(|check| check.name == name).peekable();
            if checks.peek().is_none() {
                return Err(Finding::fail("check-missing", format!("the {kind} has no check `{name}`")));
            }
            if let Some(check) = checks.find(|check| check.outcome != Outcome::Passed) {
                return Err(Finding::fail(
                    "check-not-passed",
                    format!("check `{name}` of the {kind} did not pass: {}", check.detail),
                ));
            }
        }
        Ok(())
    }
}

/// Runs what reads files where it may block: a directory on a network file system may hang, and must not hang the run
/// with it.
pub(in crate::kind) async fn finding_of(
    work: impl FnOnce() -> Result<Finding, Finding> + Send + 'static,
) -> Finding {
    let found = tokio::task::spawn_blocking(move || work().unwrap_or_else(|finding| finding)).await;
    found.unwrap_or_else(|_| Finding::error(Fault::Internal, "panic", "the search for evidence stopped"))
}

/// The files that a path or a pattern names.
pub(in crate::kind) fn files(pattern: &Path) -> Result<Vec<PathBuf>, String> {
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
    let mut files = Vec::new();
    for path in paths.map_err(|error| error.to_string())? {
        let found = std::fs::metadata(&path)
            .map_err(|error| format!("cannot look at {}: {error}", path.display()))?;
        if found.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The envelope in a file. The outer error is that the file cannot be read, so that nobody knows what it says; the inner
/// one, that it is no envelope.
pub(in crate::kind) fn envelope(file: &Path) -> Result<Result<Envelope, String>, String> {
    let unreadable = |error: std::io::Error| format!("cannot read {}: {error}", file.display());
    if std::fs::metadata(file).map_err(unreadable)?.len() > ENVELOPE_LIMIT {
        return Ok(Err("too large for an envelope".to_owned()));
    }
    let bytes = std::fs::read(file).map_err(unreadable)?;
    Ok(Envelope::from_json(&bytes).map_err(|error| chain(&error)))
}
