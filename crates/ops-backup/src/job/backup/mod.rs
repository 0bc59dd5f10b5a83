//! A backup of any engine's source.
//!
//! # Order, and what a crash leaves
//! 1. `begin` in the log, with the bases: from here on what the job writes belongs to it, and what it builds on is kept.
//! 2. The engine begins the backup on its source. A crash ends it there.
//! 3. Data to packs, and now and then a part, which says what is durable. A crash leaves packs that no backup refers to; the
//!    next backup of the source finds the parts and builds on them.
//! 4. The engine ends the backup, and what only exists then follows.
//! 5. Listings, then the manifest.
//! 6. `commit` in the log. Before it there is no backup, after it there is a whole one.

mod options;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;

use crate::engine::throttle::Throttled;
use crate::engine::{Engine, Findings, Finished, Session, Start, Supply};
use crate::error::Result;
use crate::monitor::{Monitor, Phase};
use crate::repo::Repository;
use crate::repo::catalog::{self, Backup};
use crate::repo::content::Manifest;
use crate::repo::pack::PackTable;
use crate::transfer::write::{Base, Times, WriteOptions, Writer, Written, is_base_lost};
use options::Bases;
pub use options::{BackupOptions, BaseChoice, ChangeDetection};

/// Backs up the source of `engine`, and returns the committed backup.
///
/// Pages with a wrong checksum do not stop the backup: [`Backup::bad_pages`] counts them.
///
/// # Errors
/// Those of the engine (for PostgreSQL: `Unavailable` and `Postgres` for the server, `Configuration` where its files are
/// not those of the server, `Timeout` where its WAL does not arrive in the repository), those of the store, `Busy` where
/// another backup of the source runs, `Abandoned` where another host took this one for dead, `Cancelled`. No backup exists
/// then, and what was stored helps the next one.
#[tracing::instrument(name = "backup", skip_all, fields(id))]
pub async fn backup(
    repository: &Repository,
    engine: &dyn Engine,
    options: &BackupOptions,
    monitor: &Monitor,
) -> Result<Backup> {
    let whole = options.change_detection == ChangeDetection::Hash;
    match attempt(repository, engine, options, Reading { whole, ignores_base: false }, monitor).await {
        // What else is damaged in the base is not known: nothing of it is referred to.
        Err(error) if engine.may_read_whole() && is_base_lost(&error) => {
            tracing::warn!(%error, "the backup begins again, and reads and stores everything");
            attempt(repository, engine, options, Reading { whole: true, ignores_base: true }, monitor).await
        }
        ended => ended,
    }
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    /// Everything is read.
    whole: bool,
    /// Nothing refers to the base.
    ignores_base: bool,
}

async fn attempt(
    repository: &Repository,
    engine: &dyn Engine,
    options: &BackupOptions,
    Reading { whole, ignores_base }: Reading,
    monitor: &Monitor,
) -> Result<Backup> {
    monitor.phase(Phase::Prepare, 0);
    let started_at = Timestamp::now();
    let id = catalog::new_id(started_at);
    tracing::Span::current().record("id", &id);
    let session = monitor.until_cancelled(engine.connect()).await?;
    let source = session.source();
    let choose = |state: &_| Bases::choose(state, &source, &options.base);
    let begin = repository.begin(&id, &source, |state| choose(state).ids(), options.allow_concurrent);
    let lease = monitor.until_cancelled(begin).await?;
    let mut bases = choose(lease.begun());
    if ignores_base {
        bases.committed = None;
    }
    let mut job = Job { repository, options, id, started_at, session, bases, whole };
    let exist = if ignores_base { Ok(()) } else { bases_exist(&job, &source) };
    let stored = match exist {
        Ok(()) => job.store(monitor).await,
        Err(error) => Err(error),
    };
    match stored {
        Ok((backup, parts)) => {
            let backup = lease.commit(backup).await?;
            repository.remove_parts(&backup.id, parts).await;
            Ok(backup)
        }
        Err(error) => {
            if let Err(error) = lease.abandon(&error.to_string()).await {
                tracing::warn!(%error, "the backup failed, and the repository could not be told");
            }
            Err(error)
        }
    }
}

