//! The first half of a restore: everything is read and checked, nothing is changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::job::restore::RestoreOptions;
use crate::job::restore::choose::{self, Replay};
use crate::job::restore::databases::Selection;
use crate::job::restore::saved_wal::{self, SavedWal};
use crate::job::restore::survey::{Paths, Removal, Survey};
use crate::job::restore::target::{self, RestoreTarget};
use crate::postgres::recovery::{RecoveryTarget, TargetAction};
use crate::repo::Repository;
use crate::repo::catalog::{Backup, BackupSource, PostgresBackup};
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
    /// The directory around the tablespaces, where it is made for them.
    pub(super) around_tablespaces: Option<RestoreTarget>,
    pub(super) tablespaces: Vec<(u32, RestoreTarget)>,
    pub(super) replay: Option<Replay>,
    pub(super) selection: Option<Selection>,
    pub(super) delta: Option<Delta>,
    reason: String,
    warnings: Vec<String>,
    space: Vec<Space>,
}

/// What a delta restore does before it writes.
#[derive(Debug)]
pub(super) struct Delta {
    pub(super) paths: Paths,
    pub(super) removal: Removal,
    pub(super) saved_wal: Option<SavedWal>,
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
    /// What the server does at the target.
    pub action: TargetAction,
    /// The command with which the server gets WAL.
    pub restore_command: String,
    /// The WAL that replay will read; `None` for a backup that is not of PostgreSQL.
    pub replay: Option<Replay>,
    /// Files of the backup.
    pub files: u64,
    /// Bytes of these files. A delta restore writes the blocks that differ only.
    pub bytes: u64,
    /// What is removed from an existing directory; `None` where it is empty or absent.
    pub removal: Option<Removal>,
    /// WAL that is nowhere else, and is copied aside first.
    pub saved_wal: Option<SavedWal>,
    /// Which databases are restored; `None` where all are.
    pub databases: Option<Selection>,
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
            action: self.options.action,
            restore_command: self.options.restore_command.clone(),
            replay: self.replay.clone(),
            files: self.manifest.files,
            bytes: self.manifest.bytes,
            removal: self.delta.as_ref().map(|delta| delta.removal.clone()),
            saved_wal: self.delta.as_ref().and_then(|delta| delta.saved_wal.clone()),
            databases: self.selection.clone(),
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
    mut options: RestoreOptions,
) -> Result<RestorePlan> {
    let chosen = choose::choose(repository, &options).await?;
    let command = options.restore_command_with_tail.take();
    if let (Some(command), Some(Replay { tail_from: Some(_), .. })) = (command, &chosen.replay) {
        options.restore_command = command;
    }
    let (backup, mut warnings) = (chosen.backup, chosen.warnings);
    data_directory.refuse_foreign(&backup)?;
    let packs = PackTable::default();
    let manifest = repository.read_manifest(&backup.id, Some(&backup.manifest), &packs).await?;
    let mut tablespaces = Vec::new();
    let mut around = None;
    let mut selection = None;
    if let BackupSource::Postgres(facts) = &backup.source {
        let is_used = facts.tablespaces.iter().any(|space| !options.tablespaces.contains_key(&space.oid));
        let absent = options.tablespaces_into.as_ref().filter(|into| is_used && !into.exists());
        around = absent.map(|into| RestoreTarget::check(into)).transpose()?;
        tablespaces = places(facts, &options, &data_directory, around.as_ref())?;
        selection = Selection::new(&options.databases, facts)?;
        if !has_path(repository, &manifest, &packs, "postgresql.conf").await? {
            warnings.push(
                "the backup holds no postgresql.conf: the server kept it outside its data directory"
                    .to_owned(),
            );
        }
    } else if !options.databases.is_empty() {
        let message = "a backup of a directory tree has no databases to select";
        return Err(Error::new(ErrorKind::Configuration, message));
    }
    if let Some(selection) = &selection {
        warnings.push(to_drop(selection));
    }
    let mut contents = Contents::new(&data_directory, &tablespaces, selection.as_ref());
    if data_directory.is_delta() || contents.needs_listings() {
        read::listings(repository, &manifest.listings, &packs, |listing| {
            contents.add(&listing);
            Ok(())
        })
        .await?;
    } else {
        contents.needed.insert(data_directory.path().to_owned(), manifest.bytes);
    }
    let Contents { needed, mut paths, .. } = contents;
    paths.settle();
    let delta = delta(repository, &backup, &data_directory, &tablespaces, paths).await?;
    let space = match &delta {
        None => check_space(needed)?,
        // What is there already is written over: how much room that takes cannot be told.
        Some(delta) => {
            check_space(delta.saved_wal.iter().map(|saved| (saved.directory.clone(), saved.bytes)).collect())?
        }
    };
    Ok(RestorePlan {
        backup,
        manifest,
        packs,
        options,
        directory: data_directory,
        around_tablespaces: around,
        tablespaces,
        replay: chosen.replay,
        selection,
        delta,
        reason: chosen.reason,
        warnings,
        space,
    })
}

