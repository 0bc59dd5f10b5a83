//! Which backup leads to the target, along which timelines, and how far the archived WAL goes.
//!
//! The newest backup that ended before the target is the best one: the least WAL is replayed. One with damaged pages, or
//! one that a verification found damaged, is taken only where no other leads there.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::job::reach::{self, Way};
use crate::job::restore::RestoreOptions;
use crate::postgres::lsn::Lsn;
use crate::postgres::recovery::{RecoveryTarget, TargetTimeline};
use crate::postgres::segment::SegmentName;
use crate::postgres::timeline::History;
use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, PostgresBackup};
use crate::repo::log::Kept;
use crate::wal::archive::{self, Reach};
use crate::wal::tail::{self, TailEnd};

/// The backup to restore, and why.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) backup: Backup,
    /// In one sentence.
    pub(crate) reason: String,
    /// What replay will do; `None` for a backup that is not of PostgreSQL.
    pub(crate) replay: Option<Replay>,
    pub(crate) warnings: Vec<String>,
}

/// The WAL that recovery will read.
#[derive(Debug, Clone, Serialize)]
pub struct Replay {
    /// Where it begins.
    pub from: Lsn,
    /// The copy is consistent from here on.
    pub consistent_at: Lsn,
    /// The archive can be replayed to here without a gap.
    pub wal_end: Lsn,
    /// Bytes of WAL from the begin to the target, or to the end of the archive where the target has no position.
    pub wal_bytes: u64,
    /// The timelines that are followed, each with the position at which it is left.
    pub timelines: Vec<(u32, Option<Lsn>)>,
    /// Behind this position the WAL is that of a segment which is not complete: what `wal receive` got of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail_from: Option<Lsn>,
    /// The timeline that the server is told to follow.
    #[serde(skip)]
    pub(crate) setting: TargetTimeline,
}

