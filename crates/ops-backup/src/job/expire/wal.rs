//! The WAL of one cluster: which files were given up long enough ago to be removed, and which are given up now.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use object_store::path::Path;

use crate::error::Result;
use crate::job::expire::PlannedWal;
use crate::monitor::Monitor;
use crate::plan::retention::Retention;
use crate::plan::wal::{WalNeed, need};
use crate::postgres::lsn::SystemIdentifier;
use crate::postgres::segment::{Cluster, SegmentName};
use crate::repo::Repository;
use crate::repo::catalog::PostgresBackup;
use crate::repo::log::{Event, State};
use crate::wal::tail;

/// Archived files with their bytes, by cluster. The list is made before the log is read: a file that a later job
/// needs is not in it.
pub(super) type Archives = BTreeMap<SystemIdentifier, Vec<(Path, u64)>>;

/// What happens to the WAL of one cluster.
#[derive(Debug, Clone)]
pub(super) struct ClusterPlan {
    pub(super) cluster: Cluster,
    /// What the kept backups need.
    need: WalNeed,
    /// A timeline to show the first segment on.
    timeline: u32,
    /// Given up before, and useless still.
    due: Vec<(Path, u64)>,
    /// Useless now.
    files: u64,
    bytes: u64,
    /// Why no decision is made now.
    waits: Option<String>,
}

impl ClusterPlan {
    pub(super) fn summary(&self) -> PlannedWal {
        let first = SegmentName::new(self.timeline, self.need.from, self.cluster.segment_size);
        PlannedWal {
            source: source(&self.cluster),
            first_kept: first.to_string(),
            due_files: self.due.len() as u64,
            due_bytes: self.due.iter().map(|(_, size)| size).sum(),
            files: self.files,
            bytes: self.bytes,
            waits: self.waits.clone(),
        }
    }
}

fn source(cluster: &Cluster) -> String {
    format!("postgres/{}", cluster.system_identifier)
}

pub(super) async fn list(repository: &Repository) -> Result<Archives> {
    let mut archives = Archives::new();
    for object in repository.list_all("pg").await? {
        // pg/<system identifier>/wal/<timeline>/<name>
        let names: Vec<&str> = object.location.as_ref().split('/').collect();
        let system = match names[..] {
            ["pg", system, "wal", _, _] => system.parse().ok(),
            _ => tail::segment_of(&object.location).map(|(system, _)| system),
        };
        if let Some(system) = system {
            archives.entry(system).or_default().push((object.location.clone(), object.size));
        }
    }
    Ok(archives)
}

/// The name of an archived file. A piece of a segment goes when that segment may go, which it begins.
fn name(path: &Path) -> String {
    match tail::segment_of(path) {
        Some((_, segment)) => segment.to_string(),
        None => path.filename().map(str::to_owned).unwrap_or_default(),
    }
}

/// Decides about every cluster that has a backup.
pub(super) fn plan(
    state: &State,
    archives: Archives,
    policy: &Retention,
    now: Timestamp,
) -> Vec<ClusterPlan> {
    let mut kept: BTreeMap<SystemIdentifier, Vec<(Timestamp, &PostgresBackup)>> = BTreeMap::new();
    for backup in state.backups.values().map(|kept| &kept.backup) {
        if let Some(postgres) = backup.postgres() {
            let of_cluster = kept.entry(postgres.cluster.system_identifier).or_default();
            of_cluster.push((backup.finished_at, postgres));
        }
    }
    let mut archives = archives;
    let plan = |(system, kept): (SystemIdentifier, Vec<_>)| {
        plan_cluster(state, &kept, archives.remove(&system).unwrap_or_default(), policy, now)
    };
    kept.into_iter().filter_map(plan).collect()
}

fn plan_cluster(
    state: &State,
    kept: &[(Timestamp, &PostgresBackup)],
    archived: Vec<(Path, u64)>,
    policy: &Retention,
    now: Timestamp,
) -> Option<ClusterPlan> {
    let need = need(kept, policy.wal, now)?;
    let (_, oldest) = kept.iter().min_by_key(|(_, backup)| backup.start_lsn)?;
    let cluster = oldest.cluster;
    let can_go = |need: &WalNeed, path: &Path| need.can_go(&cluster, &name(path));
    let useless = archived.iter().filter(|(path, _)| can_go(&need, path));
    let decision = state.wal_decided.get(&cluster.system_identifier);
    let settled = decision.filter(|decision| now.duration_since(decision.at) >= policy.grace);
    let given_up = decision.map(|decision| WalNeed::decided(decision).and(&need));
    let is_given_up = |path: &Path| given_up.as_ref().is_some_and(|given_up| can_go(given_up, path));
    let (given_up, anew): (Vec<_>, Vec<_>) = useless.cloned().partition(|(path, _)| is_given_up(path));
    let mut plan = ClusterPlan {
        cluster,
        need,
        timeline: oldest.timeline,
        due: if settled.is_some() { given_up } else { Vec::new() },
        files: anew.len() as u64,
        bytes: anew.iter().map(|(_, size)| size).sum(),
        waits: None,
    };
    let source = source(&cluster);
    if let Some((id, _)) = state.running.iter().find(|(_, job)| job.source == source) {
        // Where its WAL begins is not known here, and a cluster that was set back begins below all others.
        plan.waits = Some(format!("backup {id} of it is running"));
        plan.due.clear();
    } else if decision.is_some() && settled.is_none() && plan.files > 0 {
        plan.waits = Some("what was given up last is still in its grace time".to_owned());
    }
    Some(plan)
}

/// Removes what is due and gives up what is useless, of the cluster that `shown` is the plan of. Returns files and bytes.
pub(super) async fn apply(
    repository: &Repository,
    shown: &ClusterPlan,
    policy: &Retention,
    now: Timestamp,
    monitor: &Monitor,
) -> Result<(u64, u64)> {
    let mut archives = list(repository).await?;
    let system = shown.cluster.system_identifier;
    archives.retain(|other, _| *other == system);
    let state = repository.state().await?;
    state.refuse_damage("remove WAL")?;
    let decided = |state: &State, archives: Archives| {
        plan(state, archives, policy, now).into_iter().find(|plan| plan.cluster.system_identifier == system)
    };
    let Some(mut plan) = decided(&state, archives.clone()) else { return Ok((0, 0)) };
    // At most what was shown.
    plan.due.retain(|(path, _)| shown.need.can_go(&shown.cluster, &name(path)));
    // In the order of their positions, so that a crash leaves no hole.
    plan.due.sort_by_key(|(path, _)| (name(path), Reverse(path.clone())));
    let paths: Vec<Path> = plan.due.iter().map(|(path, _)| path.clone()).collect();
    repository.remove_all(&paths, monitor).await?;
    repository
        .append(|state| {
            state.refuse_damage("give up WAL")?;
            let Some(plan) = decided(state, archives.clone()) else { return Ok(None) };
            if plan.waits.is_some() || plan.files == 0 {
                return Ok(None);
            }
            let need = plan.need.and(&shown.need);
            let keep = need.stretches.into_iter().collect();
            Ok(Some(Event::ExpireWal { system_identifier: system, before: need.from, keep }))
        })
        .await?;
    Ok((plan.due.len() as u64, plan.due.iter().map(|(_, size)| size).sum()))
}
