//! The audit of the WAL archive: which segments are missing on each timeline, and what that costs. Reads only; it asks for
//! names and opens no segment, so it can run every minute. Damage inside of segments is what `verify` finds.
//!
//! # What is a gap
//! Along one timeline: segments that are missing while later ones are there. At a fork: the child begins with a copy of
//! the segment in which it forked, so that one must be there under the child's number, and the parent must lead up to it.
//! What was given up by retention is no gap. A list of the store is only a hint: each missing segment is asked for by its
//! very name.

use std::ops::Range;

use jiff::Timestamp;
use serde::Serialize;

use super::list::{BackupInventory, ClusterInventory, Inventory, Window, list};
use crate::error::Result;
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::{ArchiveFile, Cluster, SegmentName};
use crate::repo::Repository;
use crate::wal::archive;

/// How many missing segments are told apart in one gap; a gap may be longer.
const ASKED: u64 = 1000;

/// What the archive holds of every cluster.
#[derive(Debug, Clone, Serialize)]
pub struct WalAudit {
    /// The clusters, in the order of their identifiers.
    pub clusters: Vec<ClusterAudit>,
}

/// What the archive holds of one cluster.
#[derive(Debug, Clone, Serialize)]
pub struct ClusterAudit {
    /// The cluster.
    pub cluster: Cluster,
    /// Its timelines, oldest first.
    pub timelines: Vec<TimelineAudit>,
    /// Its backups and how far each leads, oldest first.
    pub backups: Vec<BackupReach>,
    /// The moments that can be restored, oldest first.
    pub windows: Vec<Window>,
    /// Segments before this one were given up by retention; `None` where none were.
    pub given_up_before: Option<String>,
}

/// The WAL of one timeline.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineAudit {
    /// The timeline.
    pub timeline: u32,
    /// Where it began, as its history tells; `None` for a first one.
    pub fork: Option<Fork>,
    /// Whether it is not a first one, and its history is missing: the server cannot follow it.
    pub history_missing: bool,
    /// How many segments are there.
    pub segments: u64,
    /// The first of them that was not given up.
    pub first: Option<String>,
    /// The last of them.
    pub last: Option<String>,
    /// When the last of them was stored, by the clock of the store.
    pub last_stored_at: Option<Timestamp>,
    /// What is missing, in order.
    pub gaps: Vec<Gap>,
}

/// Where a timeline began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fork {
    /// The timeline that it left.
    pub parent: u32,
    /// The position at which it did.
    pub at: Lsn,
}

/// A run of missing segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The first that is missing.
    pub first: String,
    /// The last that is missing.
    pub last: String,
    /// How many are.
    pub segments: u64,
    /// The backups that cannot be restored to a moment behind it, and with it would.
    pub cuts: Vec<String>,
}

/// How far one backup leads.
#[derive(Debug, Clone, Serialize)]
pub struct BackupReach {
    /// The backup.
    pub id: String,
    /// Whether it can be restored at all.
    pub restorable: bool,
    /// The timeline on which replay ends.
    pub timeline: u32,
    /// The end of the WAL that can be replayed.
    pub until: Lsn,
    /// The segment that ends it, where later ones are there.
    pub gap: Option<String>,
}

impl WalAudit {
    /// Whether there is a backup of every cluster, each backup can be restored, and none is cut by a gap.
    pub fn is_whole(&self) -> bool {
        !self.clusters.is_empty() && self.clusters.iter().all(ClusterAudit::is_whole)
    }
}

impl ClusterAudit {
    /// Whether there is a backup, all can be restored, and none is cut by a gap.
    pub fn is_whole(&self) -> bool {
        !self.backups.is_empty()
            && self.backups.iter().all(|backup| backup.restorable && backup.gap.is_none())
            && self.timelines.iter().all(|timeline| !timeline.history_missing)
    }

    /// When the newest segment was stored, by the clock of the store.
    pub fn last_stored_at(&self) -> Option<Timestamp> {
        self.timelines.iter().filter_map(|timeline| timeline.last_stored_at).max()
    }
}