pub(crate) async fn choose(repository: &Repository, options: &RestoreOptions) -> Result<Chosen> {
    let mut candidates = candidates(repository, options).await?;
    candidates.retain(|kept| belongs(&kept.backup, options));
    if asks_for_a_cluster(options) && candidates.iter().any(|kept| kept.backup.postgres().is_some()) {
        candidates.retain(|kept| kept.backup.postgres().is_some());
    }
    let Some(newest) = candidates.last() else {
        let wanted = match (&options.tree, options.system_identifier) {
            (_, Some(identifier)) => format!(" of cluster {identifier}"),
            (Some(name), None) => format!(" of tree {name:?}"),
            (None, None) => String::new(),
        };
        return Err(Error::new(ErrorKind::Unreachable, format!("the repository holds no backup{wanted}")));
    };
    let source = source_name(&newest.backup);
    if let Some(other) =
        candidates.iter().map(|kept| source_name(&kept.backup)).find(|other| *other != source)
    {
        let message = format!(
            "the repository holds backups of several sources ({source}, {other}): name the cluster or the tree"
        );
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    candidates.sort_by_key(|kept| (is_suspect(kept), std::cmp::Reverse(ended(&kept.backup))));
    let named = options.backup.is_some();
    let mut refused: Vec<String> = Vec::new();
    for kept in &candidates {
        let replay = match &kept.backup.source {
            BackupSource::Postgres(facts) => match reachable(repository, facts, options).await? {
                Ok((replay, warnings)) => Some((replay, warnings)),
                Err(reason) => {
                    tracing::debug!(backup = kept.backup.id, reason, "cannot reach the target");
                    refused.push(format!("backup {}: {reason}", kept.backup.id));
                    continue;
                }
            },
            BackupSource::Tree(_) if options.target == RecoveryTarget::Latest => None,
            BackupSource::Tree(_) => {
                let message =
                    "a backup of a directory tree has no WAL: it restores to the latest target only";
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        };
        let (replay, mut warnings) =
            replay.map_or((None, Vec::new()), |(replay, warnings)| (Some(replay), warnings));
        warnings.extend(suspicions(kept));
        let reason = match (named, refused.is_empty()) {
            (true, _) => "it was named".to_owned(),
            (false, true) if is_suspect(kept) => "no sound backup leads to the target".to_owned(),
            (false, true) if replay.is_none() => "it is the newest".to_owned(),
            (false, true) => "it is the newest that leads to the target".to_owned(),
            (false, false) => format!("it is the newest that leads to the target; {}", refused.join("; ")),
        };
        return Ok(Chosen { backup: kept.backup.clone(), reason, replay, warnings });
    }
    let first = refused.into_iter().next().unwrap_or_default();
    let windows = windows(repository, &candidates).await?;
    let message = format!("no backup can be recovered to {}: {first}; {windows}", options.target);
    Err(Error::new(ErrorKind::Unreachable, message))
}

async fn candidates(repository: &Repository, options: &RestoreOptions) -> Result<Vec<Kept>> {
    let mut state = repository.state().await?;
    let Some(id) = &options.backup else {
        let mut all: Vec<Kept> = state.backups.into_values().collect();
        all.sort_by(|a, b| (ended(&a.backup), &a.backup.id).cmp(&(ended(&b.backup), &b.backup.id)));
        return Ok(all);
    };
    match state.backups.remove(id) {
        Some(kept) => Ok(vec![kept]),
        None => Err(Error::new(ErrorKind::NotFound, format!("there is no backup {id:?} in the repository"))),
    }
}

/// A directory tree is asked for by its name: without one, the trees beside a cluster do not stand in its way.
fn asks_for_a_cluster(options: &RestoreOptions) -> bool {
    options.backup.is_none() && options.tree.is_none()
}

fn belongs(backup: &Backup, options: &RestoreOptions) -> bool {
    match (&options.system_identifier, &backup.source) {
        (Some(wanted), BackupSource::Postgres(facts)) => facts.cluster.system_identifier == *wanted,
        (Some(_), BackupSource::Tree(_)) => false,
        (None, _) => match (&options.tree, &backup.source) {
            (Some(name), BackupSource::Tree(tree)) => tree.name == *name,
            (Some(_), BackupSource::Postgres(_)) => false,
            (None, _) => true,
        },
    }
}

fn source_name(backup: &Backup) -> String {
    match &backup.source {
        BackupSource::Postgres(facts) => format!("cluster {}", facts.cluster.system_identifier),
        BackupSource::Tree(tree) => format!("tree {:?}", tree.name),
    }
}

/// When the copy was consistent, by the clock of the source.
fn ended(backup: &Backup) -> Timestamp {
    backup.postgres().map_or(backup.finished_at, |facts| facts.stop_time)
}

fn is_suspect(kept: &Kept) -> bool {
    kept.backup.bad_pages > 0 || kept.damaged.is_some()
}

fn suspicions(kept: &Kept) -> Vec<String> {
    let mut warnings = Vec::new();
    if kept.backup.bad_pages > 0 {
        let count = kept.backup.bad_pages;
        warnings.push(format!("{count} data pages had a wrong checksum when the backup was taken"));
    }
    if let Some(at) = kept.damaged {
        warnings.push(format!("a verification at {at} found the backup damaged in the repository"));
    }
    warnings
}

type Reachable = Result<(Replay, Vec<String>), String>;

/// Returns the WAL that leads to the target, or why `facts` cannot.
async fn reachable(
    repository: &Repository,
    facts: &PostgresBackup,
    options: &RestoreOptions,
) -> Result<Reachable> {
    match options.target {
        RecoveryTarget::Time(time) if time < facts.stop_time => {
            return Ok(Err(format!("it ended at {}, after the target", facts.stop_time)));
        }
        RecoveryTarget::Lsn(lsn) if lsn < facts.stop_lsn => {
            return Ok(Err(format!("it ended at {}, after the target", facts.stop_lsn)));
        }
        _ => {}
    }
    let (history, setting, mut warnings) = match path(repository, facts, options).await? {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    let reach = archive::reach(repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
    let needed = match options.target {
        RecoveryTarget::Lsn(lsn) => lsn,
        _ => facts.stop_lsn,
    };
    // A server that is to replay everything would take a gap for the end, and open with data lost.
    let has_command = options.restore_command_with_tail.is_some();
    let tail = if has_command && options.target != RecoveryTarget::Immediate {
        tail(repository, facts, &history, &reach).await?.map(|end| end.lsn)
    } else {
        None
    };
    let end = tail.unwrap_or(reach.end);
    let silent_gap = options.target == RecoveryTarget::Latest && !reach.missing.is_empty();
    if end < needed || silent_gap {
        return Ok(Err(gap(&reach)));
    }
    warnings.extend(doubts(repository, facts, &history, &reach, options).await?);
    let until = match options.target {
        RecoveryTarget::Lsn(lsn) => lsn,
        RecoveryTarget::Immediate => facts.stop_lsn,
        _ => end,
    };
    let replay = Replay {
        from: facts.start_lsn,
        consistent_at: facts.stop_lsn,
        wal_end: end,
        tail_from: tail.map(|_| reach.end),
        wal_bytes: until.0.saturating_sub(facts.start_lsn.0),
        timelines: history.spans_from(facts.timeline),
        setting,
    };
    Ok(Ok((replay, warnings)))
}

/// Returns how far the segment is known in which the archive ends.
///
/// On the newest timeline that has it: what an older one holds behind its fork is of no use.
pub(crate) async fn tail(
    repository: &Repository,
    facts: &PostgresBackup,
    history: &History,
    reach: &Reach,
) -> Result<Option<TailEnd>> {
    if !reach.missing.is_empty() {
        return Ok(None);
    }
    for (timeline, fork) in history.spans_from(facts.timeline).into_iter().rev() {
        let end = tail::end(repository, &facts.cluster, timeline, reach.end).await?;
        if end.is_some_and(|end| fork.is_none_or(|fork| end.lsn <= fork)) {
            return Ok(end);
        }
    }
    Ok(None)
}

fn gap(reach: &Reach) -> String {
    match reach.missing.first() {
        Some(segment) => format!("WAL segment {segment} is missing from the archive"),
        None => format!("the archive ends at {}", reach.end),
    }
}

/// Returns the history to follow, how the server is told, and what is odd about it.
async fn path(
    repository: &Repository,
    facts: &PostgresBackup,
    options: &RestoreOptions,
) -> Result<Result<(History, TargetTimeline, Vec<String>), String>> {
    let own = History::root(facts.timeline);
    let found = match options.timeline {
        // Consistency is reached on the backup's own timeline, wherever the archive goes on.
        _ if options.target == RecoveryTarget::Immediate => (own, TargetTimeline::Current, Vec::new()),
        TargetTimeline::Current => (own, TargetTimeline::Current, Vec::new()),
        TargetTimeline::Id(id) if id == facts.timeline => (own, TargetTimeline::Id(id), Vec::new()),
        TargetTimeline::Id(id) => {
            let Some(history) = archive::history(repository, &facts.cluster, id).await? else {
                return Ok(Err(format!("the archive holds no history of timeline {id}")));
            };
            (history, TargetTimeline::Id(id), Vec::new())
        }
        TargetTimeline::Latest => {
            let Way { history, stray } = reach::newest(repository, facts).await?;
            let setting = match stray {
                None => TargetTimeline::Latest,
                Some(_) if history.timeline == facts.timeline => TargetTimeline::Current,
                Some(_) => TargetTimeline::Id(history.timeline),
            };
            let warnings = stray.map(|newest| self::stray(newest, history.timeline)).into_iter().collect();
            (history, setting, warnings)
        }
    };
    if found.0.contains(facts.timeline, facts.stop_lsn) {
        return Ok(Ok(found));
    }
    let (own, wanted) = (facts.timeline, found.0.timeline);
    Ok(Err(format!("timeline {wanted} does not descend from timeline {own} at {}", facts.stop_lsn)))
}

fn stray(newest: u32, chosen: u32) -> String {
    format!(
        "the newest timeline in the archive, {newest}, does not descend from the backup (another copy of the cluster was \
         promoted before it): timeline {chosen} is followed"
    )
}

/// What may make recovery stop before the target, or go where it should not.
async fn doubts(
    repository: &Repository,
    facts: &PostgresBackup,
    history: &History,
    reach: &Reach,
    options: &RestoreOptions,
) -> Result<Vec<String>> {
    let mut doubts = Vec::new();
    let size = facts.cluster.segment_size;
    for (timeline, fork) in history.spans_from(facts.timeline) {
        let Some(fork) = fork else { continue };
        let last = archive::segments(repository, &facts.cluster, timeline).await?.last().copied();
        if let Some(last) = last.filter(|last| *last > size.segment_of(fork)) {
            doubts.push(format!(
                "timeline {timeline} goes on behind {fork}, where it is left, up to segment {}: name it where the target \
                 lies there",
                SegmentName::new(timeline, last, size)
            ));
        }
    }
    if let Some(segment) = reach.missing.first().filter(|_| options.target != RecoveryTarget::Immediate) {
        doubts.push(format!(
            "WAL segment {segment} is missing from the archive: recovery stops with an error where the target lies behind it"
        ));
    }
    match &options.target {
        RecoveryTarget::Time(time) => {
            let newest = size.segment_before(reach.end);
            let mut stored = None;
            for (timeline, _) in history.spans_from(facts.timeline) {
                stored = archive::stored_at(repository, &facts.cluster, timeline, newest).await?.or(stored);
            }
            if let Some(stored) = stored.filter(|stored| stored < time) {
                doubts.push(format!(
                    "the newest usable WAL segment was archived at {stored}, before the target: recovery may end there and \
                     then refuses to open"
                ));
            }
        }
        RecoveryTarget::Name(_) | RecoveryTarget::Xid(_) => doubts.push(format!(
            "nothing tells when the target was: where that was before {}, the end of the backup, name an older backup",
            facts.stop_time
        )),
        RecoveryTarget::Latest | RecoveryTarget::Immediate | RecoveryTarget::Lsn(_) => {}
    }
    Ok(doubts)
}

/// Says which moments can be reached at all.
async fn windows(repository: &Repository, candidates: &[Kept]) -> Result<String> {
    let mut windows = BTreeSet::new();
    for kept in candidates {
        let Some(facts) = kept.backup.postgres() else { continue };
        let history = reach::newest(repository, facts).await?.history;
        let reach =
            archive::reach(repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
        if reach.end >= facts.stop_lsn {
            windows.insert((facts.stop_lsn, facts.stop_time, facts.timeline, reach.end));
        }
    }
    let Some((lsn, time, timeline, _)) = windows.first() else {
        return Ok("no moment can be reached".to_owned());
    };
    let end = windows.iter().map(|(.., end)| *end).max().unwrap_or(*lsn);
    Ok(format!("reachable is what was committed from {time} on ({lsn}, timeline {timeline}), up to {end}"))
}
