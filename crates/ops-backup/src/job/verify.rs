//! Verify: read everything that is stored and prove it by hash; find what is missing. Reads the repository only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::monitor::{Meter, Monitor, Phase};
use crate::postgres::segment::{Cluster, SegmentName};
use crate::repo::catalog::Backup;
use crate::repo::manifest::BlockRef;
use crate::repo::{Repository, pack_path};
use crate::transfer::blocks::BlockReader;
use crate::wal::archive;

/// What is verified, and how fast.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Only this backup and its WAL; otherwise all.
    pub backup: Option<String>,
    /// How many objects are read and hashed at a time.
    pub workers: usize,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        VerifyOptions { backup: None, workers: std::thread::available_parallelism().map_or(2, usize::from) }
    }
}

/// What was checked and what is wrong.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    /// The backups that were checked.
    pub backups: Vec<String>,
    /// Packs that were read whole and re-hashed.
    pub packs: u64,
    /// Bytes of their blocks, decompressed and re-hashed.
    pub raw_bytes: u64,
    /// WAL files that were read whole and re-hashed.
    pub wal_files: u64,
    /// Everything that is wrong; empty means proven.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The object, by its path in the repository, or the missing WAL segment.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The backups that cannot be restored because of it.
    pub backups: Vec<String>,
}

impl VerifyReport {
    /// Whether something was checked and all of it is right.
    pub fn is_proven(&self) -> bool {
        self.problems.is_empty() && !self.backups.is_empty()
    }
}

/// Verifies the repository.
///
/// # Errors
/// Only where it could not be judged: `Storage` where an object cannot be read, `Cancelled`. Damage is in the report.
#[tracing::instrument(skip_all)]
pub async fn verify(
    repository: &Repository,
    options: &VerifyOptions,
    monitor: &Monitor,
) -> Result<VerifyReport> {
    monitor.phase(Phase::Prepare, 0);
    monitor.until_cancelled(run(repository, options, monitor)).await
}

async fn run(repository: &Repository, options: &VerifyOptions, monitor: &Monitor) -> Result<VerifyReport> {
    let backups = match &options.backup {
        Some(id) => vec![repository.backup(id).await?],
        None => repository.backups().await?,
    };
    let mut report = VerifyReport {
        backups: backups.iter().map(|backup| backup.id.clone()).collect(),
        ..VerifyReport::default()
    };
    let packs = collect_packs(repository, &backups, &mut report).await?;
    let total = packs.values().flat_map(|pack| pack.blocks.values()).map(|block| u64::from(block.raw)).sum();
    monitor.phase(Phase::Verify, total);
    let meter = Arc::new(Meter::new(monitor));
    report.packs = packs.len() as u64;
    report.raw_bytes = total;
    let problems: Vec<Option<Problem>> = stream::iter(packs)
        .map(|(name, pack)| check_pack(repository, name, pack, Arc::clone(&meter)))
        .buffer_unordered(options.workers.max(1))
        .try_collect()
        .await?;
    report.problems.extend(problems.into_iter().flatten());
    check_wal(repository, &backups, options.workers.max(1), &mut report).await?;
    report.problems.sort();
    Ok(report)
}

#[derive(Default)]
struct PackUse {
    size: u64,
    blocks: BTreeMap<u64, BlockRef>,
    backups: BTreeSet<String>,
}

async fn collect_packs(
    repository: &Repository,
    backups: &[Backup],
    report: &mut VerifyReport,
) -> Result<BTreeMap<String, PackUse>> {
    let mut packs: BTreeMap<String, PackUse> = BTreeMap::new();
    for backup in backups {
        let manifest = match repository.read_manifest(backup).await {
            Ok(manifest) => manifest,
            Err(error) => {
                let object = format!("backups/{}/manifest", backup.id);
                report.problems.push(problem(object, error, [backup.id.clone()])?);
                continue;
            }
        };
        for block in manifest.files().flat_map(|file| &file.blocks) {
            let reference = &manifest.packs[block.pack as usize];
            let pack = packs.entry(reference.name.clone()).or_default();
            pack.size = reference.size;
            if !pack.backups.contains(&backup.id) {
                pack.backups.insert(backup.id.clone());
            }
            pack.blocks.entry(block.offset).or_insert_with(|| block.clone());
        }
    }
    Ok(packs)
}

