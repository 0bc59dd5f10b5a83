//! The WAL archive: what `archive_command` and `restore_command` call, and what the archive holds.
//!
//! ```no_run
//! # async fn run(repository: ops_backup::Repository) -> Result<(), ops_backup::Error> {
//! use ops_backup::wal::{self, Fetched};
//! use std::path::Path;
//!
//! let segment = Path::new("pg_wal/000000010000000000000001");
//! let cluster = wal::cluster_of_segment(segment)?;
//! wal::push(&repository, &cluster, segment).await?;
//! match wal::fetch(&repository, &cluster, "000000010000000000000002", Path::new("pg_wal/RECOVERYXLOG")).await? {
//!     Fetched::Written => {}
//!     Fetched::Absent => {} // and only here may a restore_command exit with 1
//! }
//! # Ok(())
//! # }
//! ```

pub(crate) mod archive;
pub mod receive;
#[cfg(test)]
pub(crate) mod sample;
pub mod service;
pub mod tail;

use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::postgres::control::ControlFile;
use crate::postgres::segment::{self, ArchiveFile, Cluster};
use crate::repo::compress::Compression;
use crate::repo::crypt::Secrets;
use crate::repo::seal::Kind;
use crate::repo::{Repository, Written};

/// How a WAL file came to be in the repository; both are durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// This call stored it.
    Stored,
    /// It was there already, with the same content.
    AlreadyThere,
}

/// The answer to a request for a WAL file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "recovery must not go on without the file"]
pub enum Fetched {
    /// The file is at its destination, whole.
    Written,
    /// The repository was asked and says that it has no such file.
    Absent,
}

/// Returns the cluster whose data directory holds `segment`, a path such as the `%p` of `archive_command`.
///
/// # Errors
/// `Configuration` where the folder above the segment's is not a data directory.
pub fn cluster_of_segment(segment: &Path) -> Result<Cluster> {
    let wal_directory = segment.parent().unwrap_or(Path::new(""));
    let data_directory = match wal_directory.parent() {
        Some(path) if path != Path::new("") => path.to_owned(),
        _ if wal_directory == Path::new("") => Path::new("..").to_owned(),
        _ => Path::new(".").to_owned(),
    };
    Ok(ControlFile::read(&data_directory)?.cluster)
}

/// How a WAL file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PushOptions {
    /// A busy server writes a segment every second: level 3 of zstd, with parameters of our own for WAL, takes about 30 ms
    /// of processor time for one.
    pub compression: Compression,
}

/// Stores the WAL file at `path` with default options: see [`push_with`].
///
/// # Errors
/// As [`push_with`].
pub async fn push(repository: &Repository, cluster: &Cluster, path: &Path) -> Result<Pushed> {
    push_with(repository, cluster, path, &PushOptions::default()).await
}

/// Stores the WAL file at `path`; success means that it is durable.
///
/// A file that is there already with the same content is success, because the server archives again after a crash.
/// A segment must have the size, version, system identifier and position that its name and `cluster` promise.
///
/// # Errors
/// `Conflict` where another file of the same name is archived, or another cluster uses the same identifier;
/// `Corrupt` where the file is not what its name says; `Configuration` where the name is none of a WAL archive, or where
/// the file is in a server's own WAL directory and the server has not finished it.
#[tracing::instrument(skip_all, fields(file = ?path.file_name().unwrap_or_default()))]
pub async fn push_with(
    repository: &Repository,
    cluster: &Cluster,
    path: &Path,
    options: &PushOptions,
) -> Result<Pushed> {
    let prepared = Prepared::read(repository, cluster, path, options).await?;
    archive::register(repository, cluster).await?;
    prepared.put(repository).await
}

/// A WAL file that is what its name says, sealed for its place in the repository.
struct Prepared<R> {
    name: String,
    location: object_store::path::Path,
    raw: R,
    sealed: Bytes,
}

impl Prepared<Bytes> {
    async fn read(
        repository: &Repository,
        cluster: &Cluster,
        path: &Path,
        options: &PushOptions,
    ) -> Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let file = archive_file(&name)?;
        let (path, cluster, options) = (path.to_owned(), *cluster, *options);
        let secrets = repository.secrets().clone();
        let prepare = move || {
            refuse_unfinished(file, &path)?;
            let raw = read_limited(&path, cluster.segment_size.bytes())?;
            Prepared::new(&secrets, &cluster, name, raw, options.compression)
        };
        Error::joined(tokio::task::spawn_blocking(prepare).await)
    }
}