/// Says where each tablespace goes: to the place that was given for it, or back to where it was.
fn places(
    facts: &PostgresBackup,
    options: &RestoreOptions,
    data_directory: &RestoreTarget,
    around: Option<&RestoreTarget>,
) -> Result<Vec<(u32, RestoreTarget)>> {
    let known = |oid: &u32| facts.tablespaces.iter().any(|tablespace| tablespace.oid == *oid);
    if let Some(unknown) = options.tablespaces.keys().find(|oid| !known(oid)) {
        let message = format!("the backup holds no tablespace {unknown}");
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let mut places: Vec<(u32, RestoreTarget)> = Vec::new();
    for tablespace in &facts.tablespaces {
        let oid = tablespace.oid;
        let target = match (options.tablespaces.get(&oid), around) {
            (None, Some(around)) => RestoreTarget::below(around, &oid.to_string()),
            (place, _) => {
                let below = options.tablespaces_into.as_ref().map(|below| below.join(oid.to_string()));
                let place = place.cloned().or(below).unwrap_or_else(|| tablespace.location.clone());
                RestoreTarget::check_tablespace(&place, oid, data_directory)?
            }
        };
        let others = places.iter().map(|(_, other)| other).chain([data_directory]);
        if let Some(other) = others.into_iter().find(|other| overlap(other.path(), target.path())) {
            let message = format!(
                "tablespace {oid} would go to {:?}, which is in the way of {:?}",
                target.path(),
                other.path()
            );
            return Err(Error::new(ErrorKind::BadTarget, message));
        }
        places.push((oid, target));
    }
    Ok(places)
}

fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn to_drop(selection: &Selection) -> String {
    let names: Vec<&str> = selection.to_drop.iter().map(|database| database.name.as_str()).collect();
    format!(
        "the databases that are not restored ({}) have no content: drop them once the server runs",
        if names.is_empty() { "the backup does not name them".to_owned() } else { names.join(", ") }
    )
}

async fn delta(
    repository: &Repository,
    backup: &Backup,
    directory: &RestoreTarget,
    tablespaces: &[(u32, RestoreTarget)],
    paths: Paths,
) -> Result<Option<Delta>> {
    if !directory.is_delta() {
        return Ok(None);
    }
    let root = directory.path().to_owned();
    let own = kept_tablespaces(tablespaces);
    let count = move || {
        let removal = Survey { paths: &paths, tablespaces: &own }.count(&root)?;
        Ok::<_, Error>((paths, removal))
    };
    let (paths, removal) = Error::joined(tokio::task::spawn_blocking(count).await)?;
    let saved_wal = match &backup.source {
        BackupSource::Postgres(facts) => {
            saved_wal::find(repository, &facts.cluster, directory.path(), Timestamp::now()).await?
        }
        BackupSource::Tree(_) => None,
    };
    Ok(Some(Delta { paths, removal, saved_wal }))
}

/// The tablespaces whose links stay.
pub(super) fn kept_tablespaces(tablespaces: &[(u32, RestoreTarget)]) -> BTreeSet<u32> {
    tablespaces.iter().filter(|(_, target)| target.is_own_tablespace()).map(|(oid, _)| *oid).collect()
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

/// What the listings say about the whole.
struct Contents<'a> {
    /// Bytes that go to each root.
    needed: BTreeMap<PathBuf, u64>,
    paths: Paths,
    root: &'a Path,
    is_delta: bool,
    tablespaces: &'a [(u32, RestoreTarget)],
    selection: Option<&'a Selection>,
}

impl<'a> Contents<'a> {
    fn new(
        root: &'a RestoreTarget,
        tablespaces: &'a [(u32, RestoreTarget)],
        selection: Option<&'a Selection>,
    ) -> Self {
        let needed = BTreeMap::from([(root.path().to_owned(), 0)]);
        let is_delta = root.is_delta();
        Contents { needed, paths: Paths::default(), root: root.path(), is_delta, tablespaces, selection }
    }

    /// Whether the sum of all bytes is not enough.
    fn needs_listings(&self) -> bool {
        !self.tablespaces.is_empty() || self.selection.is_some()
    }

    fn add(&mut self, listing: &Listing) {
        if self.is_delta {
            self.paths.add(listing);
        }
        for entry in &listing.entries {
            let Entry::File(file) = entry else { continue };
            if self.selection.is_some_and(|selection| !selection.wants(&file.path)) {
                continue;
            }
            let place = tablespace_of(&file.path).and_then(|oid| {
                self.tablespaces
                    .iter()
                    .find(|(candidate, _)| *candidate == oid)
                    .map(|(_, target)| target.path())
            });
            *self.needed.entry(place.unwrap_or(self.root).to_owned()).or_default() += file.size;
        }
    }
}

/// Returns the tablespace that a path of a cluster lies in.
fn tablespace_of(path: &str) -> Option<u32> {
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