async fn check_pack(
    repository: &Repository,
    name: String,
    pack: PackUse,
    meter: Arc<Meter>,
) -> Result<Option<Problem>> {
    let path = pack_path(&name);
    let bytes = match repository.read(&path).await {
        Ok(bytes) => bytes,
        Err(error) => return problem(path.to_string(), error, pack.backups).map(Some),
    };
    let check = move || {
        let result = prove_pack(&name, &bytes, &pack, &meter);
        (result, pack.backups)
    };
    match Error::joined(tokio::task::spawn_blocking(check).await) {
        (Ok(()), _) => Ok(None),
        (Err(error), backups) => problem(path.to_string(), error, backups).map(Some),
    }
}

fn prove_pack(name: &str, bytes: &[u8], pack: &PackUse, meter: &Meter) -> Result<()> {
    if bytes.len() as u64 != pack.size {
        return Err(Error::corrupt(format!("has {} bytes, expected {}", bytes.len(), pack.size)));
    }
    if blake3::hash(bytes).to_hex().as_str() != name {
        return Err(Error::corrupt("its content does not hash to its name"));
    }
    let mut reader = BlockReader::new()?;
    for block in pack.blocks.values() {
        reader.read(name, bytes, block)?;
        meter.add(u64::from(block.raw))?;
    }
    Ok(())
}

async fn check_wal(
    repository: &Repository,
    backups: &[Backup],
    workers: usize,
    report: &mut VerifyReport,
) -> Result<()> {
    let clusters: BTreeMap<_, Cluster> = backups
        .iter()
        .map(|backup| backup.postgres().cluster)
        .map(|cluster| (cluster.system_identifier, cluster))
        .collect();
    for cluster in clusters.values() {
        for timeline in archive::timelines(repository, cluster).await? {
            let names = archive::files(repository, cluster, timeline).await?;
            report.wal_files += names.len() as u64;
            let problems: Vec<Option<Problem>> = stream::iter(names)
                .map(|name| check_wal_file(repository, cluster, timeline, name, backups))
                .buffer_unordered(workers)
                .try_collect()
                .await?;
            report.problems.extend(problems.into_iter().flatten());
        }
    }
    let mut missing: BTreeMap<SegmentName, Vec<String>> = BTreeMap::new();
    for backup in backups {
        let facts = backup.postgres();
        let history = archive::newest_history(repository, &facts.cluster, facts.timeline).await?;
        let history = if history.contains(facts.timeline, facts.stop_lsn) {
            history
        } else {
            crate::postgres::timeline::History::root(facts.timeline)
        };
        let reach =
            archive::reach(repository, &facts.cluster, &history, facts.timeline, facts.start_lsn).await?;
        let size = facts.cluster.segment_size;
        // The segments of the backup itself may be missing at the very end, where no gap shows.
        let own = (size.segment_of(facts.start_lsn)..=size.segment_before(facts.stop_lsn))
            .filter(|number| number * size.bytes() >= reach.end.0)
            .map(|number| SegmentName::new(facts.timeline, number, size));
        for segment in own.chain(reach.missing).collect::<BTreeSet<_>>() {
            missing.entry(segment).or_default().push(backup.id.clone());
        }
    }
    report.problems.extend(missing.into_iter().map(|(segment, backups)| Problem {
        object: format!("WAL segment {segment}"),
        what: "is missing from the archive; nothing after it can be recovered".to_owned(),
        backups,
    }));
    Ok(())
}

async fn check_wal_file(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
    name: String,
    backups: &[Backup],
) -> Result<Option<Problem>> {
    let Err(error) = archive::read(repository, cluster, timeline, &name).await else { return Ok(None) };
    let affected = backups.iter().filter(|backup| backup.postgres().cluster == *cluster);
    let affected = affected.filter(|backup| {
        let facts = backup.postgres();
        let start = SegmentName::new(
            facts.timeline,
            facts.cluster.segment_size.segment_of(facts.start_lsn),
            facts.cluster.segment_size,
        );
        SegmentName::parse(name.get(..24).unwrap_or_default()).is_none_or(|segment| segment >= start)
    });
    let affected: BTreeSet<String> = affected.map(|backup| backup.id.clone()).collect();
    let object = format!("pg/{}/wal/{timeline:08X}/{name}", cluster.system_identifier);
    problem(object, error, affected).map(Some)
}

/// Damage is a finding; everything else means that it could not be judged.
fn problem(object: String, error: Error, backups: impl IntoIterator<Item = String>) -> Result<Problem> {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::NotFound | ErrorKind::Configuration => {
            Ok(Problem { object, what: error.to_string(), backups: backups.into_iter().collect() })
        }
        _ => Err(error),
    }
}
