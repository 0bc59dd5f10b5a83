//! `kind = "backup-freshness"`: how far back a recovery would fall now, by what `ops-backup list` says.
//!
//! What counts is the recovery point, which is the end of the WAL that can be replayed from a backup that is whole; never
//! the time of a file. Its time is that at which the store took the last usable segment: nothing that was committed
//! after it can be recovered. When the last transaction before it was committed, only a rehearsal measures.

use super::super::read;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, Threshold};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The shape of the listing that is understood.
const LIST: &str = "ops-backup/list/v2";

/// How many earlier backups a size is compared with, at least and at most.
const HISTORY: (usize, usize) = (3, 10);

/// The state of a backup repository, judged by `objectives.rpo` of the plan, which it needs.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupFreshness {
    /// The program that lists the repository now, such as `["ops-backup", "list", "--format", "json"]`.
    #[serde(default)]
    pub run: Vec<Text>,
    /// A listing that was made before, instead of `run`. An old one makes the recovery point look older, never younger;
    /// but what was damaged since is not in it.
    pub file: Option<Text>,
    /// The system identifier of the cluster that must be recoverable.
    pub system_identifier: Option<Text>,
    /// The name of the tree (`ops-backup backup --tree`) that must be recoverable, instead of a cluster.
    pub tree: Option<Text>,
    /// How long ago the newest whole backup may have ended, such as `26h` for every night.
    pub max_backup_age: Option<Span>,
    /// How long ago the newest whole backup may have been verified; one that never was does not pass.
    pub max_verified_age: Option<Span>,
    /// By how many per cent the size of the newest backup may differ from the median of up to ten before it. With fewer
    /// than three before it, the gate is inconclusive.
    pub max_size_change_percent: Option<Threshold>,
}

