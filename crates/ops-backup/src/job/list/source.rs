//! One backup, and the cluster or tree that it is of.

use jiff::Timestamp;
use serde::Serialize;

use super::window::Window;
use crate::error::{ErrorKind, Result};
use crate::job::reach;
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::{Cluster, SegmentName};
use crate::repo::Repository;
use crate::repo::catalog::{Backup, PostgresBackup};
use crate::repo::log::{Kept, Running, State};
use crate::wal::{archive, tail};

/// What the repository holds of one cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterInventory {
    /// The cluster.
    pub cluster: Cluster,
    /// Its backups, oldest first.
    pub backups: Vec<BackupInventory>,
    /// Its WAL by timeline.
    pub wal: Vec<TimelineInventory>,
    /// The moments that can be recovered, oldest first.
    pub windows: Vec<Window>,
}

/// What the repository holds of one directory tree.
#[derive(Debug, Clone, Serialize)]
pub struct TreeInventory {
    /// The name of the tree.
    pub name: String,
    /// Its backups, oldest first.
    pub backups: Vec<BackupInventory>,
}

/// One backup, what has been proven of it, and its reach.
#[derive(Debug, Clone, Serialize)]
pub struct BackupInventory {
    /// The backup.
    #[serde(flatten)]
    pub backup: Backup,
    /// How long its job took, in seconds.
    pub seconds: f64,
    /// When it was last read whole and found right, with no damage found since.
    pub verified: Option<Timestamp>,
    /// When it was last found damaged, with no whole reading that found it right since.
    pub damaged: Option<Timestamp>,
    /// When it was last restored, started and asked with success.
    pub rehearsed: Option<Timestamp>,
    /// Whether it can be restored as far as the log and the archive tell: it is not known to be damaged, and where it is
    /// of PostgreSQL, the WAL from its start to its stop is there.
    pub recoverable: bool,
    /// The WAL on top of it; `None` for a backup that is not of PostgreSQL.
    pub replay: Option<Reached>,
}

/// How far replay gets from a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// The first segment that is needed.
    pub first_segment: String,
    /// The last segment without which the copy is not consistent.
    pub last_segment: String,
    /// The timeline that replay ends on.
    pub timeline: u32,
    /// The end of the WAL that can be replayed without a gap.
    pub recoverable_until: Lsn,
    /// When the newest segment before that end was stored, by the clock of the store.
    pub archived_until: Option<Timestamp>,
    /// The first segment that is missing while later ones are there.
    pub gap: Option<String>,
}

/// The WAL of one timeline.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineInventory {
    /// The timeline.
    pub timeline: u32,
    /// How many segments are there.
    pub segments: u64,
    /// The first of them.
    pub first: Option<String>,
    /// The last of them.
    pub last: Option<String>,
    /// When the last of them was stored, by the clock of the store.
    pub last_stored_at: Option<Timestamp>,
    /// How many are missing between the two, those apart that were given up on purpose.
    pub missing: u64,
    /// How far the segment behind the last one is known, which is not complete: from [`wal::receive`](crate::wal::receive).
    pub received_until: Option<Lsn>,
}

/// A backup job that has not committed.
#[derive(Debug, Clone, Serialize)]
pub struct JobInventory {
    /// The name that its backup would have.
    pub id: String,
    /// What is backed up, for example `postgres/7418890012345678901`.
    pub source: String,
    /// When it began.
    pub since: Timestamp,
    /// The machine that it began on.
    pub host: String,
    /// Why it was given up, if it was.
    pub reason: Option<String>,
}

impl JobInventory {
    pub(super) fn new(id: &str, job: &Running) -> Self {
        JobInventory {
            id: id.to_owned(),
            source: job.source.clone(),
            since: job.since,
            host: job.by.name.clone(),
            reason: job.abandoned.as_ref().map(|(_, reason)| reason.clone()),
        }
    }
}

