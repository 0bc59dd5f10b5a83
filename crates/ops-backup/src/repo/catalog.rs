//! Backups by their records in the log: the only proof that a backup exists.

use jiff::Timestamp;
use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::files::Tablespace;
use crate::postgres::lsn::Lsn;
use crate::postgres::segment::Cluster;
use crate::repo::compress::Compression;
use crate::repo::content::Manifest;
use crate::repo::pack::PackTable;
use crate::repo::seal::Kind;
use crate::repo::{Repository, object_path};

/// A finished backup, as its record in the log describes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backup {
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
    /// The backup whose blocks were compared with, and referred to where they were equal. This one does not need it.
    pub base: Option<String>,
    /// Files in the backup.
    pub files: u64,
    /// Bytes of these files.
    pub raw_bytes: u64,
    /// How many of these bytes were stored anew.
    pub new_bytes: u64,
    /// Bytes that this backup added to the repository.
    pub added_bytes: u64,
    /// Bytes of all packs that this backup needs, whoever wrote them.
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
    /// A copy of a directory tree.
    Tree(TreeBackup),
}

impl BackupSource {
    /// The names of all engines.
    pub(crate) const ENGINES: [&str; 2] = ["postgres", "tree"];

    /// Returns the name by which backups of the same source are told: retention counts them together, and only one of
    /// them runs at a time.
    pub fn key(&self) -> String {
        match self {
            BackupSource::Postgres(postgres) => format!("postgres/{}", postgres.cluster.system_identifier),
            BackupSource::Tree(tree) => format!("tree/{}", tree.name),
        }
    }
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
    /// The databases at the start of the backup; empty where they could not be asked for.
    #[serde(default)]
    pub databases: Vec<Database>,
    /// Where the copy came from.
    #[serde(default)]
    pub origin: Origin,
    /// Where the server sent only the pages that had changed since the base: how long that has been so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<Incremental>,
    /// What came of comparing pages that were read whole with a base that was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// A line of backups for which the server sent changes alone. Each is complete in the repository, and needs no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incremental {
    /// The backup that the line began with, which was read whole.
    pub whole: String,
    /// When that one began.
    pub whole_at: Timestamp,
    /// How many backups came after it, this one included.
    pub step: u32,
}

/// What a backup that was read whole says about the line of changes before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The last backup of that line.
    pub backup: String,
    /// Pages that had not changed since, by their own word, and lay in blocks that differ: these were compared.
    pub compared_pages: u64,
    /// Pages among them with another content than in the line: it had lost a change.
    pub stale_pages: u64,
    /// The first of them.
    pub examples: Vec<BadPage>,
}

/// Where a copy of a cluster came from. The times of files tell something only beside those of the very same files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// From the files of the primary.
    #[default]
    PrimaryFiles,
    /// From the files of a standby.
    StandbyFiles,
    /// From the primary, over the network.
    PrimaryNetwork,
    /// From a standby, over the network.
    StandbyNetwork,
}

/// A database of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// The name of its directory.
    pub oid: u32,
    /// Its name.
    pub name: String,
}

/// What is known of a copied directory tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TreeBackup {
    /// What the caller calls the tree; backups of one name build on one another.
    pub name: String,
    /// Where it was.
    pub root: std::path::PathBuf,
    /// How many files changed while they were read; each is a mixture of its states meanwhile.
    #[serde(default)]
    pub changed_files: u64,
    /// The first of them.
    #[serde(default)]
    pub changed_examples: Vec<String>,
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
    /// Returns the facts of a PostgreSQL backup; `None` for any other.
    pub fn postgres(&self) -> Option<&PostgresBackup> {
        match &self.source {
            BackupSource::Postgres(postgres) => Some(postgres),
            BackupSource::Tree(_) => None,
        }
    }
}

/// A name that sorts by time and that two hosts never share.
pub(crate) fn new_id(now: Timestamp) -> String {
    format!("{}-{:08x}", now.strftime("%Y%m%dT%H%M%SZ"), crate::repo::random() >> 32)
}

