//! What is on disk of a mitigation: its record, which alone is enough to take it back, and the audit log of all.

use super::target::Target;
use crate::error::{Error, ErrorKind};
use crate::run;
use crate::value::Span;
use jiff::Timestamp;
use ops_core::evidence::sha256_hex;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The schema of the record.
const SCHEMA: &str = "ops-gates/mitigation/v1";
/// The record of one mitigation, in its directory.
pub const MITIGATION: &str = "mitigation.json";
/// The audit log of all, beside the directories.
pub const AUDIT: &str = "audit.jsonl";

/// How far a mitigation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was about to be brought about, and nobody has said since that it was. It may be in place.
    Applying,
    /// It is in place.
    Applied,
    /// It was taken back.
    Undone,
}

/// One mitigation that was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    schema: String,
    /// What it is called.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// What was to be done, in words.
    pub summary: String,
    /// Why, as whoever began it said.
    pub reason: String,
    /// Who began it, as the system knows them.
    pub actor: String,
    /// The policy that allowed it, and the digest of its text.
    pub policy: String,
    /// The digest of the policy's text.
    pub policy_sha256: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it is to be taken back at the latest.
    pub expires_at: Timestamp,
    /// When it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undone_at: Option<Timestamp>,
    /// Whether its `verify` succeeded; absent where it has none, or was not reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// What a person would type to take it back, without this program.
    pub undo_by_hand: String,
    /// Where commands run.
    pub(super) directory: PathBuf,
    pub(super) target: Target,
}

/// One that is about to begin.
pub(super) struct Begin<'a> {
    pub(super) name: &'a str,
    pub(super) summary: String,
    pub(super) reason: String,
    pub(super) actor: String,
    pub(super) policy: (String, String),
    pub(super) now: Timestamp,
    pub(super) time: Span,
    pub(super) directory: PathBuf,
    pub(super) target: Target,
}

impl Record {
    pub(super) fn begin(it: Begin<'_>) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            name: it.name.to_owned(),
            phase: Phase::Applying,
            summary: it.summary,
            reason: it.reason,
            actor: it.actor,
            policy: it.policy.0,
            policy_sha256: it.policy.1,
            started_at: it.now,
            expires_at: it.now.checked_add(it.time.get()).unwrap_or(it.now),
            undone_at: None,
            verified: None,
            undo_by_hand: it.target.undo_by_hand(),
            directory: it.directory,
            target: it.target,
        }
    }

    /// Whether it is or may be in place, longer than it may.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.phase != Phase::Undone && now >= self.expires_at
    }

    /// Reads the record of a directory.
    ///
    /// # Errors
    /// [`ErrorKind::RunUnreadable`], where there is none, or it is none.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(MITIGATION);
        let bytes = std::fs::read(&path)
            .map_err(|error| Error::io(ErrorKind::RunUnreadable, "read mitigation", &path, error))?;
        let unreadable =
            || Error::new(ErrorKind::RunUnreadable, format!("cannot read mitigation {}", path.display()));
        let record: Self = serde_json::from_slice(&bytes).map_err(|error| unreadable().because(error))?;
        if record.schema != SCHEMA {
            return Err(unreadable().because(format!("schema `{}` is not known", record.schema)));
        }
        Ok(record)
    }

    pub(super) fn save(&self, directory: &Path) -> Result<(), Error> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a record has only plain data");
        bytes.push(b'\n');
        run::put(directory, MITIGATION, &bytes).map_err(|error| {
            Error::io(ErrorKind::EvidenceNotWritten, "write", &directory.join(MITIGATION), error)
        })
    }
}

/// One line of the audit log.
#[derive(Debug, Serialize, Deserialize)]
struct Line<'a> {
    at: Timestamp,
    event: &'a str,
    name: &'a str,
    directory: &'a Path,
    actor: &'a str,
    reason: &'a str,
    policy_sha256: &'a str,
    /// The digest of the line before.
    previous: Option<String>,
}

/// Adds a line to the audit log, on disk when this returns. A line that a crash cut off stays, and the next one begins after it.
pub(super) fn audit(
    root: &Path,
    directory: &Path,
    record: &Record,
    event: &str,
    actor: &str,
) -> Result<(), Error> {
    let path = root.join(AUDIT);
    let cannot = |error| Error::io(ErrorKind::EvidenceNotWritten, "write", &path, error);
    let mut file = File::options().create(true).append(true).open(&path).map_err(cannot)?;
    let before = std::fs::read_to_string(&path).map_err(cannot)?;
    let line = Line {
        at: Timestamp::now(),
        event,
        name: &record.name,
        directory: Path::new(directory.file_name().unwrap_or_default()),
        actor,
        reason: &record.reason,
        policy_sha256: &record.policy_sha256,
        previous: before.lines().next_back().map(|line| sha256_hex(line.as_bytes())),
    };
    let mut bytes = if before.is_empty() || before.ends_with('\n') { Vec::new() } else { vec![b'\n'] };
    bytes.extend(serde_json::to_vec(&line).expect("a line has only plain data"));
    bytes.push(b'\n');
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(cannot)
}

/// Checks that every line of an audit log follows the one before, and that all that was begun has a record.
pub(super) fn verify_audit(root: &Path) -> Result<(), Error> {
    let path = root.join(AUDIT);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::io(ErrorKind::NotVerified, "read audit log", &path, error))?;
    let mut previous: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
        // What a crash cut off is no JSON; the next line names its digest all the same.
        let named = json.as_ref().map(|json| json["previous"].as_str().map(str::to_owned));
        if named.is_some_and(|named| named != previous) {
            let place = format!("{}:{}", path.display(), number + 1);
            return Err(Error::new(
                ErrorKind::NotVerified,
                format!("audit log {place} does not follow the line before"),
            ));
        }
        previous = Some(sha256_hex(line.as_bytes()));
        // What was begun has a record, or somebody removed it.
        let begun = json.filter(|json| json["event"] == "applying");
        let begun = begun.and_then(|json| json["directory"].as_str().map(|it| root.join(it)));
        if let Some(gone) = begun.filter(|directory| !directory.join(MITIGATION).exists()) {
            let what = format!("mitigation {} is in the audit log, and its record is gone", gone.display());
            return Err(Error::new(ErrorKind::NotVerified, what));
        }
    }
    Ok(())
}
