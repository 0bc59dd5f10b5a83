//! Which WAL the kept backups of a cluster need. Pure.
//!
//! Replay goes forward from the start of a backup, along its timeline and those that forked from it later, so it never
//! needs a segment with a lower number, on whatever timeline. That makes one number for all timelines right: segments
//! below it are needed by no backup that replays from there on. A timeline that leads nowhere keeps more than it must;
//! that is cheap, and wrong guesses at forks are not. History files are always kept.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::plan::retention::WalRetention;
use crate::postgres::segment::{ArchiveFile, Cluster};
use crate::repo::catalog::PostgresBackup;
use crate::repo::log::{WalDecision, WalStretch};

/// What of the WAL of one cluster is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WalNeed {
    /// Everything from this segment number on, on every timeline.
    pub(crate) from: u64,
    /// What makes older backups consistent.
    pub(crate) stretches: BTreeSet<WalStretch>,
}

/// Returns what the backups of one cluster need, each with the time when it ended; `None` where there is no backup, and
/// so nothing can be said.
pub(crate) fn need(
    kept: &[(Timestamp, &PostgresBackup)],
    policy: WalRetention,
    now: Timestamp,
) -> Option<WalNeed> {
    let mut newest_first: Vec<_> = kept.iter().collect();
    newest_first.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let continuous = match policy {
        WalRetention::All => newest_first.len(),
        WalRetention::Last(count) => count as usize,
        WalRetention::Within(age) => {
            newest_first.iter().take_while(|(at, _)| now.duration_since(*at) <= age).count()
        }
    };
    // From the newest one on in any case.
    let (continuous, older) =
        newest_first.split_at(continuous.clamp(1.min(newest_first.len()), newest_first.len()));
    let start = |backup: &PostgresBackup| backup.cluster.segment_size.segment_of(backup.start_lsn);
    let from = continuous.iter().map(|(_, backup)| start(backup)).min()?;
    let stretch = |(_, backup): &&(Timestamp, &PostgresBackup)| WalStretch {
        timeline: backup.timeline,
        first: start(backup),
        last: backup.cluster.segment_size.segment_before(backup.stop_lsn),
    };
    let stretches = older.iter().map(stretch).filter(|stretch| stretch.first < from).collect();
    Some(WalNeed { from, stretches })
}

impl WalNeed {
    /// What an earlier decision kept.
    pub(crate) fn decided(decision: &WalDecision) -> Self {
        WalNeed { from: decision.before, stretches: decision.keep.iter().copied().collect() }
    }

    /// What either of the two needs.
    pub(crate) fn and(&self, other: &WalNeed) -> Self {
        let stretches = self.stretches.union(&other.stretches).copied().collect();
        WalNeed { from: self.from.min(other.from), stretches }
    }

    /// Whether the archived file `name` of `cluster` may go. What is none of a WAL archive stays.
    pub(crate) fn can_go(&self, cluster: &Cluster, name: &str) -> bool {
        let segment = match ArchiveFile::parse(name) {
            Some(
                ArchiveFile::Segment(segment)
                | ArchiveFile::Partial(segment)
                | ArchiveFile::BackupLabel(segment),
            ) => segment,
            Some(ArchiveFile::History(_)) | None => return false,
        };
        let Some(number) = segment.number(cluster.segment_size) else { return false };
        let within = |stretch: &WalStretch| {
            stretch.timeline == segment.timeline && (stretch.first..=stretch.last).contains(&number)
        };
        number < self.from && !self.stretches.iter().any(within)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::postgres::lsn::{Lsn, SystemIdentifier};
    use crate::postgres::segment::SegmentSize;

    const SEGMENT: u64 = 16 << 20;

    fn cluster() -> Cluster {
        let segment_size = SegmentSize::new(16 << 20).unwrap();
        Cluster { system_identifier: SystemIdentifier(7), major: 15, segment_size }
    }

    /// A backup that ended in hour `hour`, on `timeline`, from the middle of `first` to the end of `last`.
    fn backup(hour: i64, timeline: u32, first: u64, last: u64) -> (Timestamp, PostgresBackup) {
        let at = Timestamp::from_second(hour * 3600).unwrap();
        let backup = PostgresBackup {
            cluster: cluster(),
            server_version: 150_006,
            catalog_version: 1,
            timeline,
            start_lsn: Lsn(first * SEGMENT + 40),
            stop_lsn: Lsn((last + 1) * SEGMENT),
            start_time: at,
            stop_time: at,
            page_checksums: true,
            tablespaces: Vec::new(),
            databases: Vec::new(),
            origin: crate::repo::catalog::Origin::default(),
            incremental: None,
            audit: None,
        };
        (at, backup)
    }

    #[test]
    fn what_kept_backups_need_stays() {
        // The cluster was set back after the second one: the third is newer, and lies lower.
        let backups = [backup(1, 1, 5, 6), backup(2, 1, 20, 22), backup(3, 2, 12, 12), backup(4, 2, 30, 31)];
        let within = |hours| WalRetention::Within(SignedDuration::from_hours(hours));
        type Row = (WalRetention, u64, &'static [(u32, u64, u64)]);
        let table: [Row; 7] = [
            (WalRetention::All, 5, &[]),
            (WalRetention::Last(9), 5, &[]),
            (WalRetention::Last(3), 12, &[(1, 5, 6)]),
            (WalRetention::Last(1), 30, &[(1, 5, 6), (1, 20, 22), (2, 12, 12)]),
            (WalRetention::Last(0), 30, &[(1, 5, 6), (1, 20, 22), (2, 12, 12)]),
            (within(2), 12, &[(1, 5, 6)]),
            (within(0), 30, &[(1, 5, 6), (1, 20, 22), (2, 12, 12)]),
        ];
        let kept: Vec<_> = backups.iter().map(|(at, backup)| (*at, backup)).collect();
        let now = Timestamp::from_second(4 * 3600 + 1800).unwrap();
        for (policy, from, stretches) in table {
            let stretches = stretches
                .iter()
                .map(|&(timeline, first, last)| WalStretch { timeline, first, last })
                .collect();
            assert_eq!(need(&kept, policy, now), Some(WalNeed { from, stretches }), "{policy:?}");
        }
        assert_eq!(need(&[], WalRetention::All, now), None);
    }

    #[test]
    fn only_files_of_segments_that_nothing_needs_may_go() {
        let stretches = [WalStretch { timeline: 1, first: 5, last: 6 }].into();
        let need = WalNeed { from: 12, stretches };
        for (name, expected) in [
            ("000000010000000000000004", true),
            ("000000010000000000000005", false),
            ("000000010000000000000006", false),
            ("000000010000000000000007", true),
            ("000000020000000000000005", true),
            ("00000001000000000000000B", true),
            ("00000001000000000000000C", false),
            ("000000010000000100000000", false),
            ("000000010000000000000004.partial", true),
            ("000000010000000000000004.00000028.backup", true),
            ("000000010000000000000006.00000028.backup", false),
            ("00000002.history", false),
            ("#1", false),
            ("0000000100000000000001FF", false),
        ] {
            assert_eq!(need.can_go(&cluster(), name), expected, "{name}");
        }
    }
}
