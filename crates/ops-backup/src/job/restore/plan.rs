//! The first half of a restore: everything is read and checked, nothing is changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Result;
use crate::job::restore::RestoreOptions;
use crate::job::restore::choose::{self, Replay};
use crate::job::restore::target::{self, RestoreTarget};
use crate::postgres::recovery::RecoveryTarget;
use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource};
use crate::repo::content::{Entry, Listing, Manifest};
use crate::repo::pack::PackTable;
use crate::transfer::read;

/// Everything that [`apply`](crate::restore::apply) will do.
#[derive(Debug)]
pub struct RestorePlan {
    pub(super) backup: Backup,
    pub(super) manifest: Manifest,
    pub(super) packs: PackTable,
    pub(super) options: RestoreOptions,
    pub(super) directory: RestoreTarget,
    pub(super) tablespaces: Vec<(u32, RestoreTarget)>,
    pub(super) replay: Option<Replay>,
    reason: String,
    warnings: Vec<String>,
    space: Vec<Space>,
}

/// A restore plan for people and machines to read.
#[derive(Debug, Clone, Serialize)]
pub struct PlanSummary {
    /// The backup that will be restored.
    pub backup: Backup,
    /// Why this one.
    pub reason: String,
    /// Where to.
    pub data_directory: PathBuf,
    /// The places of tablespaces by OID.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Where replay stops.
    pub target: RecoveryTarget,
    /// The WAL that replay will read; `None` for a backup that is not of PostgreSQL.
    pub replay: Option<Replay>,
    /// Files to write.
    pub files: u64,
    /// Bytes to write.
    pub bytes: u64,
    /// The room that is needed, and there.
    pub space: Vec<Space>,
    /// What the reader should know before.
    pub warnings: Vec<String>,
}

/// The room on the file system of one directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Space {
    /// The directory.
    pub path: PathBuf,
    /// Bytes that the restore will write there.
    pub needed: u64,
    /// Bytes that are free there now.
    pub free: u64,
}

impl RestorePlan {
    /// Returns the plan as data.
    pub fn summary(&self) -> PlanSummary {
        PlanSummary {
            backup: self.backup.clone(),
            reason: self.reason.clone(),
            data_directory: self.directory.path().to_owned(),
            tablespaces: self
                .tablespaces
                .iter()
                .map(|(oid, target)| (*oid, target.path().to_owned()))
                .collect(),
            target: self.options.target.clone(),
            replay: self.replay.clone(),
            files: self.manifest.files,
            bytes: self.manifest.bytes,
            space: self.space.clone(),
            warnings: self.warnings.clone(),
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
/// place, `NoSpace`, `Configuration` where the repository holds backups of several sources and none is named.
#[tracing::instrument(skip_all, fields(target = %options.target))]
pub async fn plan(
    repository: &Repository,
    data_directory: RestoreTarget,
    options: RestoreOptions,
) -> Result<RestorePlan> {
    let chosen = choose::choose(repository, &options).await?;
    let (backup, mut warnings) = (chosen.backup, chosen.warnings);
    let packs = PackTable::default();
    let manifest = repository.read_manifest(&backup.id, Some(&backup.manifest), &packs).await?;
    let mut tablespaces = Vec::new();
    if let BackupSource::Postgres(facts) = &backup.source {
        for tablespace in &facts.tablespaces {
            let place = options.tablespaces.get(&tablespace.oid).unwrap_or(&tablespace.location);
            tablespaces.push((tablespace.oid, RestoreTarget::check(place)?));
        }
        if !has_path(repository, &manifest, &packs, "postgresql.conf").await? {
            warnings.push(
                "the backup holds no postgresql.conf: the server kept it outside its data directory"
                    .to_owned(),
            );
        }
    }
    let needed = needed(repository, &manifest, &packs, data_directory.path(), &tablespaces).await?;
    let space = check_space(needed)?;
    Ok(RestorePlan {
        backup,
        manifest,
        packs,
        options,
        directory: data_directory,
        tablespaces,
        replay: chosen.replay,
        reason: chosen.reason,
        warnings,
        space,
    })
}

/// Whether the backup holds `path`; only the listing that would name it is read.
async fn has_path(
    repository: &Repository,
    manifest: &Manifest,
    packs: &PackTable,
    path: &str,
) -> Result<bool> {
    let behind = manifest.listings.partition_point(|listing| listing.first.as_str() <= path);
    let Some(listing) = behind.checked_sub(1).map(|index| &manifest.listings[index]) else {
        return Ok(false);
    };
    let listing = repository.read_listing(listing.frame, packs).await?;
    Ok(listing.entries.binary_search_by(|entry| entry.path().cmp(path)).is_ok())
}

/// Returns the bytes that go to each root.
async fn needed(
    repository: &Repository,
    manifest: &Manifest,
    packs: &PackTable,
    root: &Path,
    tablespaces: &[(u32, RestoreTarget)],
) -> Result<BTreeMap<PathBuf, u64>> {
    let mut needed = BTreeMap::from([(root.to_owned(), 0)]);
    if tablespaces.is_empty() {
        needed.insert(root.to_owned(), manifest.bytes);
        return Ok(needed);
    }
    let add = |listing: Listing| {
        for entry in &listing.entries {
            let Entry::File(file) = entry else { continue };
            let place = tablespace_of(&file.path).and_then(|oid| {
                tablespaces.iter().find(|(candidate, _)| *candidate == oid).map(|(_, target)| target.path())
            });
            *needed.entry(place.unwrap_or(root).to_owned()).or_default() += file.size;
        }
        Ok(())
    };
    read::listings(repository, &manifest.listings, packs, add).await?;
    Ok(needed)
}

/// Returns the tablespace that a path of a cluster lies in.
pub(super) fn tablespace_of(path: &str) -> Option<u32> {
    path.strip_prefix("pg_tblspc/")?.split_once('/')?.0.parse().ok()
}

fn check_space(needed: BTreeMap<PathBuf, u64>) -> Result<Vec<Space>> {
    let mut space = Vec::new();
    for (path, needed) in needed {
        let free = target::check_free(&path, needed)?;
        space.push(Space { path, needed, free });
    }
    Ok(space)
}
