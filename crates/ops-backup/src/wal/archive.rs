//! What the archive of a cluster holds: its registration, its segments, its timelines.
//!
//! Whether a file is there is asked by its very name. A list of the store may lack the newest objects: it is only a hint
//! at which names are worth asking for.

use std::collections::BTreeSet;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::{Lsn, SystemIdentifier};
use crate::postgres::segment::{ArchiveFile, Cluster, SegmentName};
use crate::postgres::timeline::History;
use crate::repo::compress::Compression;
use crate::repo::seal::Kind;
use crate::repo::{Repository, Written, object_path};

const VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
struct Registration {
    version: u32,
    #[serde(flatten)]
    cluster: Cluster,
}

/// Returns the place of the WAL file `name`.
pub(crate) fn path(system: SystemIdentifier, timeline: u32, name: &str) -> Path {
    object_path(&format!("pg/{system}/wal/{timeline:08X}/{name}"))
}

/// Returns the place of the registration of a cluster.
pub(crate) fn cluster_path(system: SystemIdentifier) -> Path {
    object_path(&format!("pg/{system}/cluster"))
}

/// Returns what the repository knows of the cluster; `None` where it never archived here.
pub(crate) async fn registered(repository: &Repository, system: SystemIdentifier) -> Result<Option<Cluster>> {
    let path = cluster_path(system);
    let Some(object) = repository.read_if_present(&path).await? else { return Ok(None) };
    let content = repository.secrets().unseal(Kind::Cluster, path.as_ref(), &object)?;
    let present: Registration = serde_json::from_slice(&content)
        .map_err(|error| Error::corrupt(format!("{path} is damaged")).with_source(error))?;
    if present.version > VERSION {
        let message = format!("{path} has version {}; this program reads up to {VERSION}", present.version);
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    if present.cluster.system_identifier != system {
        return Err(Error::corrupt(format!("{path} is of system {}", present.cluster.system_identifier)));
    }
    Ok(Some(present.cluster))
}

/// Makes the cluster known to the repository, or finds it known as the same.
///
/// # Errors
/// `Conflict` where it is known with another version or segment size.
pub(crate) async fn register(repository: &Repository, cluster: &Cluster) -> Result<()> {
    let present = match registered(repository, cluster.system_identifier).await? {
        Some(present) => present,
        None => {
            let path = cluster_path(cluster.system_identifier);
            let registration = Registration { version: VERSION, cluster: *cluster };
            let json = serde_json::to_vec(&registration).expect("a registration is always valid JSON");
            let object =
                repository.secrets().seal(Kind::Cluster, path.as_ref(), &json, Compression::default())?;
            if repository.create(&path, object).await? == Written::Created {
                return Ok(());
            }
            // Written at the same moment: by this call, whose answer was lost, or by another.
            let present = registered(repository, cluster.system_identifier).await?;
            present.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{path} has vanished")))?
        }
    };
    if present == *cluster {
        return Ok(());
    }
    let known = present;
    let message = format!(
        "cluster {} is known here as PostgreSQL {} with WAL segments of {} bytes, not {} with {}",
        known.system_identifier,
        known.major,
        known.segment_size.bytes(),
        cluster.major,
        cluster.segment_size.bytes()
    );
    Err(Error::new(ErrorKind::Conflict, message))
}

/// Whether the archive holds segment `number` of `timeline`.
pub(crate) async fn has_segment(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
    number: u64,
) -> Result<bool> {
    let name = SegmentName::new(timeline, number, cluster.segment_size);
    repository.exists(&path(cluster.system_identifier, timeline, &name.to_string())).await
}

/// Returns when segment `number` of `timeline` was stored, by the clock of the store; `None` where it is not there.
pub(crate) async fn stored_at(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
    number: u64,
) -> Result<Option<Timestamp>> {
    let name = SegmentName::new(timeline, number, cluster.segment_size);
    repository.stored_at(&path(cluster.system_identifier, timeline, &name.to_string())).await
}

/// Returns the numbers of the segments of `timeline` that a list of the archive shows, in order: never all for certain.
pub(crate) async fn segments(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
) -> Result<BTreeSet<u64>> {
    let names = files(repository, cluster, timeline).await?;
    let numbers = names.iter().filter_map(|name| match ArchiveFile::parse(name) {
        Some(ArchiveFile::Segment(segment)) => segment.number(cluster.segment_size),
        _ => None,
    });
    Ok(numbers.collect())
}

/// Returns the names of the files of `timeline` that a list of the archive shows: never all for certain.
pub(crate) async fn files(repository: &Repository, cluster: &Cluster, timeline: u32) -> Result<Vec<String>> {
    let prefix = object_path(&format!("pg/{}/wal/{timeline:08X}", cluster.system_identifier));
    let listed = repository.store().list(Some(&prefix));
    let names: Vec<Option<String>> = listed
        .map_ok(|object| object.location.filename().map(str::to_owned))
        .try_collect()
        .await
        .map_err(|error| Error::storage(format!("list {prefix}"), error))?;
    Ok(names.into_iter().flatten().collect())
}

/// Returns the clusters that a list of the archive shows: never all for certain.
pub(crate) async fn systems(repository: &Repository) -> Result<BTreeSet<SystemIdentifier>> {
    let prefix = object_path("pg");
    let listed = repository.store().list_with_delimiter(Some(&prefix)).await;
    let listed = listed.map_err(|error| Error::storage(format!("list {prefix}"), error))?;
    let names = listed.common_prefixes.iter().filter_map(Path::filename);
    Ok(names.filter_map(|name| name.parse().ok()).collect())
}

/// Returns the numbers of the timelines that a list of the archive shows files of: never all for certain.
pub(crate) async fn timelines(repository: &Repository, cluster: &Cluster) -> Result<BTreeSet<u32>> {
    let prefix = object_path(&format!("pg/{}/wal", cluster.system_identifier));
    let listed = repository.store().list_with_delimiter(Some(&prefix)).await;
    let listed = listed.map_err(|error| Error::storage(format!("list {prefix}"), error))?;
    let names = listed.common_prefixes.iter().filter_map(Path::filename);
    Ok(names.filter_map(|name| u32::from_str_radix(name, 16).ok()).collect())
}

/// Reads a WAL file and proves it by its hash and header.
pub(crate) async fn read(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
    name: &str,
) -> Result<Vec<u8>> {
    let path = path(cluster.system_identifier, timeline, name);
    let stored = repository.read(&path).await?;
    let (cluster, name, secrets) = (*cluster, name.to_owned(), repository.secrets().clone());
    let decode = move || {
        let raw = secrets.unseal(Kind::Wal, path.as_ref(), &stored)?;
        super::check(super::archive_file(&name)?, &name, &raw, &cluster)?;
        Ok(raw)
    };
    Error::joined(tokio::task::spawn_blocking(decode).await)
}

/// Reads the history of `timeline`; `None` where the archive has none.
pub(crate) async fn history(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
) -> Result<Option<History>> {
    let name = format!("{timeline:08X}.history");
    if !repository.exists(&path(cluster.system_identifier, timeline, &name)).await? {
        return Ok(None);
    }
    let text = read(repository, cluster, timeline, &name).await?;
    History::parse(timeline, &String::from_utf8_lossy(&text)).map(Some)
}

/// Returns the history of the newest timeline that a server which was on `timeline` would find, as the server looks.
pub(crate) async fn newest_history(
    repository: &Repository,
    cluster: &Cluster,
    timeline: u32,
) -> Result<History> {
    let mut newest = history(repository, cluster, timeline).await?.unwrap_or_else(|| History::root(timeline));
    while let Some(next) = history(repository, cluster, newest.timeline + 1).await? {
        newest = next;
    }
    Ok(newest)
}

/// How many missing segments are told: a file with an absurd name must not make a job ask for billions of them.
const MISSING: usize = 1000;

/// A stretch of WAL that replay from a backup can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Replay can go up to here, where a segment ends.
    pub(crate) end: Lsn,
    /// The first [`MISSING`] segments that are missing while later ones are there, in the order of replay.
    pub(crate) missing: Vec<SegmentName>,
}

