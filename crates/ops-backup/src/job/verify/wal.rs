//! WAL: every file that is there is read, and every segment that a backup needs must be there.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use super::ledger::Ledger;
use super::report::{Findings, is_damage};
use super::{Choice, Run};
use crate::error::{ErrorKind, Result};
use crate::job::reach;
use crate::postgres::segment::{ArchiveFile, Cluster, SegmentName};
use crate::repo::catalog::PostgresBackup;
use crate::wal::archive;

const MISSING: &str = "is missing from the archive";

pub(super) async fn check(run: &Run<'_>, ledger: &mut Ledger, findings: &mut Findings) -> Result<()> {
    let facts = || run.subjects.iter().filter_map(|subject| subject.backup.postgres());
    let clusters: BTreeMap<_, Cluster> =
        facts().map(|facts| (facts.cluster.system_identifier, facts.cluster)).collect();
    for cluster in clusters.values() {
        let first = facts()
            .filter(|facts| facts.cluster == *cluster)
            .map(|facts| cluster.segment_size.segment_of(facts.start_lsn))
            .min();
        // One backup needs nothing before it; a whole run reads everything that is there.
        let first = first.filter(|_| run.options.backup.is_some()).unwrap_or(0);
        for timeline in archive::timelines(run.repository, cluster).await? {
            files(run, cluster, timeline, first, ledger, findings).await?;
        }
    }
    for subject in &run.subjects {
        if let Some(facts) = subject.backup.postgres() {
            continuity(run, &subject.backup.id, facts, findings).await?;
        }
    }
    Ok(())
}

async fn files(
    run: &Run<'_>,
    cluster: &Cluster,
    timeline: u32,
    first: u64,
    ledger: &mut Ledger,
    findings: &mut Findings,
) -> Result<()> {
    let object = |name: &str| format!("pg/{}/wal/{timeline:08X}/{name}", cluster.system_identifier);
    let mut read = Vec::new();
    for name in archive::files(run.repository, cluster, timeline).await? {
        if number(&name, cluster).is_some_and(|number| number < first) {
            continue;
        }
        match run.selection.choose(&object(&name)) {
            Choice::Read => read.push(name),
            Choice::Proven => findings.counts.wal_files_proven_before += 1,
            Choice::LeftOut => findings.counts.wal_files_left_out += 1,
        }
    }
    let mut checked = stream::iter(read)
        .map(|name| async move {
            let result = archive::read(run.repository, cluster, timeline, &name).await;
            (name, result)
        })
        .buffer_unordered(run.options.workers.max(1));
    while let Some((name, result)) = checked.next().await {
        run.meter.add(0)?;
        let path = object(&name);
        match result {
            Ok(_) => {
                findings.counts.wal_files += 1;
                ledger.add(&path, Timestamp::now());
            }
            // It was given up since it was listed; that it is not needed is checked below.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if is_damage(&error) => {
                findings.counts.wal_files += 1;
                ledger.revoke(&path);
                damaged(run, cluster, &name, &path, &error.to_string(), findings);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A damaged segment of a backup keeps it from being restored; a later one ends what can be recovered from it.
fn damaged(run: &Run<'_>, cluster: &Cluster, name: &str, path: &str, what: &str, findings: &mut Findings) {
    findings.add(path, what, []);
    for subject in &run.subjects {
        let Some(facts) = subject.backup.postgres().filter(|facts| facts.cluster == *cluster) else {
            continue;
        };
        let own = own_segments(facts);
        match number(name, cluster) {
            Some(number) if number < *own.start() => {}
            Some(number) if own.contains(&number) => findings.add(path, what, [&subject.backup.id]),
            _ => findings.add_cut(path, what, &subject.backup.id),
        }
    }
}

/// Looks for the segments from the begin of the backup to the newest.
async fn continuity(
    run: &Run<'_>,
    id: &String,
    facts: &PostgresBackup,
    findings: &mut Findings,
) -> Result<()> {
    let history = reach::newest(run.repository, facts).await?.history;
    let reach =
        archive::reach(run.repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
    let size = facts.cluster.segment_size;
    let own = own_segments(facts);
    // The segments of the backup itself may be missing at the very end, where no gap shows.
    let at_the_end = own
        .clone()
        .filter(|number| number * size.bytes() >= reach.end.0)
        .map(|number| SegmentName::new(facts.timeline, number, size));
    let given_up = run.state.wal_expired.get(&facts.cluster.system_identifier).copied().unwrap_or(0);
    let missing: BTreeSet<SegmentName> = at_the_end.chain(reach.missing).collect();
    for segment in missing {
        let object = format!("WAL segment {segment}");
        match segment.number(size) {
            Some(number) if own.contains(&number) => {
                findings.add(&object, format!("{MISSING}: the backup cannot become consistent"), [id]);
            }
            Some(number) if number < given_up => {}
            _ => findings.add_cut(&object, &format!("{MISSING}: nothing behind it can be recovered"), id),
        }
    }
    Ok(())
}

fn own_segments(facts: &PostgresBackup) -> std::ops::RangeInclusive<u64> {
    let size = facts.cluster.segment_size;
    size.segment_of(facts.start_lsn)..=size.segment_before(facts.stop_lsn)
}

fn number(name: &str, cluster: &Cluster) -> Option<u64> {
    match ArchiveFile::parse(name)? {
        ArchiveFile::Segment(name) | ArchiveFile::Partial(name) | ArchiveFile::BackupLabel(name) => {
            name.number(cluster.segment_size)
        }
        ArchiveFile::History(_) => None,
    }
}
