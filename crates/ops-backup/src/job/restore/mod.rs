//! Restore: [`plan`] decides and shows everything, [`apply`] does it.
//!
//! # Order, and what a crash leaves
//! Files first, then one barrier that makes them durable, then `pg_control` under its own name. A restore that was
//! killed leaves a directory without `pg_control`, which no server starts from. One that fails or is cancelled
//! empties the directories again.

mod apply;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use apply::{Restored, apply};
pub use target::RestoreTarget;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::recovery::{RecoveryTarget, TargetAction, TargetTimeline};
use crate::postgres::timeline::History;
use crate::repo::Repository;
use crate::repo::catalog::Backup;
use crate::repo::manifest::Manifest;
use crate::wal::archive;

/// What is restored, and to which moment.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The backup to use; otherwise the newest one that can reach the target.
    pub backup: Option<String>,
    /// The cluster to restore, where the repository holds backups of several.
    pub system_identifier: Option<SystemIdentifier>,
    /// Where replay stops.
    pub target: RecoveryTarget,
    /// The timeline that replay follows.
    pub timeline: TargetTimeline,
    /// What the server does at the target.
    pub action: TargetAction,
    /// The command with which the server gets WAL, with `%f` and `%p`. It must exit with 1 only where a file is
    /// proven absent, and above 125 for every other failure.
    pub restore_command: String,
    /// New places for tablespaces by OID; the others go back to where they were.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// The user and group that will own the files; only root can set them.
    pub owner: Option<Owner>,
    /// How many threads decompress and write.
    pub workers: usize,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions {
            backup: None,
            system_identifier: None,
            target: RecoveryTarget::default(),
            timeline: TargetTimeline::default(),
            action: TargetAction::default(),
            restore_command: String::new(),
            tablespaces: BTreeMap::new(),
            owner: None,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// A user and a group by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// Everything that [`apply`] will do.
#[derive(Debug)]
pub struct RestorePlan {
    backup: Backup,
    manifest: Manifest,
    options: RestoreOptions,
    data_directory: RestoreTarget,
    tablespaces: Vec<(u32, RestoreTarget)>,
    wal_end: Lsn,
}

/// A restore plan for people and machines to read.
#[derive(Debug, Clone, Serialize)]
pub struct PlanSummary {
    /// The backup that will be restored.
    pub backup: Backup,
    /// Where to.
    pub data_directory: PathBuf,
    /// The places of tablespaces by OID.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Where replay stops.
    pub target: RecoveryTarget,
    /// The end of the WAL that replay can use without a gap.
    pub wal_end: Lsn,
    /// Files to write.
    pub files: u64,
    /// Bytes to write.
    pub bytes: u64,
    /// What the reader should know before.
    pub warnings: Vec<String>,
}

impl RestorePlan {
    /// Returns the plan as data.
    pub fn summary(&self) -> PlanSummary {
        let mut warnings = Vec::new();
        if !self.manifest.files().any(|file| file.path == "postgresql.conf") {
            warnings.push(
                "the backup holds no postgresql.conf: the server kept it outside its data directory"
                    .to_owned(),
            );
        }
        if self.backup.bad_pages > 0 {
            let count = self.backup.bad_pages;
            warnings.push(format!("{count} data pages had a wrong checksum when the backup was taken"));
        }
        PlanSummary {
            backup: self.backup.clone(),
            data_directory: self.data_directory.path().to_owned(),
            tablespaces: self
                .tablespaces
                .iter()
                .map(|(oid, target)| (*oid, target.path().to_owned()))
                .collect(),
            target: self.options.target.clone(),
            wal_end: self.wal_end,
            files: self.manifest.files().count() as u64,
            bytes: self.manifest.size(),
            warnings,
        }
    }

    /// Returns the backup that will be restored.
    pub fn backup(&self) -> &Backup {
        &self.backup
    }
}

/// Chooses the backup, and checks that it, its WAL, the space and the directories allow the restore.
///
/// # Errors
/// `Unreachable` where no backup leads to the target, `NotFound` for a named backup, `BadTarget` for a tablespace's
/// place, `NoSpace`, `Configuration` where the repository holds several clusters and none is named.
#[tracing::instrument(skip_all, fields(target = %options.target))]
pub async fn plan(
    repository: &Repository,
    data_directory: RestoreTarget,
    options: RestoreOptions,
) -> Result<RestorePlan> {
    let (backup, wal_end) = choose(repository, &options).await?;
    let manifest = repository.read_manifest(&backup).await?;
    let mut tablespaces = Vec::new();
    for tablespace in &backup.postgres().tablespaces {
        let place = options.tablespaces.get(&tablespace.oid).unwrap_or(&tablespace.location);
        tablespaces.push((tablespace.oid, RestoreTarget::check(place)?));
    }
    let plan = RestorePlan { backup, manifest, options, data_directory, tablespaces, wal_end };
    check_space(&plan)?;
    Ok(plan)
}

pub(crate) async fn choose(repository: &Repository, options: &RestoreOptions) -> Result<(Backup, Lsn)> {
    let mut candidates = match &options.backup {
        Some(id) => vec![repository.backup(id).await?],
        None => repository.backups().await?,
    };
    if let Some(wanted) = options.system_identifier {
        candidates.retain(|backup| backup.postgres().cluster.system_identifier == wanted);
    }
    let Some(newest) = candidates.last() else {
        return Err(Error::new(ErrorKind::Unreachable, "the repository holds no backup of the cluster"));
    };
    let identifier = newest.postgres().cluster.system_identifier;
    if let Some(other) = candidates
        .iter()
        .map(|backup| backup.postgres().cluster.system_identifier)
        .find(|other| *other != identifier)
    {
        let message =
            format!("the repository holds backups of several clusters ({identifier}, {other}); name one");
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    candidates.sort_by_key(|backup| std::cmp::Reverse(backup.postgres().stop_time));
    let mut first_reason = None;
    for backup in candidates {
        match reachable(repository, &backup, options).await? {
            Ok(wal_end) => return Ok((backup, wal_end)),
            Err(reason) => {
                tracing::debug!(backup = backup.id, reason, "cannot reach the target");
                first_reason.get_or_insert(format!("backup {}: {reason}", backup.id));
            }
        }
    }
    let reason = first_reason.unwrap_or_default();
    Err(Error::new(
        ErrorKind::Unreachable,
        format!("no backup can be recovered to {}: {reason}", options.target),
    ))
}

/// Returns the end of the usable WAL, or why `backup` cannot lead to the target.
async fn reachable(
    repository: &Repository,
    backup: &Backup,
    options: &RestoreOptions,
) -> Result<Result<Lsn, String>> {
    let facts = backup.postgres();
    match options.target {
        RecoveryTarget::Time(time) if time < facts.stop_time => {
            return Ok(Err(format!("it ended at {}, after the target", facts.stop_time)));
        }
        RecoveryTarget::Lsn(lsn) if lsn < facts.stop_lsn => {
            return Ok(Err(format!("it ended at {}, after the target", facts.stop_lsn)));
        }
        _ => {}
    }
    let history = match options.timeline {
        TargetTimeline::Latest => archive::newest_history(repository, &facts.cluster, facts.timeline).await?,
        TargetTimeline::Current => History::root(facts.timeline),
        TargetTimeline::Id(id) if id == facts.timeline => History::root(id),
        TargetTimeline::Id(id) => match archive::history(repository, &facts.cluster, id).await? {
            Some(history) => history,
            None => return Ok(Err(format!("the archive holds no history of timeline {id}"))),
        },
    };
    if !history.contains(facts.timeline, facts.stop_lsn) {
        let (own, wanted) = (facts.timeline, history.timeline);
        return Ok(Err(format!(
            "timeline {wanted} does not descend from timeline {own} at {}",
            facts.stop_lsn
        )));
    }
    let reach = archive::reach(repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
    let gap = || match reach.missing.first() {
        Some(segment) => format!("WAL segment {segment} is missing from the archive"),
        None => format!("the archive ends at {}", reach.end),
    };
    let needed = match options.target {
        RecoveryTarget::Lsn(lsn) => lsn,
        _ => facts.stop_lsn,
    };
    // A server that is to replay everything would take a gap for the end, and open with data lost.
    let silent_gap = options.target == RecoveryTarget::Latest && !reach.missing.is_empty();
    if reach.end < needed || silent_gap {
        return Ok(Err(gap()));
    }
    Ok(Ok(reach.end))
}

fn check_space(plan: &RestorePlan) -> Result<()> {
    let mut needed: BTreeMap<&Path, u64> = BTreeMap::new();
    for file in plan.manifest.files() {
        let tablespace = file.path.strip_prefix("pg_tblspc/").and_then(|rest| rest.split_once('/'));
        let place = tablespace.and_then(|(oid, _)| {
            let oid: u32 = oid.parse().ok()?;
            plan.tablespaces.iter().find(|(candidate, _)| *candidate == oid).map(|(_, target)| target.path())
        });
        *needed.entry(place.unwrap_or(plan.data_directory.path())).or_default() += file.size;
    }
    for (path, bytes) in needed {
        target::check_free(path, bytes)?;
    }
    Ok(())
}
