//! A full online backup of a running cluster from its own files.
//!
//! # Order, and what a crash leaves
//! 1. `pg_backup_start`. A crash from here to 5 ends the session, and with it the backup on the server.
//! 2. Data to packs. A crash leaves packs that nothing refers to.
//! 3. `pg_control`, read last but before the server ends the backup, as the server's own tool does.
//! 4. `pg_backup_stop`; its label is stored with `pg_control` in the last pack.
//! 5. Wait until each WAL segment from start to stop is in *this* repository.
//! 6. The manifest, then the commit object. Before that one there is no backup, after it there is a whole one.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use ops_core::connection::ConnectionSettings;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use crate::error::{Error, ErrorKind, Result};
use crate::monitor::{Monitor, Phase};
use crate::postgres::control::{self, ControlFile};
use crate::postgres::files::{self, Found, Listing};
use crate::postgres::segment::SegmentName;
use crate::postgres::session::{Server, Session, Started, Stopped};
use crate::repo::Repository;
use crate::repo::catalog::{self, Backup, BackupSource, PostgresBackup};
use crate::repo::manifest::{Entry, Manifest};
use crate::transfer::write::{self, Content, Pages, Source, Stored, WriteOptions};
use crate::wal::archive;

/// How a backup is taken.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// A note that the server shows and writes into `backup_label`.
    pub label: String,
    /// Where the cluster's files are, if not where the server says (for example behind a mount).
    pub data_directory: Option<PathBuf>,
    /// Whether the server makes its checkpoint at once. Otherwise the backup begins minutes later, with less load.
    pub fast_checkpoint: bool,
    /// How many threads read and compress. Each holds about 50 MB.
    pub workers: usize,
    /// The level of zstd. Above 3 the backup costs much more time than it saves space.
    pub compression_level: i32,
    /// How long the archiver may take for a segment before the backup fails.
    pub archive_timeout: Duration,
}

impl Default for BackupOptions {
    fn default() -> Self {
        BackupOptions {
            label: "ops-backup".to_owned(),
            data_directory: None,
            fast_checkpoint: true,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            compression_level: 3,
            archive_timeout: Duration::from_secs(60),
        }
    }
}

const PING_INTERVAL: Duration = Duration::from_secs(30);
const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_millis(500);

/// Backs up the cluster that `server` leads to, and returns the committed backup.
///
/// Pages with a wrong checksum do not stop the backup: [`Backup::bad_pages`] counts them.
///
/// # Errors
/// `Unavailable` and `Postgres` for the server, `Configuration` where its files are not those of the server,
/// `Timeout` where its WAL does not arrive in the repository, `Cancelled`. No backup exists then.
#[tracing::instrument(skip_all, fields(server = server.target()))]
pub async fn backup(
    repository: &Repository,
    server: &ConnectionSettings,
    options: &BackupOptions,
    monitor: &Monitor,
) -> Result<Backup> {
    monitor.phase(Phase::Prepare, 0);
    let started_at = Timestamp::now();
    let id = catalog::new_id(started_at);
    let span = tracing::info_span!("backup", id);
    let session = monitor.until_cancelled(Session::connect(server)).await?;
    let copy = async {
        let running = Running::begin(repository, &session, options).await?;
        let copied = running.copy(options, monitor).await?;
        let (copied, stopped) = running.stop(copied, options, monitor).await?;
        monitor.phase(Phase::WaitForWal, 0);
        running.wait_for_wal(&stopped, options.archive_timeout).await?;
        Ok((running, copied, stopped))
    };
    let (running, copied, stopped) = monitor.until_cancelled(copy).instrument(span.clone()).await?;
    // Not cancelled from here on, so that the caller knows whether the backup exists.
    monitor.phase(Phase::Finish, 0);
    running.publish(&id, started_at, copied, &stopped).instrument(span).await
}

/// A backup between start and stop.
struct Running<'a> {
    repository: &'a Repository,
    session: &'a Session,
    server: Server,
    data_directory: PathBuf,
    control: ControlFile,
    started: Started,
}

