//! A backup of any engine's source.
//!
//! # Order, and what a crash leaves
//! 1. `begin` in the log: from here on what the job writes belongs to it.
//! 2. The engine begins the backup on its source. A crash ends it there.
//! 3. Data to packs. A crash leaves packs that no backup refers to.
//! 4. The engine ends the backup, and what only exists then follows.
//! 5. Listings, then the manifest.
//! 6. `commit` in the log. Before it there is no backup, after it there is a whole one.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::Instrument as _;

use crate::engine::throttle::Throttled;
use crate::engine::{Engine, Finished, Session};
use crate::error::Result;
use crate::monitor::{Monitor, Phase};
use crate::repo::Repository;
use crate::repo::catalog::{self, Backup};
use crate::repo::compress::Compression;
use crate::repo::content::Manifest;
use crate::transfer::write::{WriteOptions, Writer, Written};

/// How a backup is taken.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// How many threads read and compress. Each holds about 50 MB.
    pub workers: usize,
    /// How new data is stored. Backups with different settings refer to one another's data.
    pub compression: Compression,
    /// The most bytes that all workers together read from the source in a second, so that it has room for its own work.
    pub bytes_per_second: Option<u64>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        BackupOptions {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            compression: Compression::default(),
            bytes_per_second: None,
        }
    }
}

/// Backs up the source of `engine`, and returns the committed backup.
///
/// Pages with a wrong checksum do not stop the backup: [`Backup::bad_pages`] counts them.
///
/// # Errors
/// Those of the engine (for PostgreSQL: `Unavailable` and `Postgres` for the server, `Configuration` where its files are
/// not those of the server, `Timeout` where its WAL does not arrive in the repository), those of the store, `Cancelled`.
/// No backup exists then.
#[tracing::instrument(name = "backup", skip_all, fields(id))]
pub async fn backup(
    repository: &Repository,
    engine: &dyn Engine,
    options: &BackupOptions,
    monitor: &Monitor,
) -> Result<Backup> {
    monitor.phase(Phase::Prepare, 0);
    let started_at = Timestamp::now();
    let id = catalog::new_id(started_at);
    tracing::Span::current().record("id", &id);
    let session = monitor.until_cancelled(engine.connect()).await?;
    let source = session.source();
    let lease = repository.begin(&id, &source, |_| Vec::new(), false).await?;
    let mut job = Job { repository, options, id, started_at, session };
    match monitor.until_cancelled(job.copy(monitor)).await {
        // Not cancelled from here on, so that the caller knows whether the backup exists.
        Ok(copied) => {
            monitor.phase(Phase::Finish, 0);
            let backup = job.publish(copied).await?;
            lease.commit(backup).await
        }
        Err(error) => {
            if let Err(error) = lease.abandon(&error.to_string()).await {
                tracing::warn!(%error, "the backup failed, and the repository could not be told");
            }
            Err(error)
        }
    }
}

struct Job<'a> {
    repository: &'a Repository,
    options: &'a BackupOptions,
    id: String,
    started_at: Timestamp,
    session: Box<dyn Session>,
}

struct Copied {
    written: Written,
    finished: Finished,
    findings: crate::engine::Findings,
}

impl Job<'_> {
    async fn copy(&mut self, monitor: &Monitor) -> Result<Copied> {
        let repository = self.repository;
        self.session.start(repository).await?;
        let mut listed = self.session.list().await?;
        if let Some(limit) = self.options.bytes_per_second {
            listed.opener = Arc::new(Throttled::new(listed.opener, limit));
        }
        monitor.phase(Phase::Copy, listed.files.bytes_of_files());
        let BackupOptions { workers, compression, .. } = *self.options;
        let mut writer = Writer::new(repository, &self.id, WriteOptions { workers, compression })?;
        let copied = tokio::select! {
            copied = writer.copy(listed, monitor) => copied?,
            error = self.session.watch(repository) => return Err(error),
        };
        let mut finished = self.session.finish(repository, monitor).await?;
        let findings = copied.opener.findings();
        let last = std::mem::take(&mut finished.files);
        let written = writer.finish(&copied, last).instrument(tracing::info_span!("listings")).await?;
        Ok(Copied { written, finished, findings })
    }

    async fn publish(self, copied: Copied) -> Result<Backup> {
        let Copied { written, finished, findings } = copied;
        let manifest = Manifest {
            backup: self.id.clone(),
            source: finished.source.clone(),
            files: written.files,
            bytes: written.bytes,
            listings: written.listings,
        };
        let stored_bytes = manifest.packs().iter().map(|used| written.packs.get(used.pack).size).sum();
        let reference = self.repository.write_manifest(&manifest, &written.packs).await?;
        let backup = Backup {
            id: self.id,
            tool: concat!("ops-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at: self.started_at,
            finished_at: Timestamp::now(),
            source: finished.source,
            base: None,
            files: written.files,
            raw_bytes: written.bytes,
            new_bytes: written.new_bytes,
            added_bytes: written.added_bytes + reference.size,
            stored_bytes,
            manifest: reference,
            bad_pages: findings.bad_pages,
            bad_page_examples: findings.examples,
        };
        let Backup { files, raw_bytes, new_bytes, added_bytes, .. } = &backup;
        tracing::info!(files, raw_bytes, new_bytes, added_bytes, "everything is stored");
        Ok(backup)
    }
}
