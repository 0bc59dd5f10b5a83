//! How far the archived WAL leads from a backup, and along which timelines: what restore, verify and list ask alike.

use crate::error::Result;
use crate::postgres::timeline::History;
use crate::repo::Repository;
use crate::repo::catalog::PostgresBackup;
use crate::wal::archive;

/// The timelines that replay of a backup follows.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) history: History,
    /// The newest timeline in the archive, where that is another one: a copy of the cluster was promoted before the backup
    /// and has archived to the same place.
    pub(crate) stray: Option<u32>,
}

/// The newest timeline that descends from the backup. The server itself would take the newest of all, and fail where that
/// does not.
pub(crate) async fn newest(repository: &Repository, facts: &PostgresBackup) -> Result<Way> {
    let newest = archive::newest_history(repository, &facts.cluster, facts.timeline).await?;
    if newest.contains(facts.timeline, facts.stop_lsn) {
        return Ok(Way { history: newest, stray: None });
    }
    let stray = Some(newest.timeline);
    for id in (facts.timeline + 1..newest.timeline).rev() {
        let Some(history) = archive::history(repository, &facts.cluster, id).await? else { continue };
        if history.contains(facts.timeline, facts.stop_lsn) {
            return Ok(Way { history, stray });
        }
    }
    Ok(Way { history: History::root(facts.timeline), stray })
}