/// Looks for gaps in the WAL of every cluster of the repository.
///
/// # Errors
/// `Storage`, `Unsupported`, `Corrupt` where a history cannot be read.
#[tracing::instrument(skip_all)]
pub async fn audit_wal(repository: &Repository) -> Result<WalAudit> {
    let inventory = list(repository).await?;
    let mut clusters = Vec::new();
    for system in archive::systems(repository).await? {
        let Some(cluster) = archive::registered(repository, system).await? else { continue };
        clusters.push(audit(repository, cluster, &inventory).await?);
    }
    Ok(WalAudit { clusters })
}

async fn audit(repository: &Repository, cluster: Cluster, inventory: &Inventory) -> Result<ClusterAudit> {
    let listed = inventory.clusters.iter().find(|listed| listed.cluster == cluster);
    let state = repository.state().await?;
    let given_up = state.wal_expired.get(&cluster.system_identifier).copied();
    let backups: Vec<BackupReach> =
        listed.map_or_else(Vec::new, |listed| listed.backups.iter().filter_map(reach).collect());
    let mut timelines = Vec::new();
    for timeline in archive::timelines(repository, &cluster).await? {
        let found = Timeline { repository, cluster: &cluster, timeline, given_up: given_up.unwrap_or(0) };
        timelines.push(found.audit(listed).await?);
    }
    // Any timeline will do: what is given up is given up on all of them.
    let name = |number| SegmentName::new(1, number, cluster.segment_size).to_string()[8..].to_owned();
    Ok(ClusterAudit {
        cluster,
        timelines,
        backups,
        windows: listed.map_or_else(Vec::new, |listed| listed.windows.clone()),
        given_up_before: given_up.map(name),
    })
}

fn reach(backup: &BackupInventory) -> Option<BackupReach> {
    let replay = backup.replay.as_ref()?;
    Some(BackupReach {
        id: backup.backup.id.clone(),
        restorable: backup.recoverable,
        timeline: replay.timeline,
        until: replay.recoverable_until,
        gap: replay.gap.clone(),
    })
}

struct Timeline<'a> {
    repository: &'a Repository,
    cluster: &'a Cluster,
    timeline: u32,
    /// Numbers below this one were given up.
    given_up: u64,
}

