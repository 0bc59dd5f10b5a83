//! Backups by their commit objects: the only proof that a backup exists.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::files::Tablespace;
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::Cluster;
use crate::repo::manifest::Manifest;
use crate::repo::{Repository, object_path};

/// The version of the commit object that this program writes and the newest that it reads.
const VERSION: u32 = 1;

const PARALLEL_READS: usize = 8;

/// A finished backup, as its commit object describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backup {
    /// The version of this description.
    pub version: u32,
    /// The name of the backup: when it began, and a random part.
    pub id: String,
    /// The program and version that wrote it.
    pub tool: String,
    /// When the job began, by the clock of the machine that ran it.
    pub started_at: Timestamp,
    /// When the job ended, by the same clock.
    pub finished_at: Timestamp,
    /// What was backed up.
    pub source: BackupSource,
    /// Files in the backup.
    pub files: u64,
    /// Bytes of these files.
    pub raw_bytes: u64,
    /// Bytes of the packs that this backup added.
    pub stored_bytes: u64,
    /// The manifest object.
    pub manifest: ManifestRef,
    /// How many data pages had a wrong checksum when they were read. Not zero means: the source is damaged.
    pub bad_pages: u64,
    /// The first of them.
    pub bad_page_examples: Vec<BadPage>,
}

/// What a backup is of.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "engine", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BackupSource {
    /// A physical copy of a PostgreSQL cluster.
    Postgres(PostgresBackup),
}

/// The facts that recovery of a PostgreSQL backup depends on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PostgresBackup {
    /// The cluster's identity.
    pub cluster: Cluster,
    /// The server's version, for example 150006.
    pub server_version: u32,
    /// The catalog version, part of the names of tablespace folders.
    pub catalog_version: u32,
    /// The timeline that the backup was taken on.
    pub timeline: u32,
    /// Replay begins here.
    pub start_lsn: Lsn,
    /// The copy is consistent once replay has reached this position.
    pub stop_lsn: Lsn,
    /// When the server began the backup, by its clock.
    pub start_time: Timestamp,
    /// When the server ended the backup, by its clock; no earlier moment can be recovered.
    pub stop_time: Timestamp,
    /// Whether data pages carry checksums, which were then verified.
    pub page_checksums: bool,
    /// Tablespaces outside the data directory.
    pub tablespaces: Vec<Tablespace>,
}

/// The manifest by its content.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestRef {
    /// Bytes of the stored object.
    pub size: u64,
    /// BLAKE3 of the stored object.
    pub blake3: String,
}

/// A data page whose checksum is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadPage {
    /// The file, below the data directory.
    pub file: String,
    /// The number of the page in this file.
    pub block: u64,
}

impl Backup {
    /// Returns the facts of a PostgreSQL backup.
    pub fn postgres(&self) -> &PostgresBackup {
        match &self.source {
            BackupSource::Postgres(postgres) => postgres,
        }
    }
}

/// A name that sorts by time and that two hosts never share.
pub(crate) fn new_id(now: Timestamp) -> String {
    format!("{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), crate::repo::random() >> 32)
}

fn manifest_path(id: &str) -> Path {
    object_path(&format!("backups/{id}/manifest"))
}

pub(crate) fn commit_path(id: &str) -> Path {
    object_path(&format!("backups/{id}/commit.json"))
}

impl Repository {
    /// Writes the manifest of backup `id`.
    pub(crate) async fn write_manifest(&self, id: &str, manifest: Manifest) -> Result<ManifestRef> {
        let backup = id.to_owned();
        let bytes = Error::joined(tokio::task::spawn_blocking(move || manifest.encode(&backup)).await);
        let reference =
            ManifestRef { size: bytes.len() as u64, blake3: blake3::hash(&bytes).to_hex().to_string() };
        self.write(&manifest_path(id), bytes).await?;
        Ok(reference)
    }

    /// Reads and checks the manifest of `backup`.
    pub(crate) async fn read_manifest(&self, backup: &Backup) -> Result<Manifest> {
        let bytes = self.read(&manifest_path(&backup.id)).await?;
        if blake3::hash(&bytes).to_hex().as_str() != backup.manifest.blake3 {
            return Err(Error::corrupt(format!(
                "{} is damaged: its hash differs",
                manifest_path(&backup.id)
            )));
        }
        let id = backup.id.clone();
        Error::joined(tokio::task::spawn_blocking(move || Manifest::decode(&id, &bytes)).await)
    }

    /// Makes the backup exist. Everything that it refers to must be durable before.
    pub(crate) async fn commit(&self, backup: &Backup) -> Result<()> {
        let json = serde_json::to_vec_pretty(backup).expect("a commit is always valid JSON");
        self.write(&commit_path(&backup.id), Bytes::from(json)).await.map(drop)
    }

    /// Returns the backup called `id`.
    ///
    /// # Errors
    /// `NotFound` where no such backup was committed.
    pub async fn backup(&self, id: &str) -> Result<Backup> {
        self.read_commit(id).await?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no backup {id:?} in the repository"))
        })
    }

    /// Returns all backups, oldest first.
    pub async fn backups(&self) -> Result<Vec<Backup>> {
        let listed = self.store().list_with_delimiter(Some(&object_path("backups"))).await;
        let listed = listed.map_err(|error| Error::storage("list the backups", error))?;
        let ids = listed.common_prefixes.into_iter().filter_map(|path| path.filename().map(str::to_owned));
        let mut backups: Vec<Backup> = stream::iter(ids)
            .map(|id| async move { self.read_commit(&id).await })
            .buffer_unordered(PARALLEL_READS)
            .try_filter_map(|backup| async move { Ok(backup) })
            .try_collect()
            .await?;
        backups.sort_by(|a, b| (a.finished_at, &a.id).cmp(&(b.finished_at, &b.id)));
        Ok(backups)
    }

    async fn read_commit(&self, id: &str) -> Result<Option<Backup>> {
        #[derive(Deserialize)]
        struct VersionOnly {
            version: u32,
        }
        let path = commit_path(id);
        let Some(bytes) = self.read_if_present(&path).await? else { return Ok(None) };
        let corrupt = |error| Error::corrupt(format!("{path} is damaged")).with_source(error);
        let VersionOnly { version } = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if version > VERSION {
            let message = format!("{path} has version {version}; this program reads up to {VERSION}");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let backup: Backup = serde_json::from_slice(&bytes).map_err(corrupt)?;
        if backup.id != id {
            return Err(Error::corrupt(format!("{path} describes backup {:?}", backup.id)));
        }
        Ok(Some(backup))
    }
}

impl Backup {
    /// The version that new commits carry.
    pub(crate) const VERSION: u32 = VERSION;
}
