//! Expire: give up what the retention policy does not keep, and remove what was given up long enough ago.
//!
//! [`plan`] only looks; [`apply`] takes the plan and decides everything again for the newest log, so that it gives up at most
//! what the plan showed, and nothing that has come to be needed since.
//!
//! # Order of steps, and what a crash leaves
//! 1. Jobs whose process is gone are abandoned: they protect nothing any more, and their commit is refused.
//! 2. One `expire` record: from here on these backups do not exist. Their packs are still there.
//! 3. For each cluster: WAL that was given up longer ago than the grace time, and that nothing needs now, is removed; then
//!    an `expire_wal` record gives up what has become useless since. A decision waits until the one before is done.
//! 4. Mark: what no backup and no job refers to is condemned, with a record.
//! 5. Sweep: what was condemned longer ago than the grace time is removed, with a record.
//!
//! Each step is decided by the log before anything is removed, and each can be repeated: after a crash at any point
//! the next run goes on. The grace time is for readers: a restore that has begun must not lose what it reads, and
//! above all not its WAL, where recovery would take a removed segment for the end.

mod apply;
mod wal;

use jiff::Timestamp;
use serde::Serialize;

pub use apply::{Expired, apply};

use crate::error::Result;
use crate::plan::retention::{self, Candidate, Decision, Retention};
use crate::repo::Repository;
use crate::repo::gc::Waiting;
use crate::repo::log::State;

/// What an expiry would do, decided for the log as it was. Only [`plan`] makes one.
#[derive(Debug, Clone)]
pub struct ExpirePlan {
    policy: Retention,
    now: Timestamp,
    wal: Vec<wal::ClusterPlan>,
    summary: ExpireSummary,
}

/// What a plan shows.
#[derive(Debug, Clone, Serialize)]
pub struct ExpireSummary {
    /// Every backup with what becomes of it and why, oldest first.
    pub backups: Vec<PlannedBackup>,
    /// Jobs that are given up because their process is gone or silent.
    pub dead_jobs: Vec<DeadJob>,
    /// What happens to the WAL of each cluster.
    pub wal: Vec<PlannedWal>,
    /// Packs that are given up now.
    pub packs: u64,
    /// Their bytes: so much becomes free after the grace time.
    pub bytes: u64,
    /// Packs that were given up before, and that are removed now.
    pub due_packs: u64,
    /// Their bytes.
    pub due_bytes: u64,
}

/// A backup in a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedBackup {
    /// What becomes of it.
    #[serde(flatten)]
    pub decision: Decision,
    /// What it is a backup of.
    pub source: String,
    /// When it ended.
    pub finished_at: Timestamp,
    /// Bytes of its files.
    pub raw_bytes: u64,
}

/// A job that will be abandoned.
#[derive(Debug, Clone, Serialize)]
pub struct DeadJob {
    /// Its backup.
    pub id: String,
    /// Why it is taken for dead.
    pub reason: String,
}

/// The WAL of one cluster in a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedWal {
    /// The source, as backups name it.
    pub source: String,
    /// The first segment that is kept for recovery without a gap, as a name on the timeline of the oldest backup that
    /// needs it.
    pub first_kept: String,
    /// Files that were given up before, and that are removed now.
    pub due_files: u64,
    /// Their bytes.
    pub due_bytes: u64,
    /// Files that are given up now, and removed after the grace time.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Why nothing happens, if so.
    pub waits: Option<String>,
}

impl ExpirePlan {
    /// Returns what would be done.
    pub fn summary(&self) -> &ExpireSummary {
        &self.summary
    }
}

fn waiting(policy: &Retention) -> Waiting {
    Waiting { grace: policy.grace, resumable: policy.resumable }
}

/// Decides about every backup of `state`, oldest first.
fn decide(state: &State, policy: &Retention, now: Timestamp) -> Vec<Decision> {
    let mut kept: Vec<_> = state.backups.values().collect();
    kept.sort_by_key(|kept| (kept.backup.finished_at, &kept.backup.id));
    let candidates: Vec<Candidate> = kept
        .into_iter()
        .map(|kept| Candidate {
            id: kept.backup.id.clone(),
            source: kept.source.clone(),
            at: kept.backup.finished_at,
            verified: kept.verified.is_some(),
            bad: kept.damaged.is_some() || kept.backup.bad_pages > 0,
        })
        .collect();
    retention::decide(&candidates, policy, now)
}

/// Plans what `policy` gives up at time `now`; changes nothing.
///
/// # Errors
/// `Corrupt` where the log or a manifest cannot be read: nothing can be told from garbage then.
#[tracing::instrument(name = "expire_plan", skip_all)]
pub async fn plan(repository: &Repository, policy: &Retention, now: Timestamp) -> Result<ExpirePlan> {
    let archives = wal::list(repository).await?;
    let state = repository.state().await?;
    state.refuse_damage("expire anything")?;
    let mut dead_jobs = Vec::new();
    for (id, job) in &state.running {
        if let Some(reason) = repository.why_dead(id, job).await? {
            dead_jobs.push(DeadJob { id: id.clone(), reason });
        }
    }
    let decisions = decide(&state, policy, now);
    let mut after = state.clone();
    assume(&mut after, &decisions, &dead_jobs, now);
    let wal = wal::plan(&after, archives, policy, now);
    let survey =
        repository.survey(now, waiting(policy), |state| assume(state, &decisions, &dead_jobs, now)).await?;
    let due = || state.condemned.values().filter(|one| now.duration_since(one.at) >= policy.grace);
    let backups = decisions.into_iter().filter_map(|decision| {
        let kept = state.backups.get(&decision.id)?;
        let source = kept.source.clone();
        let (finished_at, raw_bytes) = (kept.backup.finished_at, kept.backup.raw_bytes);
        Some(PlannedBackup { decision, source, finished_at, raw_bytes })
    });
    let summary = ExpireSummary {
        backups: backups.collect(),
        dead_jobs,
        wal: wal.iter().map(wal::ClusterPlan::summary).collect(),
        packs: survey.packs.len() as u64,
        bytes: survey.bytes(),
        due_packs: due().map(|one| one.packs).sum(),
        due_bytes: due().map(|one| one.bytes).sum(),
    };
    Ok(ExpirePlan { policy: policy.clone(), now, wal, summary })
}

/// Changes `state` as if the plan had been applied.
fn assume(state: &mut State, decisions: &[Decision], dead: &[DeadJob], now: Timestamp) {
    for decision in decisions.iter().filter(|decision| !decision.keep) {
        if state.backups.remove(&decision.id).is_some() {
            state.expired.insert(decision.id.clone(), now);
        }
    }
    for DeadJob { id, reason } in dead {
        if let Some(mut job) = state.running.remove(id) {
            job.abandoned = Some((now, reason.clone()));
            state.abandoned.insert(id.clone(), job);
        }
    }
}

#[cfg(test)]
mod tests;