pub(crate) fn manifest_path(id: &str) -> Path {
    object_path(&format!("backups/{id}/manifest"))
}

impl Repository {
    /// Writes the manifest of a backup.
    pub(crate) async fn write_manifest(&self, manifest: &Manifest, packs: &PackTable) -> Result<ManifestRef> {
        let path = manifest_path(&manifest.backup);
        let content = manifest.encode(packs);
        let object = self.secrets().seal(Kind::Manifest, path.as_ref(), &content, Compression::default())?;
        let reference =
            ManifestRef { size: object.len() as u64, blake3: blake3::hash(&object).to_hex().to_string() };
        self.write(&path, object).await?;
        Ok(reference)
    }

    /// Reads and checks the manifest of backup `id`; `expected` is what its record says of it.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`.
    pub(crate) async fn read_manifest(
        &self,
        id: &str,
        expected: Option<&ManifestRef>,
        packs: &PackTable,
    ) -> Result<Manifest> {
        let path = manifest_path(id);
        let object = self.read(&path).await?;
        if expected.is_some_and(|expected| blake3::hash(&object).to_hex().as_str() != expected.blake3) {
            return Err(Error::corrupt(format!("{path} is damaged: its hash differs")));
        }
        let content = self.secrets().unseal(Kind::Manifest, path.as_ref(), &object)?;
        let manifest = Manifest::decode(&content, packs).map_err(|refusal| refusal.at(&path))?;
        if manifest.backup != id {
            return Err(Error::corrupt(format!("{path} belongs to backup {}", manifest.backup)));
        }
        Ok(manifest)
    }

    /// Returns the backup called `id`.
    ///
    /// Where a part of the log cannot be read, a backup that it does not mention is looked for by its manifest.
    ///
    /// # Errors
    /// `NotFound` where no such backup was committed, or it has expired.
    pub async fn backup(&self, id: &str) -> Result<Backup> {
        let mut state = self.state().await?;
        if let Some(kept) = state.backups.remove(id) {
            return Ok(kept.backup);
        }
        if state.may_have_committed(id) {
            match self.backup_of_manifest(id).await {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => {
                    tracing::warn!(
                        backup = id,
                        "the log is damaged; the backup is known by its manifest alone"
                    );
                    return result;
                }
            }
        }
        Err(Error::new(ErrorKind::NotFound, format!("there is no backup {id:?} in the repository")))
    }

    /// Returns what the manifest of backup `id` alone tells of it: what it is of, and how large.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`. A manifest does not prove that its backup was committed; every manifest is complete.
    pub(crate) async fn backup_of_manifest(&self, id: &str) -> Result<Backup> {
        let table = PackTable::default();
        let manifest = self.read_manifest(id, None, &table).await?;
        let object = self.read(&manifest_path(id)).await?;
        let (started_at, finished_at) = match &manifest.source {
            BackupSource::Postgres(postgres) => (postgres.start_time, postgres.stop_time),
            BackupSource::Tree(_) => (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH),
        };
        Ok(Backup {
            id: id.to_owned(),
            tool: "unknown: read from the manifest".to_owned(),
            started_at,
            finished_at,
            source: manifest.source.clone(),
            base: None,
            files: manifest.files,
            raw_bytes: manifest.bytes,
            new_bytes: 0,
            added_bytes: 0,
            stored_bytes: manifest.packs().iter().map(|used| table.get(used.pack).size).sum(),
            manifest: ManifestRef {
                size: object.len() as u64,
                blake3: blake3::hash(&object).to_hex().to_string(),
            },
            bad_pages: 0,
            bad_page_examples: Vec::new(),
        })
    }

    /// Returns all backups, oldest first.
    pub async fn backups(&self) -> Result<Vec<Backup>> {
        let state = self.state().await?;
        let mut backups: Vec<Backup> = state.backups.into_values().map(|kept| kept.backup).collect();
        backups.sort_by(|a, b| (a.finished_at, &a.id).cmp(&(b.finished_at, &b.id)));
        Ok(backups)
    }
}