impl Timeline<'_> {
    async fn audit(&self, listed: Option<&ClusterInventory>) -> Result<TimelineAudit> {
        let (repository, cluster, timeline) = (self.repository, self.cluster, self.timeline);
        let size = cluster.segment_size;
        let mut numbers = archive::segments(repository, cluster, timeline).await?;
        let segments = numbers.len() as u64;
        numbers.retain(|number| *number >= self.given_up);
        let history = archive::history(repository, cluster, timeline).await?;
        let fork =
            history.as_ref().and_then(|history| history.fork()).map(|(parent, at)| Fork { parent, at });
        let mut runs = Vec::new();
        if let (Some(fork), Some(first)) = (fork, numbers.first()) {
            let begin = size.segment_of(fork.at).max(self.given_up);
            runs.extend((begin < *first).then_some(begin..*first));
        }
        let mut before = None;
        for number in &numbers {
            runs.extend(before.filter(|before| before + 1 < *number).map(|before| before + 1..*number));
            before = Some(*number);
        }
        let mut gaps = Vec::new();
        for run in runs {
            gaps.extend(self.missing(run).await?.into_iter().map(|run| self.gap(&run, listed)));
        }
        let name = |number: &u64| SegmentName::new(timeline, *number, size).to_string();
        let last_stored_at = match numbers.last() {
            Some(last) => archive::stored_at(repository, cluster, timeline, *last).await?,
            None => None,
        };
        Ok(TimelineAudit {
            timeline,
            fork,
            history_missing: timeline > 1 && history.is_none() && !self.begins_here(listed),
            segments,
            first: numbers.first().map(name),
            last: numbers.last().map(name),
            last_stored_at,
            gaps,
        })
    }

    /// Whether all backups that there are were taken on this timeline or a later one: where it came from is no matter.
    fn begins_here(&self, listed: Option<&ClusterInventory>) -> bool {
        let mut backups = listed.iter().flat_map(|listed| &listed.backups);
        backups.all(|item| item.backup.postgres().is_none_or(|facts| facts.timeline >= self.timeline))
    }

    /// What of `run`, which no list shows, is really not there.
    async fn missing(&self, run: Range<u64>) -> Result<Vec<Range<u64>>> {
        let mut missing: Vec<Range<u64>> = Vec::new();
        let asked = run.end.min(run.start + ASKED);
        for number in run.start..asked {
            if archive::has_segment(self.repository, self.cluster, self.timeline, number).await? {
                continue;
            }
            match missing.last_mut().filter(|last| last.end == number) {
                Some(last) => last.end += 1,
                None => missing.push(number..number + 1),
            }
        }
        // Of a gap that long its very length is the news.
        match missing.last_mut().filter(|last| last.end == asked) {
            Some(last) => last.end = run.end,
            None if asked < run.end => missing.push(asked..run.end),
            None => {}
        }
        Ok(missing)
    }

    fn gap(&self, run: &Range<u64>, listed: Option<&ClusterInventory>) -> Gap {
        let size = self.cluster.segment_size;
        let name = |number| SegmentName::new(self.timeline, number, size).to_string();
        let is_cut = |item: &&BackupInventory| {
            let gap = item.replay.as_ref().and_then(|replay| replay.gap.as_deref());
            matches!(gap.and_then(ArchiveFile::parse), Some(ArchiveFile::Segment(segment))
                if segment.timeline == self.timeline
                    && segment.number(size).is_some_and(|number| run.contains(&number)))
        };
        let backups = listed.iter().flat_map(|listed| &listed.backups);
        Gap {
            first: name(run.start),
            last: name(run.end - 1),
            segments: run.end - run.start,
            cuts: backups.filter(is_cut).map(|item| item.backup.id.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;
    use crate::repo::fake;
    use crate::wal::sample::{archived, archived_history, cluster, name};

    /// Each gap as its first and last segment.
    fn gaps(timeline: &TimelineAudit) -> Vec<(String, String, u64)> {
        timeline.gaps.iter().map(|gap| (gap.first.clone(), gap.last.clone(), gap.segments)).collect()
    }

    #[tokio::test]
    async fn gaps_are_found_within_a_timeline_and_at_its_fork() {
        let repository = fake::repository().await;
        assert!(audit_wal(&repository).await.unwrap().clusters.is_empty());
        archived(&repository, 1, 1..=2).await;
        archived(&repository, 1, 5..=5).await;
        archived(&repository, 1, 7..=8).await;
        // Timeline 2 left in segment 6, which is missing; timeline 3 left it in segment 9, and nobody knows its history.
        archived_history(&repository, 2, "1\t0/600100\tno reason\n").await;
        archived(&repository, 2, 7..=9).await;
        archived(&repository, 3, 9..=9).await;

        let audit = audit_wal(&repository).await.unwrap();
        let [checked] = &audit.clusters[..] else { panic!("{audit:?}") };
        let [one, two, three] = &checked.timelines[..] else { panic!("{audit:?}") };
        assert_eq!(gaps(one), [(name(1, 3), name(1, 4), 2), (name(1, 6), name(1, 6), 1)]);
        assert_eq!(
            (one.first.clone(), one.last.clone(), one.segments),
            (Some(name(1, 1)), Some(name(1, 8)), 5)
        );
        assert_eq!(gaps(two), [(name(2, 6), name(2, 6), 1)]);
        assert_eq!(two.fork, Some(Fork { parent: 1, at: Lsn(0x60_0100) }));
        assert_eq!((gaps(three), three.fork), (Vec::new(), None));
        // Without a backup nothing is proven, and nothing can be restored.
        assert!(!audit.is_whole() && checked.windows.is_empty());

        let path = archive::path(cluster().system_identifier, 1, &name(1, 1));
        repository.store().delete(&path).await.unwrap();
        let audit = audit_wal(&repository).await.unwrap();
        assert_eq!(audit.clusters[0].timelines[0].first, Some(name(1, 2)), "an end is no gap");
    }
}