#[derive(Deserialize)]
struct Listing {
    schema: String,
    clusters: Vec<Cluster>,
    trees: Vec<Tree>,
    #[serde(default)]
    damaged_records: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Cluster {
    cluster: Identity,
    backups: Vec<Backup>,
    wal: Vec<Wal>,
    windows: Vec<Window>,
}

#[derive(Deserialize)]
struct Identity {
    /// It is written as text, because it does not fit into a JSON number of every reader.
    system_identifier: String,
}

#[derive(Deserialize)]
struct Tree {
    name: String,
    backups: Vec<Backup>,
}

#[derive(Deserialize)]
struct Backup {
    id: String,
    started_at: Timestamp,
    finished_at: Timestamp,
    raw_bytes: u64,
    bad_pages: u64,
    recoverable: bool,
    damaged: Option<Timestamp>,
    verified: Option<Timestamp>,
    source: Source,
}

#[derive(Deserialize)]
struct Source {
    stop_time: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Wal {
    timeline: u32,
    missing: u64,
}

#[derive(Deserialize)]
struct Window {
    timeline: u32,
    backup: String,
    until: Option<Timestamp>,
    until_lsn: String,
}

/// Where a recovery would end.
struct Point {
    time: Timestamp,
    backup: String,
    lsn: Option<String>,
}

impl Gate for BackupFreshness {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if facts.objectives.rpo.is_none() {
            wrong.push(Wrong::gate("a backup is judged by `objectives.rpo`, which the plan does not state"));
        }
        if self.run.is_empty() == self.file.is_none() {
            wrong.push(Wrong::gate("give either `run`, which lists the repository now, or `file`"));
        }
        if self.system_identifier.is_some() == self.tree.is_some() {
            wrong.push(Wrong::gate(
                "give either `system_identifier` or `tree`: which data must be recoverable",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        let what = match (&self.system_identifier, &self.tree) {
            (Some(cluster), _) => format!("cluster {cluster}"),
            (None, Some(tree)) => format!("tree {tree}"),
            (None, None) => String::new(),
        };
        format!("{what} can be recovered to within the RPO")
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl BackupFreshness {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let rpo = context.objectives().rpo;
        let rpo =
            rpo.ok_or_else(|| Finding::error(Fault::Unresolved, "objective", "the plan states no RPO"))?;
        let text = match &self.file {
            Some(file) => read::text(context, file).await?,
            None => read::answer(context, &self.run, &[0]).await?,
        };
        let listing: Listing = read::json(&text, "the listing")?;
        if listing.schema != LIST {
            let reason = format!("the listing has the schema `{}`, known is `{LIST}`", listing.schema);
            return Err(Finding::error(Fault::Parse, "not-understood", reason));
        }
        if let Some(number) = listing.damaged_records.keys().next() {
            let reason =
                format!("record {number} of the repository's log cannot be read, and may be about this data");
            return Err(Finding::error(Fault::Tool, "damaged-record", reason));
        }
        let resolve = |text: &Option<Text>| text.as_ref().map(|text| context.resolve(text)).transpose();
        let (backups, point) = match (resolve(&self.system_identifier)?, resolve(&self.tree)?) {
            (Some(id), _) => {
                let found = listing.clusters.iter().find(|it| it.cluster.system_identifier == id);
                let cluster = found.ok_or_else(|| absent(&format!("cluster {id}")))?;
                (&cluster.backups, of_cluster(cluster)?)
            }
            (None, name) => {
                let name = name.unwrap_or_default();
                let found = listing.trees.iter().find(|it| it.name == name);
                let tree = found.ok_or_else(|| absent(&format!("tree {name}")))?;
                (&tree.backups, of_tree(tree)?)
            }
        };
        Ok(self.judge(backups, &point, rpo, context.now()))
    }

    fn judge(&self, backups: &[Backup], point: &Point, rpo: Span, now: Timestamp) -> Finding {
        let age = since(point.time, now);
        let mut finding = self.rules(backups, point, rpo, now).unwrap_or_else(|finding| finding);
        finding = finding
            .measured("recovery_point_age_seconds", age)
            .judged_by(format!(
                "recovery_point_age_seconds <= {} (objectives.rpo {rpo})",
                rpo.get().as_secs_f64()
            ))
            .output("backup", &point.backup)
            .output("recovery_point", point.time.to_string());
        if let Some(lsn) = &point.lsn {
            finding = finding.output("recovery_lsn", lsn);
        }
        finding
    }

    fn rules(
        &self,
        backups: &[Backup],
        point: &Point,
        rpo: Span,
        now: Timestamp,
    ) -> Result<Finding, Finding> {
        let age = since(point.time, now);
        // The clock of a store may be ahead by a little; by more, the age means nothing.
        if age < -300.0 {
            let reason =
                format!("the recovery point {} is in the future; one of the clocks is wrong", point.time);
            return Err(Finding::error(Fault::Unresolved, "recovery-point-from-the-future", reason));
        }
        if age > rpo.get().as_secs_f64() {
            let reason =
                format!("a recovery would end at {}, which is longer ago than the RPO of {rpo}", point.time);
            return Err(Finding::fail("rpo", reason));
        }
        let mut whole: Vec<&Backup> = backups.iter().filter(|backup| backup.is_whole()).collect();
        whole.sort_by_key(|backup| backup.ended());
        let Some((newest, earlier)) = whole.split_last() else {
            return Err(Finding::fail("no-backup", "no backup is whole and recoverable"));
        };
        if let Some(max_age) =
            self.max_backup_age.filter(|max| since(newest.ended(), now) > max.get().as_secs_f64())
        {
            let reason =
                format!("the newest whole backup ended at {}, longer ago than {max_age}", newest.ended());
            return Err(Finding::fail("backup-too-old", reason));
        }
        if let Some(max_age) = self.max_verified_age {
            let verified = newest.verified.filter(|at| since(*at, now) <= max_age.get().as_secs_f64());
            if verified.is_none() {
                let reason = format!("backup {} was not verified within {max_age}", newest.id);
                return Err(Finding::fail("backup-not-verified", reason));
            }
        }
        if let Some(limit) = &self.max_size_change_percent {
            size(newest, earlier, limit)?;
        }
        Ok(Finding::pass(format!(
            "a recovery would end at {}, {age:.0} s ago, from backup {}",
            point.time, point.backup
        )))
    }
}

impl Backup {
    fn is_whole(&self) -> bool {
        self.recoverable && self.damaged.is_none() && self.bad_pages == 0
    }

    /// The moment from which it can be restored.
    fn ended(&self) -> Timestamp {
        self.source.stop_time.unwrap_or(self.finished_at)
    }
}

fn absent(what: &str) -> Finding {
    Finding::fail("no-backup", format!("the repository holds nothing of {what}"))
}

fn of_cluster(cluster: &Cluster) -> Result<Point, Finding> {
    let whole = |id: &str| cluster.backups.iter().any(|backup| backup.id == id && backup.is_whole());
    let windows = cluster.windows.iter().filter(|window| whole(&window.backup));
    // The newest timeline is where the cluster is now; an older one may go on longer, with what was abandoned.
    let window = windows.max_by_key(|window| (window.timeline, window.until));
    let window = window.ok_or_else(|| {
        Finding::fail(
            "nothing-recoverable",
            "no backup of the cluster can be recovered: WAL is missing, or it is damaged",
        )
    })?;
    let newest = cluster.wal.iter().max_by_key(|wal| wal.timeline);
    if let Some(wal) = newest.filter(|wal| wal.timeline > window.timeline) {
        let reason = format!(
            "the cluster is on timeline {}, and recovery ends on timeline {}",
            wal.timeline, window.timeline
        );
        return Err(Finding::fail("nothing-recoverable", reason));
    }
    if let Some(wal) = newest.filter(|wal| wal.missing > 0) {
        let reason = format!("{} WAL segments of timeline {} are missing", wal.missing, wal.timeline);
        return Err(Finding::fail("wal-missing", reason));
    }
    let time = window.until.ok_or_else(|| {
        Finding::error(
            Fault::NoData,
            "no-recovery-time",
            "the store does not tell when it took the last WAL segment",
        )
    })?;
    Ok(Point { time, backup: window.backup.clone(), lsn: Some(window.until_lsn.clone()) })
}

fn of_tree(tree: &Tree) -> Result<Point, Finding> {
    let newest =
        tree.backups.iter().filter(|backup| backup.is_whole()).max_by_key(|backup| backup.started_at);
    let backup =
        newest.ok_or_else(|| Finding::fail("nothing-recoverable", "no backup of the tree is whole"))?;
    // What was changed after the beginning may or may not be in it.
    Ok(Point { time: backup.started_at, backup: backup.id.clone(), lsn: None })
}

/// Whether the newest backup is as large as they usually are: a database that lost its rows backs up well, and small.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
fn size(newest: &Backup, earlier: &[&Backup], limit: &Threshold) -> Result<(), Finding> {
    let (least, most) = HISTORY;
    if earlier.len() < least {
        let reason = format!("{} backups before the newest, and a usual size takes {least}", earlier.len());
        return Err(Finding::inconclusive("too-few-backups", reason));
    }
    let mut sizes: Vec<u64> = earlier.iter().rev().take(most).map(|backup| backup.raw_bytes).collect();
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2] as f64;
    let change = (newest.raw_bytes as f64 - median) / median * 100.0;
    // In this direction, NaN is outside every range.
    if change.abs() <= limit.get() {
        return Ok(());
    }
    let reason = format!(
        "backup {} has {} bytes, {change:+.0} % from the median {median}",
        newest.id, newest.raw_bytes
    );
    Err(Finding::fail("backup-size", reason)
        .measured("size_change_percent", change)
        .judged_by(format!("|size_change_percent| <= {limit}")))
}

fn since(time: Timestamp, now: Timestamp) -> f64 {
    now.duration_since(time).as_secs_f64()
}
