//! Turns what happened in a rehearsal into the evidence record. Nothing is decided here but the outcome.

use std::collections::BTreeMap;
use std::error::Error as _;

use jiff::Timestamp;
use ops_core::evidence::{Check, Outcome, Record, Subject};

use super::measure::Measurements;
use super::options::{RehearseOptions, Requirement};
use super::server::Position;
use crate::error::{Error, ErrorKind, Result};
use crate::repo::catalog::{Backup, PostgresBackup, manifest_path};
use crate::repo::{MARKER, Repository, object_path};

/// The kind of the record.
pub(super) const KIND: &str = "restore-rehearsal";

/// What is written down while a rehearsal runs.
#[derive(Debug)]
pub(super) struct Journal {
    started_at: Timestamp,
    subjects: Vec<Subject>,
    /// What is being done now.
    pub(super) phase: &'static str,
    pub(super) checks: Vec<Check>,
    pub(super) measurements: Measurements,
    pub(super) attributes: BTreeMap<String, String>,
}

impl Journal {
    pub(super) fn begin(options: &RehearseOptions) -> Self {
        let mut journal = Journal {
            started_at: Timestamp::now(),
            subjects: Vec::new(),
            phase: "prepare",
            checks: Vec::new(),
            measurements: Measurements::default(),
            attributes: BTreeMap::new(),
        };
        journal.note("target", &options.target);
        for (tool, requirement) in
            [("pg_verifybackup", options.verify_backup), ("pg_amcheck", options.amcheck)]
        {
            if requirement == Requirement::Skipped {
                journal.note(tool, "skipped");
            }
        }
        journal
    }

    pub(super) fn note(&mut self, name: &str, value: impl ToString) {
        self.attributes.insert(name.to_owned(), value.to_string());
    }

    /// Pins what the record is about: the cluster, and the object that leads to everything in the backup.
    pub(super) async fn about(
        &mut self,
        repository: &Repository,
        backup: &Backup,
        facts: &PostgresBackup,
    ) -> Result<()> {
        let manifest = repository.read(&manifest_path(&backup.id)).await?;
        let system = facts.cluster.system_identifier.to_string();
        self.subjects = vec![
            Subject::of_bytes(format!("backup/{}", backup.id), &manifest),
            // A cluster has no bytes of its own to hash: the digest is that of its identifier in decimal.
            Subject::of_bytes(format!("postgresql/{system}"), system.as_bytes()),
        ];
        self.note("backup", &backup.id);
        self.note("system_identifier", system);
        self.note("timeline", facts.timeline);
        self.note("backup_stop_lsn", facts.stop_lsn);
        self.note("backup_stop_time", facts.stop_time);
        self.note("data_checksums", if facts.page_checksums { "on" } else { "off" });
        Ok(())
    }

    /// Pins the repository where there is no backup to name.
    pub(super) async fn about_repository(&mut self, repository: &Repository) -> Result<()> {
        let marker = repository.read(&object_path(MARKER)).await?;
        self.subjects = vec![Subject::of_bytes(MARKER, &marker)];
        Ok(())
    }

    /// Notes where replay ended; what is unknown is left out.
    pub(super) fn reached(&mut self, reached: &Position) {
        if let Some(lsn) = reached.lsn {
            self.note("reached_lsn", lsn);
        }
        if let Some(time) = reached.last_transaction {
            self.note("last_transaction_time", time);
        }
    }

    pub(super) fn passed(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push(Check { name: name.to_owned(), outcome: Outcome::Passed, detail: detail.into() });
    }

    pub(super) fn failed(&mut self, name: &str, detail: impl Into<String>) {
        self.checks.push(Check { name: name.to_owned(), outcome: Outcome::Failed, detail: detail.into() });
    }

    /// Notes an error as the result of the check `name`.
    pub(super) fn error(&mut self, name: &str, error: &Error) {
        let outcome = if tells_of_the_backup(error.kind()) { Outcome::Failed } else { Outcome::Error };
        self.checks.push(Check { name: name.to_owned(), outcome, detail: chain(error) });
    }

    pub(super) fn finish(self, options: &RehearseOptions) -> Record {
        Record {
            kind: KIND.to_owned(),
            outcome: outcome(&self.checks),
            tool: options.tool.clone(),
            started_at: self.started_at,
            finished_at: Timestamp::now(),
            trace_id: options.trace_id.clone(),
            subjects: self.subjects,
            measurements: self.measurements.named(),
            checks: self.checks,
            attributes: self.attributes,
            previous: None,
        }
    }
}

/// One failed check fails the whole; one that could not judge leaves the whole unjudged; none proves nothing.
fn outcome(checks: &[Check]) -> Outcome {
    let any = |wanted| checks.iter().any(|check| check.outcome == wanted);
    if any(Outcome::Failed) {
        Outcome::Failed
    } else if any(Outcome::Error) || checks.is_empty() {
        Outcome::Error
    } else {
        Outcome::Passed
    }
}

/// Whether an error says that the backup does not restore, rather than that this machine could not try.
pub(super) fn tells_of_the_backup(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Conflict
            | ErrorKind::Corrupt
            | ErrorKind::NotFound
            | ErrorKind::Postgres
            | ErrorKind::Unreachable
    )
}

/// The error and its causes in one line.
pub(super) fn chain(error: &Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_passed_is_passed() {
        use Outcome::{Error, Failed, Passed};
        for (outcomes, expected) in [
            (&[][..], Error),
            (&[Passed, Passed], Passed),
            (&[Passed, Error], Error),
            (&[Error, Failed, Passed], Failed),
        ] {
            let check =
                |outcome: &Outcome| Check { name: String::new(), outcome: *outcome, detail: String::new() };
            let checks: Vec<Check> = outcomes.iter().map(check).collect();
            assert_eq!(outcome(&checks), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn a_machine_without_room_does_not_fail_the_backup() {
        for (kind, fails) in
            [(ErrorKind::Corrupt, true), (ErrorKind::NoSpace, false), (ErrorKind::Storage, false)]
        {
            let mut journal = Journal::begin(&RehearseOptions::new("/tmp", "/usr/bin", "false"));
            journal.error("restore", &Error::new(kind, "cannot").with_source("because"));
            let expected = if fails { Outcome::Failed } else { Outcome::Error };
            assert_eq!(journal.checks[0].outcome, expected);
            assert_eq!(journal.checks[0].detail, "cannot: because");
        }
    }
}