impl<'a> Running<'a> {
    async fn begin(
        repository: &'a Repository,
        session: &'a Session,
        options: &BackupOptions,
    ) -> Result<Self> {
        let server = session.inspect().await?;
        let data_directory = options.data_directory.clone().unwrap_or_else(|| server.data_directory.clone());
        let control = blocking({
            let data_directory = data_directory.clone();
            move || ControlFile::read(&data_directory)
        })
        .await?;
        let found = control.cluster.system_identifier;
        if found != server.system_identifier || control.cluster.major != server.version / 10_000 {
            let message = format!(
                "{data_directory:?} holds cluster {found}, but the server runs cluster {}",
                server.system_identifier
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        archive::register(repository, &control.cluster).await?;
        let started = session.start(&server, &options.label, options.fast_checkpoint).await?;
        tracing::info!(lsn = %started.lsn, timeline = started.timeline, "the server has started the backup");
        Ok(Running { repository, session, server, data_directory, control, started })
    }

    /// Copies all but `pg_control`, while the archive is watched: a backup without WAL is found out early.
    async fn copy(&self, options: &BackupOptions, monitor: &Monitor) -> Result<Copied> {
        let (data_directory, control) = (self.data_directory.clone(), self.control.clone());
        let listing = blocking(move || files::list(&data_directory, &control)).await?;
        let (directories, sources) = self.sources(&listing);
        let total = sources.iter().map(|source| source.size).sum();
        monitor.phase(Phase::Copy, total);
        let write = WriteOptions { workers: options.workers, level: options.compression_level };
        let stored = tokio::select! {
            stored = write::store(self.repository, sources, write, monitor) => stored?,
            error = self.watch(options.archive_timeout) => return Err(error),
        };
        Ok(Copied { stored, directories, listing })
    }

    fn sources(&self, listing: &Listing) -> (Vec<Entry>, Vec<Source>) {
        let mut directories = Vec::new();
        let mut sources = Vec::new();
        for found in &listing.found {
            match found {
                Found::Directory { path, mode } => {
                    directories.push(Entry::Directory { path: path.clone(), mode: *mode });
                }
                Found::File(file) => {
                    let pages =
                        file.relation_part.filter(|_| self.control.page_checksums).map(|part| Pages {
                            size: self.control.block_size as usize,
                            first_block: part * self.control.blocks_per_file,
                            backup_start: self.started.lsn,
                        });
                    sources.push(Source {
                        path: file.path.clone(),
                        mode: file.mode,
                        modified: file.modified,
                        size: file.size,
                        content: Content::Disk { path: file.on_disk.clone(), pages },
                    });
                }
            }
        }
        (directories, sources)
    }

    /// Ends only with an error: where the session dies, or WAL does not arrive. The start of the backup switched to
    /// a new segment, so the one before it must come.
    async fn watch(&self, archive_timeout: Duration) -> Error {
        let first = self.control.cluster.segment_size.segment_of(self.started.lsn);
        // Segment 0 never exists.
        if first > 1
            && let Err(error) = self.wait_for_segment(first - 1, archive_timeout).await
        {
            return error;
        }
        loop {
            sleep(PING_INTERVAL).await;
            if let Err(error) = self.session.ping().await {
                return error;
            }
        }
    }

    async fn stop(
        &self,
        copied: Copied,
        options: &BackupOptions,
        monitor: &Monitor,
    ) -> Result<(Copied, Stopped)> {
        let data_directory = self.data_directory.clone();
        let (control_bytes, control) = blocking(move || control::read_raw(&data_directory)).await?;
        if control.cluster != self.control.cluster || control.timeline != self.control.timeline {
            let message =
                format!("{:?} changed its timeline or cluster during the backup", self.data_directory);
            return Err(Error::new(ErrorKind::Postgres, message));
        }
        let stopped = self.session.stop(&self.server).await?;
        tracing::info!(lsn = %stopped.lsn, "the server has ended the backup");
        let last = |path: &str, bytes: Bytes| Source {
            path: path.to_owned(),
            mode: 0o600,
            modified: stopped.at.as_second(),
            size: bytes.len() as u64,
            content: Content::Memory(bytes),
        };
        let sources = vec![
            last("backup_label", Bytes::from(stopped.label.clone())),
            last(control::PATH, Bytes::from(control_bytes)),
        ];
        let write = WriteOptions { workers: 1, level: options.compression_level };
        let tail = write::store(self.repository, sources, write, monitor).await?;
        let mut copied = copied;
        copied.stored.append(tail);
        Ok((copied, stopped))
    }

    #[tracing::instrument(skip_all)]
    async fn wait_for_wal(&self, stopped: &Stopped, timeout: Duration) -> Result<()> {
        let size = self.control.cluster.segment_size;
        for number in size.segment_of(self.started.lsn)..=size.segment_before(stopped.lsn) {
            self.wait_for_segment(number, timeout).await?;
        }
        Ok(())
    }

    async fn wait_for_segment(&self, number: u64, timeout: Duration) -> Result<()> {
        let cluster = &self.control.cluster;
        let deadline = Instant::now() + timeout;
        let mut pause = FIRST_POLL;
        while !archive::has_segment(self.repository, cluster, self.started.timeline, number).await? {
            if Instant::now() >= deadline {
                let name = SegmentName::new(self.started.timeline, number, cluster.segment_size);
                let message = format!(
                    "WAL segment {name} did not arrive in the repository within {} s",
                    timeout.as_secs()
                );
                return Err(Error::new(ErrorKind::Timeout, message));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LAST_POLL);
        }
        Ok(())
    }

    async fn publish(
        &self,
        id: &str,
        started_at: Timestamp,
        copied: Copied,
        stopped: &Stopped,
    ) -> Result<Backup> {
        let Copied { stored, directories, listing } = copied;
        let mut entries = directories;
        entries.extend(stored.files.into_iter().map(Entry::File));
        let manifest = Manifest { packs: stored.packs, entries };
        let (files, raw_bytes) = (manifest.files().count() as u64, manifest.size());
        let manifest = self.repository.write_manifest(id, manifest).await?;
        let backup = Backup {
            version: Backup::VERSION,
            id: id.to_owned(),
            tool: concat!("ops-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at,
            finished_at: Timestamp::now(),
            source: BackupSource::Postgres(PostgresBackup {
                cluster: self.control.cluster,
                server_version: self.server.version,
                catalog_version: self.control.catalog_version,
                timeline: self.started.timeline,
                start_lsn: self.started.lsn,
                stop_lsn: stopped.lsn,
                start_time: self.started.at,
                stop_time: stopped.at,
                page_checksums: self.control.page_checksums,
                tablespaces: listing.tablespaces,
            }),
            files,
            raw_bytes,
            stored_bytes: stored.added_bytes,
            manifest,
            bad_pages: stored.bad_pages,
            bad_page_examples: stored.bad_page_examples,
        };
        self.repository.commit(&backup).await?;
        tracing::info!(files, raw_bytes, stored_bytes = backup.stored_bytes, "the backup is committed");
        Ok(backup)
    }
}

struct Copied {
    stored: Stored,
    directories: Vec<Entry>,
    listing: Listing,
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Error::joined(tokio::task::spawn_blocking(work).await)
}
