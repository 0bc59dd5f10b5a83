//! What all records together say. Pure.
//!
//! Every program must come to the same sum, whoever wrote the records: a record that breaks a rule (a second `begin` of one
//! id, a `commit` of a job that is not running) changes nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::SystemIdentifier;
use crate::repo::catalog::Backup;
use crate::repo::log::host::Host;
use crate::repo::log::record::{Event, Record, WalStretch};

/// The sum of the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The number of the newest record; zero for an empty log.
    pub(crate) sequence: u64,
    /// The backups that exist.
    pub(crate) backups: BTreeMap<String, Kept>,
    /// Jobs that have begun and neither committed nor been abandoned.
    pub(crate) running: BTreeMap<String, Running>,
    /// Jobs that will never commit, and that a later backup can build on.
    pub(crate) abandoned: BTreeMap<String, Running>,
    /// Backups that exist no more, and whose packs have not been looked through.
    pub(crate) expired: BTreeMap<String, Timestamp>,
    /// Lists of objects that wait for their removal, by the number of their record.
    pub(crate) condemned: BTreeMap<u64, Condemned>,
    /// The segment number before which the WAL of a cluster was given up last.
    pub(crate) wal_expired: BTreeMap<SystemIdentifier, u64>,
    /// The same decision in full; what it gives up is removed after a grace time.
    pub(crate) wal_decided: BTreeMap<SystemIdentifier, WalDecision>,
    /// Wrapped keys that no longer count.
    pub(crate) removed_keys: BTreeSet<String>,
    /// The newest record, if it could be read.
    pub(super) last: Option<Box<Record>>,
    /// Records that cannot be read, and what is wrong with each. What is read from the repository goes on without
    /// them; nothing is removed from it. Not part of a snapshot, which is never made of such a state.
    #[serde(skip)]
    pub(crate) damaged: BTreeMap<u64, String>,
    /// Records that cannot be read, and whose content the next one repeats: nothing is lost.
    #[serde(skip)]
    pub(crate) recovered: BTreeMap<u64, String>,
}

/// A backup that exists, and what has been proven of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) backup: Backup,
    /// What was backed up, as its job said when it began.
    pub(crate) source: String,
    /// The number of its `commit`.
    pub(crate) sequence: u64,
    /// When it was last read whole and found right, and no later reading found damage.
    pub(crate) verified: Option<Timestamp>,
    /// When it was last found damaged, and no later whole reading found it right.
    pub(crate) damaged: Option<Timestamp>,
    /// When it was last restored, started and asked with success.
    pub(crate) rehearsed: Option<Timestamp>,
}

/// A job that has begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Running {
    pub(crate) source: String,
    /// The number of its `begin`.
    pub(crate) sequence: u64,
    pub(crate) since: Timestamp,
    pub(crate) by: Host,
    pub(crate) bases: Vec<String>,
    /// When and why it was given up, if it was.
    pub(crate) abandoned: Option<(Timestamp, String)>,
}

/// Which WAL of a cluster was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalDecision {
    pub(crate) at: Timestamp,
    pub(crate) before: u64,
    pub(crate) keep: Vec<WalStretch>,
}

/// Objects that wait for their removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Condemned {
    pub(crate) at: Timestamp,
    pub(crate) list: String,
    pub(crate) packs: u64,
    pub(crate) bytes: u64,
}

