//! List: what the repository holds, as data for people and machines.

use serde::Serialize;

use crate::error::Result;
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::{Cluster, SegmentName};
use crate::repo::Repository;
use crate::repo::catalog::Backup;
use crate::wal::archive;

/// The backups and the WAL of a repository.
#[derive(Debug, Clone, Serialize)]
pub struct Inventory {
    /// One for each cluster with a backup, the one with the newest backup last.
    pub clusters: Vec<ClusterInventory>,
}

/// What the repository holds of one cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterInventory {
    /// The cluster.
    pub cluster: Cluster,
    /// Its backups, oldest first, each with what can be recovered from it.
    pub backups: Vec<BackupInventory>,
    /// Its WAL by timeline.
    pub wal: Vec<TimelineInventory>,
}

/// One backup and its reach.
#[derive(Debug, Clone, Serialize)]
pub struct BackupInventory {
    /// The backup.
    #[serde(flatten)]
    pub backup: Backup,
    /// The end of the WAL that can be replayed on it without a gap, on its own timeline.
    pub recoverable_until: Lsn,
    /// Whether the WAL from its start to its stop is there; without it the backup is of no use.
    pub recoverable: bool,
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
    /// How many are missing between the two.
    pub missing: u64,
}

/// Lists what the repository holds.
#[tracing::instrument(skip_all)]
pub async fn list(repository: &Repository) -> Result<Inventory> {
    let mut clusters: Vec<ClusterInventory> = Vec::new();
    for backup in repository.backups().await? {
        let cluster = backup.postgres().cluster;
        let item = reach(repository, backup).await?;
        // The cluster of the newest backup comes last.
        let known = clusters.iter().position(|known| known.cluster == cluster);
        let mut entry = match known {
            Some(index) => clusters.remove(index),
            None => ClusterInventory { cluster, backups: Vec::new(), wal: wal(repository, &cluster).await? },
        };
        entry.backups.push(item);
        clusters.push(entry);
    }
    Ok(Inventory { clusters })
}

async fn reach(repository: &Repository, backup: Backup) -> Result<BackupInventory> {
    let facts = backup.postgres();
    let history = crate::postgres::timeline::History::root(facts.timeline);
    let reach = archive::reach(repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
    let recoverable = reach.end >= facts.stop_lsn;
    Ok(BackupInventory { recoverable_until: reach.end, recoverable, backup })
}

async fn wal(repository: &Repository, cluster: &Cluster) -> Result<Vec<TimelineInventory>> {
    let mut wal = Vec::new();
    for timeline in archive::timelines(repository, cluster).await? {
        let numbers = archive::segments(repository, cluster, timeline).await?;
        let name = |number: &u64| SegmentName::new(timeline, *number, cluster.segment_size).to_string();
        let segments = numbers.len() as u64;
        let span = numbers.first().zip(numbers.last()).map_or(0, |(first, last)| last - first + 1);
        wal.push(TimelineInventory {
            timeline,
            segments,
            first: numbers.first().map(name),
            last: numbers.last().map(name),
            missing: span - segments,
        });
    }
    Ok(wal)
}
