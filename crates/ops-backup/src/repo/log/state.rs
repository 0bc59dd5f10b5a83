//! What all records together say. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::postgres::lsn::SystemIdentifier;
use crate::repo::catalog::Backup;
use crate::repo::log::record::{Event, Host, Record};

/// The sum of the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The number of the newest record; zero for an empty log.
    pub(crate) sequence: u64,
    /// The backups that exist.
    pub(crate) backups: BTreeMap<String, Kept>,
    /// Jobs that have begun and neither committed nor been abandoned.
    pub(crate) running: BTreeMap<String, Running>,
    /// Jobs that will never commit, whose packs have not been condemned. A later backup can build on them.
    pub(crate) abandoned: BTreeMap<String, Running>,
    /// Backups that exist no more, and whose packs have not been looked through.
    pub(crate) expired: BTreeMap<String, Timestamp>,
    /// Lists of packs that wait for their removal, by the number of their record.
    pub(crate) condemned: BTreeMap<u64, Condemned>,
    /// Segment numbers before which the WAL of a cluster was given up.
    pub(crate) wal_expired: BTreeMap<SystemIdentifier, u64>,
}

/// A backup that exists, and what has been proven of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) backup: Backup,
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
    pub(crate) since: Timestamp,
    pub(crate) by: Host,
    pub(crate) bases: Vec<String>,
}

/// Packs that wait for their removal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Condemned {
    pub(crate) at: Timestamp,
    pub(crate) list: String,
    pub(crate) packs: u64,
    pub(crate) bytes: u64,
}

impl State {
    /// Adds what `record` says.
    pub(crate) fn apply(&mut self, record: &Record) {
        self.sequence = record.sequence;
        match &record.event {
            Event::Begin { backup, source, bases } => {
                let running = Running {
                    source: source.clone(),
                    since: record.at,
                    by: record.by.clone(),
                    bases: bases.clone(),
                };
                self.running.insert(backup.clone(), running);
            }
            Event::Commit { backup } => {
                self.running.remove(&backup.id);
                let kept =
                    Kept { backup: Backup::clone(backup), verified: None, damaged: None, rehearsed: None };
                self.backups.insert(backup.id.clone(), kept);
            }
            Event::Abandon { backup, .. } => {
                if let Some(running) = self.running.remove(backup) {
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
            Event::ExpireWal { system_identifier, before } => {
                let floor = self.wal_expired.entry(*system_identifier).or_default();
                *floor = (*floor).max(*before);
            }
            Event::Condemn { list, packs, bytes } => {
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
        }
    }
}