impl State {
    /// Whether a job or a backup of this name is known.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.backups.contains_key(id)
            || self.running.contains_key(id)
            || self.abandoned.contains_key(id)
            || self.expired.contains_key(id)
    }

    /// Whether the commit of a backup that does not exist here may be one of the records that cannot be read.
    pub(crate) fn may_have_committed(&self, id: &str) -> bool {
        let begun = self.running.get(id).or_else(|| self.abandoned.get(id)).map_or(0, |job| job.sequence);
        !self.expired.contains_key(id) && self.damaged.range(begun..).next().is_some()
    }

    /// Nothing may be given up while a part of the log cannot be read: it may say that something is needed.
    ///
    /// # Errors
    /// `Corrupt`, with the number of the first damaged record.
    pub(crate) fn refuse_damage(&self, what: &str) -> Result<()> {
        match self.damaged.first_key_value() {
            None => Ok(()),
            Some((sequence, how)) => Err(Error::new(
                ErrorKind::Corrupt,
                format!("cannot {what}: record {sequence} of the log cannot be read ({how})"),
            )),
        }
    }

    /// Adds `record`, the next one, and what it repeats of a damaged one before it.
    pub(in crate::repo) fn follow(&mut self, record: Record) {
        if let Some(previous) = &record.previous
            && previous.sequence.checked_add(1) == Some(record.sequence)
            && let Some(how) = self.damaged.remove(&previous.sequence)
        {
            self.apply(previous);
            self.recovered.insert(previous.sequence, how);
        }
        self.apply(&record);
        self.last = Some(Box::new(record.alone()));
    }

    /// Goes on behind a record that cannot be read.
    pub(in crate::repo) fn skip(&mut self, how: String) {
        self.sequence += 1;
        self.damaged.insert(self.sequence, how);
        self.last = None;
    }

    fn apply(&mut self, record: &Record) {
        self.sequence = record.sequence;
        match &record.event {
            Event::Begin { backup, source, bases } => self.begin(record, backup, source, bases),
            Event::Commit { backup } => self.commit(record, backup),
            Event::Abandon { backup, reason } => {
                if let Some(mut running) = self.running.remove(backup) {
                    running.abandoned = Some((record.at, reason.clone()));
                    self.abandoned.insert(backup.clone(), running);
                }
            }
            Event::Expire { backups } => {
                for expired in backups {
                    if self.backups.remove(&expired.backup).is_some() {
                        self.expired.insert(expired.backup.clone(), record.at);
                    }
                }
            }
            // The newest decision counts: a cluster can be set back to an earlier position by a restore.
            Event::ExpireWal { system_identifier, before, keep } => {
                self.wal_expired.insert(*system_identifier, *before);
                let decision = WalDecision { at: record.at, before: *before, keep: keep.clone() };
                self.wal_decided.insert(*system_identifier, decision);
            }
            Event::Condemn { list, packs, bytes, backups } => {
                for backup in backups {
                    self.expired.remove(backup);
                    self.abandoned.remove(backup);
                }
                let condemned = Condemned { at: record.at, list: list.clone(), packs: *packs, bytes: *bytes };
                self.condemned.insert(record.sequence, condemned);
            }
            Event::Sweep { condemned } => {
                self.condemned.remove(condemned);
            }
            Event::Verify { proofs } => {
                for proof in proofs {
                    let Some(kept) = self.backups.get_mut(&proof.backup) else { continue };
                    if proof.problems > 0 {
                        kept.verified = None;
                        kept.damaged = Some(record.at);
                    } else if proof.complete {
                        kept.verified = Some(record.at);
                        kept.damaged = None;
                    }
                }
            }
            Event::Rehearse { backup, passed, .. } => {
                if let Some(kept) = self.backups.get_mut(backup).filter(|_| *passed) {
                    kept.rehearsed = Some(record.at);
                }
            }
            Event::RemoveKey { key } => {
                self.removed_keys.insert(key.clone());
            }
        }
    }

    fn begin(&mut self, record: &Record, id: &str, source: &str, bases: &[String]) {
        if self.knows(id) {
            return;
        }
        let running = Running {
            source: source.to_owned(),
            sequence: record.sequence,
            since: record.at,
            by: record.by.clone(),
            bases: bases.to_vec(),
            abandoned: None,
        };
        self.running.insert(id.to_owned(), running);
    }

    fn commit(&mut self, record: &Record, backup: &Backup) {
        let source = match self.running.remove(&backup.id) {
            Some(running) => running.source,
            // Its `begin` may be one of those that cannot be read.
            None if !self.damaged.is_empty() && !self.knows(&backup.id) => backup.source.key(),
            None => return,
        };
        let kept = Kept {
            backup: backup.clone(),
            source,
            sequence: record.sequence,
            verified: None,
            damaged: None,
            rehearsed: None,
        };
        self.backups.insert(backup.id.clone(), kept);
    }
}
