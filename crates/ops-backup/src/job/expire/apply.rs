//! Carrying a plan out. The order of its steps is in the module above.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::Result;
use crate::job::expire::{ExpirePlan, decide, waiting, wal};
use crate::monitor::{Monitor, Phase};
use crate::repo::Repository;
use crate::repo::gc::Marked;
use crate::repo::log::{Event, Expired as ExpiredBackup};

/// What an expiry has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Backups that do not exist any more.
    pub backups: Vec<String>,
    /// Jobs that were given up because their process is gone or silent.
    pub abandoned: Vec<String>,
    /// WAL files that were removed.
    pub wal_files: u64,
    /// Their bytes.
    pub wal_bytes: u64,
    /// Packs that were given up; they are removed after the grace time.
    pub condemned_packs: u64,
    /// Their bytes.
    pub condemned_bytes: u64,
    /// Packs that were removed.
    pub removed_packs: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

/// Carries `plan` out, as far as it is right for the newest log.
///
/// It can be stopped and repeated at any time: with a new plan it goes on where it ended.
///
/// # Errors
/// As [`plan`](super::plan); `Storage`, `Cancelled`.
#[tracing::instrument(name = "expire", skip_all)]
pub async fn apply(repository: &Repository, plan: ExpirePlan, monitor: &Monitor) -> Result<Expired> {
    monitor.phase(Phase::Finish, 0);
    monitor.until_cancelled(run(repository, plan, monitor)).await
}

async fn run(repository: &Repository, plan: ExpirePlan, monitor: &Monitor) -> Result<Expired> {
    let ExpirePlan { policy, now, wal, .. } = &plan;
    repository.state().await?.refuse_damage("expire anything")?;
    let abandoned = repository.abandon_dead().await?;
    let backups = expire(repository, &plan).await?;
    let mut expired = Expired { backups, abandoned, ..Expired::default() };
    for shown in wal {
        let (files, bytes) = wal::apply(repository, shown, policy, *now, monitor).await?;
        expired.wal_files += files;
        expired.wal_bytes += bytes;
    }
    if let Marked::Condemned { packs, bytes } = repository.mark(*now, waiting(policy)).await? {
        (expired.condemned_packs, expired.condemned_bytes) = (packs, bytes);
    }
    let swept = repository.sweep(*now, waiting(policy), monitor).await?;
    (expired.removed_packs, expired.removed_bytes) = (swept.packs, swept.bytes);
    tracing::info!(
        backups = expired.backups.len(),
        condemned_bytes = expired.condemned_bytes,
        removed_bytes = expired.removed_bytes,
        wal_files = expired.wal_files,
        "expired"
    );
    Ok(expired)
}

/// Writes the record, with those backups that the plan and the newest log both give up.
async fn expire(repository: &Repository, plan: &ExpirePlan) -> Result<Vec<String>> {
    let shown = plan.summary.backups.iter().filter(|backup| !backup.decision.keep);
    let shown: BTreeSet<&str> = shown.map(|backup| backup.decision.id.as_str()).collect();
    let mut ids = Vec::new();
    repository
        .append(|state| {
            state.refuse_damage("expire anything")?;
            let decisions = decide(state, &plan.policy, plan.now).into_iter();
            let gone = decisions.filter(|one| !one.keep && shown.contains(one.id.as_str()));
            let backups: Vec<ExpiredBackup> =
                gone.map(|one| ExpiredBackup { backup: one.id, reason: one.reasons.join(", ") }).collect();
            ids = backups.iter().map(|one| one.backup.clone()).collect();
            Ok((!backups.is_empty()).then_some(Event::Expire { backups }))
        })
        .await?;
    Ok(ids)
}