/// A cluster with its WAL, and no backups yet.
pub(super) async fn cluster(repository: &Repository, cluster: Cluster) -> Result<ClusterInventory> {
    let state = repository.state().await?;
    let given_up = state.wal_expired.get(&cluster.system_identifier).copied().unwrap_or(0);
    let mut wal = Vec::new();
    for timeline in archive::timelines(repository, &cluster).await? {
        let numbers = archive::segments(repository, &cluster, timeline).await?;
        let name = |number: &u64| SegmentName::new(timeline, *number, cluster.segment_size).to_string();
        let counted = || numbers.range(given_up..);
        let span = counted().next().zip(counted().next_back()).map_or(0, |(first, last)| last - first + 1);
        let last_stored_at = match numbers.last() {
            Some(last) => archive::stored_at(repository, &cluster, timeline, *last).await?,
            None => None,
        };
        let received_until = match numbers.last() {
            Some(last) => received(repository, &cluster, timeline, last + 1).await?,
            None => None,
        };
        wal.push(TimelineInventory {
            timeline,
            segments: numbers.len() as u64,
            first: numbers.first().map(name),
            last: numbers.last().map(name),
            last_stored_at,
            missing: span - counted().count() as u64,
            received_until,
        });
    }
    Ok(ClusterInventory { cluster, backups: Vec::new(), wal, windows: Vec::new() })
}

/// How far segment `number` is known; a tail that is damaged is none, and `verify` names it.
async fn received(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
    number: u64,
) -> Result<Option<Lsn>> {
    let start = Lsn(number * cluster.segment_size.bytes());
    match tail::end(repository, cluster, timeline, start).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%error, "the begin of an incomplete segment is damaged");
            Ok(None)
        }
        end => Ok(end?.map(|end| end.lsn)),
    }
}

pub(super) async fn of_cluster(
    repository: &Repository,
    state: &State,
    kept: &Kept,
    facts: &PostgresBackup,
    wal: &[TimelineInventory],
) -> Result<BackupInventory> {
    let size = facts.cluster.segment_size;
    let history = reach::newest(repository, facts).await?.history;
    let mut reached =
        archive::reach(repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
    let given_up = state.wal_expired.get(&facts.cluster.system_identifier).copied().unwrap_or(0);
    // Where WAL was given up behind an old backup there is an end, and no gap.
    reached.missing.retain(|segment| segment.number(size).is_none_or(|number| number >= given_up));
    let newest = size.segment_before(reached.end);
    let last = |timeline: &&TimelineInventory| {
        let name = SegmentName::new(timeline.timeline, newest, size).to_string();
        timeline.last.as_ref() == Some(&name)
    };
    let archived_until = match wal.iter().rev().find(last) {
        Some(timeline) => timeline.last_stored_at,
        None => {
            let mut stored = None;
            for (timeline, _) in history.spans_from(facts.timeline) {
                stored = archive::stored_at(repository, &facts.cluster, timeline, newest).await?.or(stored);
            }
            stored
        }
    };
    let name = |number| SegmentName::new(facts.timeline, number, size).to_string();
    let replay = Reached {
        first_segment: name(size.segment_of(facts.start_lsn)),
        last_segment: name(size.segment_before(facts.stop_lsn)),
        timeline: history.timeline,
        recoverable_until: reached.end,
        archived_until,
        gap: reached.missing.first().map(ToString::to_string),
    };
    let mut backup = of_tree(kept);
    backup.recoverable &= reached.end >= facts.stop_lsn;
    Ok(BackupInventory { replay: Some(replay), ..backup })
}

pub(super) fn of_tree(kept: &Kept) -> BackupInventory {
    let backup = kept.backup.clone();
    BackupInventory {
        seconds: backup.finished_at.duration_since(backup.started_at).as_secs_f64(),
        verified: kept.verified,
        damaged: kept.damaged,
        rehearsed: kept.rehearsed,
        recoverable: kept.damaged.is_none(),
        replay: None,
        backup,
    }
}
