//! What a verification found: collected by object, so that one damage is one problem.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};

/// What was checked and what is wrong.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// The backups that were checked.
    pub backups: Vec<String>,
    /// Whether every object that these need was read, now or within the accepted age.
    pub complete: bool,
    /// Packs that were read whole, re-hashed, and proven block by block.
    pub packs: u64,
    /// Packs that an earlier run has proven recently enough; they are there.
    pub packs_proven_before: u64,
    /// Packs that are not in the sample; they are there.
    pub packs_left_out: u64,
    /// Bytes of frames that were decompressed.
    pub raw_bytes: u64,
    /// WAL files that were read whole and re-hashed.
    pub wal_files: u64,
    /// WAL files that an earlier run has proven recently enough; they are there.
    pub wal_files_proven_before: u64,
    /// WAL files that are not in the sample; they are there.
    pub wal_files_left_out: u64,
    /// Other objects that were read: manifests, listings, pieces, records, keys and so on.
    pub other_objects: u64,
    /// Everything that is wrong; empty means proven.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object, by its path in the repository, or the missing WAL segment.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The backups that cannot be restored because of it.
    pub backups: Vec<String>,
    /// The backups that can be restored, but not recovered past it.
    pub cut_short: Vec<String>,
}

impl VerifyReport {
    /// Whether something was checked and all of it is right.
    pub fn is_proven(&self) -> bool {
        self.problems.is_empty() && !self.backups.is_empty()
    }
}

#[derive(Debug, Default)]
struct Finding {
    what: String,
    backups: BTreeSet<String>,
    cut_short: BTreeSet<String>,
}

/// The report in the making.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) counts: VerifyReport,
    problems: BTreeMap<String, Finding>,
}

impl Findings {
    /// Notes a problem; of two with one object the first is kept, with the backups of both.
    pub(super) fn add<'a>(
        &mut self,
        object: &str,
        what: impl Into<String>,
        backups: impl IntoIterator<Item = &'a String>,
    ) {
        let finding = self
            .problems
            .entry(object.to_owned())
            .or_insert_with(|| Finding { what: what.into(), ..Finding::default() });
        finding.backups.extend(backups.into_iter().cloned());
    }

    /// Notes that `backup` cannot be recovered past `object`.
    pub(super) fn add_cut(&mut self, object: &str, what: &str, backup: &str) {
        let finding = self
            .problems
            .entry(object.to_owned())
            .or_insert_with(|| Finding { what: what.to_owned(), ..Finding::default() });
        finding.cut_short.insert(backup.to_owned());
    }

    /// Counts a result as an object that was read; damage is a finding, and everything else means that it could not be
    /// judged.
    pub(super) fn keep<'a, T>(
        &mut self,
        result: Result<T>,
        object: &str,
        backups: impl IntoIterator<Item = &'a String>,
    ) -> Result<Option<T>> {
        self.counts.other_objects += 1;
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if is_damage(&error) => {
                self.add(object, error.to_string(), backups);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Drops what matters to no backup any more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.problems.retain(|_, finding| {
            let concerned = !finding.backups.is_empty() || !finding.cut_short.is_empty();
            finding.backups.retain(|id| !is_gone(id));
            finding.cut_short.retain(|id| !is_gone(id));
            !concerned || !finding.backups.is_empty() || !finding.cut_short.is_empty()
        });
    }

    /// How many problems keep `backup` from being restored.
    pub(super) fn against(&self, backup: &str) -> u64 {
        self.problems.values().filter(|finding| finding.backups.contains(backup)).count() as u64
    }

    pub(super) fn report(self, backups: Vec<String>, complete: bool) -> VerifyReport {
        let problems = self.problems.into_iter().map(|(object, finding)| Problem {
            object,
            what: finding.what,
            backups: finding.backups.into_iter().collect(),
            cut_short: finding.cut_short.into_iter().collect(),
        });
        VerifyReport { backups, complete, problems: problems.collect(), ..self.counts }
    }
}

/// Whether an error says that what is stored is wrong, rather than that it could not be read now.
pub(super) fn is_damage(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::NotARepository | ErrorKind::Configuration
    )
}