impl<R: AsRef<[u8]> + Send + 'static> Prepared<R> {
    /// Checks and seals; blocks.
    fn new(
        secrets: &Secrets,
        cluster: &Cluster,
        name: String,
        raw: R,
        compression: Compression,
    ) -> Result<Self> {
        let file = archive_file(&name)?;
        let location = archive::path(cluster.system_identifier, file.timeline(), &name);
        check(file, &name, raw.as_ref(), cluster)?;
        let sealed = secrets.seal(Kind::Wal, location.as_ref(), raw.as_ref(), compression)?;
        Ok(Prepared { name, location, raw, sealed })
    }

    /// Stores it; the cluster is registered.
    async fn put(self, repository: &Repository) -> Result<Pushed> {
        let Some(compare) = self.create(repository).await? else { return Ok(Pushed::Stored) };
        Error::joined(tokio::task::spawn_blocking(compare).await)?;
        Ok(Pushed::AlreadyThere)
    }

    /// Creates the object. Where one is there already, returns what is left to be done, which blocks: to find out whether
    /// that is the same file.
    ///
    /// The answer to an earlier push was lost, or this is another file: only the content tells. The stored bytes do not, for
    /// they depend on the compression, and each sealing has a salt of its own.
    async fn create(
        self,
        repository: &Repository,
    ) -> Result<Option<impl FnOnce() -> Result<()> + Send + 'static>> {
        let Prepared { name, location, raw, sealed } = self;
        if repository.create(&location, sealed).await? == Written::Created {
            return Ok(None);
        }
        let present = repository.read(&location).await?;
        let secrets = repository.secrets().clone();
        Ok(Some(move || {
            if secrets.unseal(Kind::Wal, location.as_ref(), &present)? == raw.as_ref() {
                return Ok(());
            }
            let message = format!(
                "{name} is already archived with other content; two servers archive into one repository"
            );
            Err(Error::new(ErrorKind::Conflict, message))
        }))
    }
}

/// Writes the WAL file `name` to `destination`, whole or not at all.
///
/// # Errors
/// Any failure to find out whether the file exists is an error, never [`Fetched::Absent`]: recovery would end early.
/// A segment that has expired is absent. `Corrupt` where what is stored is not the file that its name promises.
#[tracing::instrument(skip(repository, cluster, destination))]
pub async fn fetch(
    repository: &Repository,
    cluster: &Cluster,
    name: &str,
    destination: &Path,
) -> Result<Fetched> {
    let file = archive_file(name)?;
    let location = archive::path(cluster.system_identifier, file.timeline(), name);
    let Some(stored) = repository.read_if_present(&location).await? else { return Ok(Fetched::Absent) };
    let (cluster, name, destination) = (*cluster, name.to_owned(), destination.to_owned());
    let secrets = repository.secrets().clone();
    let write = move || {
        let raw = secrets.unseal(Kind::Wal, location.as_ref(), &stored)?;
        check(file, &name, &raw, &cluster)?;
        write_atomically(&destination, &raw)
    };
    Error::joined(tokio::task::spawn_blocking(write).await)?;
    Ok(Fetched::Written)
}

/// A segment that its server still writes would take the place of the finished one, and archiving would stop for ever.
fn refuse_unfinished(file: ArchiveFile, path: &Path) -> Result<()> {
    let notes = path.with_file_name("archive_status");
    let (ArchiveFile::Segment(name), true) = (file, notes.is_dir()) else { return Ok(()) };
    if ["ready", "done"].iter().any(|end| notes.join(format!("{name}.{end}")).exists()) {
        return Ok(());
    }
    let message = format!("the server has not finished WAL segment {name}: it says when, in {notes:?}");
    Err(Error::new(ErrorKind::Configuration, message))
}

fn archive_file(name: &str) -> Result<ArchiveFile> {
    ArchiveFile::parse(name).ok_or_else(|| {
        Error::new(ErrorKind::Configuration, format!("{name:?} is not the name of a WAL file"))
    })
}

fn check(file: ArchiveFile, name: &str, raw: &[u8], cluster: &Cluster) -> Result<()> {
    match file {
        ArchiveFile::Segment(segment) | ArchiveFile::Partial(segment) => {
            segment::check_header(segment, raw, raw.len() as u64, cluster)
        }
        ArchiveFile::History(timeline) => {
            let text = std::str::from_utf8(raw)
                .map_err(|error| Error::corrupt(format!("{name} is not text")).with_source(error))?;
            crate::postgres::timeline::History::parse(timeline, text).map(drop)
        }
        ArchiveFile::BackupLabel(_) if raw.starts_with(b"START WAL LOCATION: ") => Ok(()),
        ArchiveFile::BackupLabel(_) => Err(Error::corrupt(format!("{name} is not a backup history file"))),
    }
}

/// Reads a file that may be one byte too long, so that a wrong length is seen but never fills the memory.
fn read_limited(path: &Path, limit: u64) -> Result<Bytes> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| {
            let length = file.metadata()?.len().min(limit);
            // With room for the end to be seen: a vector that grows is copied.
            bytes.reserve_exact(usize::try_from(length).unwrap_or(0) + 1);
            file.take(limit + 1).read_to_end(&mut bytes)
        })
        .map_err(|error| Error::io(format!("read {path:?}"), error))?;
    Ok(Bytes::from(bytes))
}

/// The server makes the file durable itself before it relies on it, and asks again after a crash.
fn write_atomically(destination: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = destination.as_os_str().to_owned();
    temporary.push(".ops-backup.tmp");
    let result = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, destination));
    result.map_err(|error| {
        // A leftover is harmless: the next request writes over it.
        let _ = std::fs::remove_file(&temporary);
        Error::io(format!("write {destination:?}"), error)
    })
}