/// Follows the WAL from `start` on `timeline` along `history`, as far as it is without a gap.
pub(crate) async fn reach(
    repository: &Repository,
    cluster: &Cluster,
    history: &History,
    timeline: u32,
    start: Lsn,
) -> Result<Reach> {
    let size = cluster.segment_size;
    let mut next = size.segment_of(start);
    let mut missing = Vec::new();
    let mut end = None;
    for (timeline, fork) in history.spans_from(timeline) {
        let listed = segments(repository, cluster, timeline).await?;
        // A timeline that was left is needed up to the segment of its fork, which the child begins with again. The end of
        // the last one is where the first segment is absent that no list shows anything behind.
        let until = fork.map(|fork| size.segment_of(fork));
        let mut number = next;
        while until.is_none_or(|until| number < until) {
            let is_listed = listed.contains(&number);
            if !is_listed && !has_segment(repository, cluster, timeline, number).await? {
                if until.is_none() && listed.last().is_none_or(|last| *last < number) {
                    break;
                }
                if missing.len() == MISSING {
                    return Ok(Reach { end: end.unwrap_or(start), missing });
                }
                missing.push(SegmentName::new(timeline, number, size));
                end.get_or_insert(Lsn(number * size.bytes()));
            }
            number += 1;
        }
        next = next.max(number);
    }
    Ok(Reach { end: end.unwrap_or(Lsn(next * size.bytes())), missing })
}
