//! Which moments of a cluster can be recovered. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::source::ClusterInventory;
use crate::postgres::lsn::Lsn;

/// A stretch of time and WAL, any moment of which can be recovered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The timeline that it ends on.
    pub timeline: u32,
    /// The backup that it begins with.
    pub backup: String,
    /// The end of that backup: the first moment.
    pub from: Timestamp,
    /// Its position.
    pub from_lsn: Lsn,
    /// When the last usable segment was archived, by the clock of the store: what was committed before it was begun is in
    /// the archive. `None` where the store does not tell.
    pub until: Option<Timestamp>,
    /// The end of the WAL that can be replayed.
    pub until_lsn: Lsn,
}

/// Joins the reach of the backups of one cluster: those that reach the same end are one window, from the oldest on.
pub(super) fn windows(cluster: &ClusterInventory) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for backup in cluster.backups.iter().filter(|backup| backup.recoverable) {
        let (Some(facts), Some(replay)) = (backup.backup.postgres(), &backup.replay) else { continue };
        let same = |window: &&Window| {
            window.timeline == replay.timeline && window.until_lsn == replay.recoverable_until
        };
        if windows.iter().find(same).is_some() {
            continue;
        }
        windows.push(Window {
            timeline: replay.timeline,
            backup: backup.backup.id.clone(),
            from: facts.stop_time,
            from_lsn: facts.stop_lsn,
            until: replay.archived_until,
            until_lsn: replay.recoverable_until,
        });
    }
    windows.sort_by_key(|window| (window.from, window.timeline));
    windows
}