fn bases_exist(job: &Job<'_>, source: &str) -> Result<()> {
    job.bases.check(&job.options.base, source)
}

struct Job<'a> {
    repository: &'a Repository,
    options: &'a BackupOptions,
    id: String,
    started_at: Timestamp,
    session: Box<dyn Session>,
    bases: Bases,
    /// Everything is read.
    whole: bool,
}

struct Stored {
    written: Written,
    finished: Finished,
    findings: Findings,
}

impl Job<'_> {
    /// Stores everything but the `commit`; returns how many parts were written too.
    async fn store(&mut self, monitor: &Monitor) -> Result<(Backup, u32)> {
        let packs = PackTable::default();
        let base = async {
            let Bases { committed, abandoned, .. } = &self.bases;
            Base::open(self.repository, &packs, committed.as_ref(), abandoned).await
        };
        let base = monitor.until_cancelled(base).await?;
        let BackupOptions { workers, compression, checkpoint_interval, .. } = *self.options;
        let options = WriteOptions { workers, compression, part_interval: checkpoint_interval };
        let mut writer = Writer::new(self.repository, &self.id, packs, options)?;
        let copied = monitor.until_cancelled(self.copy(&mut writer, base, monitor)).await;
        let finished = match copied {
            Ok(()) => monitor.until_cancelled(self.session.finish(self.repository, monitor)).await,
            Err(error) => Err(error),
        };
        let mut finished = match finished {
            Ok(finished) => finished,
            Err(error) => {
                // What is durable by now need not be stored again.
                if let Err(error) = writer.part().await {
                    tracing::warn!(%error, "what was stored could not be noted for the next backup");
                }
                return Err(error);
            }
        };
        // Not cancelled from here on, so that the caller knows whether the backup exists.
        monitor.phase(Phase::Finish, 0);
        let findings = writer.findings();
        let (last, proof) = (std::mem::take(&mut finished.files), finished.proof.take());
        let written = writer.finish(last, proof).await?;
        self.publish(Stored { written, finished, findings }).await
    }

    async fn copy(&mut self, writer: &mut Writer<'_>, base: Base, monitor: &Monitor) -> Result<()> {
        let start = Start {
            bytes_per_second: self.options.bytes_per_second,
            base: self.bases.committed.as_ref().filter(|_| base.is_whole() && !self.bases.is_damaged),
            whole: self.whole,
        };
        self.session.start(self.repository, start).await?;
        let mut supply = self.session.supply().await?;
        let times = self.times(Timestamp::now());
        if let (Supply::Files(listed), Some(limit)) = (&mut supply, self.options.bytes_per_second) {
            listed.opener = Arc::new(Throttled::new(Arc::clone(&listed.opener), limit));
        }
        tokio::select! {
            copied = writer.copy(supply, base, times, monitor) => copied,
            error = self.session.watch(self.repository) => Err(error),
        }
    }

    /// Says how far the times of files, listed at `now`, are to be trusted.
    fn times(&self, now: Timestamp) -> Times {
        let Some(base) = &self.bases.committed else { return Times::Doubtful(None) };
        if self.options.change_detection == ChangeDetection::Hash {
            return Times::Doubtful(None);
        }
        // A page that is damaged and unread would be one that nobody knows of.
        let bad_pages = (base.bad_pages > 0).then(|| format!("{} has bad pages", base.id));
        match bad_pages.or_else(|| self.session.doubt(&base.source)) {
            Some(reason) => Times::Doubtful(Some(reason)),
            None => Times::Trusted { base: base.started_at, now },
        }
    }

    async fn publish(&self, stored: Stored) -> Result<(Backup, u32)> {
        let Stored { written, finished, findings } = stored;
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
            id: self.id.clone(),
            tool: concat!("ops-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at: self.started_at,
            finished_at: Timestamp::now(),
            source: finished.source,
            base: self.bases.committed.as_ref().map(|base| base.id.clone()),
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
        Ok((backup, written.parts))
    }
}
