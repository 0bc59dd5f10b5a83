//! The second half of a restore: writing what the plan says, durably, and nothing on failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::job::restore::plan::RestorePlan;
use crate::job::restore::writer::Writer;
use crate::monitor::{Monitor, Phase};
use crate::repo::Repository;
use crate::transfer::read::{self, Destination};

/// What a restore wrote.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The backup that was restored.
    pub backup: String,
    /// Where it lies now, ready to be started.
    pub data_directory: PathBuf,
    /// Files of the backup.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
}

/// Carries out `plan`. When it returns, everything is durable.
///
/// # Errors
/// `Corrupt` and `NotFound` for damaged or missing packs, `NoSpace`, `Io`, `Cancelled`. The directories are emptied then.
#[tracing::instrument(skip_all, fields(backup = plan.backup.id))]
pub async fn apply(repository: &Repository, plan: RestorePlan, monitor: &Monitor) -> Result<Restored> {
    let bytes = plan.manifest.bytes;
    monitor.phase(Phase::Copy, bytes);
    let plan = Arc::new(plan);
    let cleanup = {
        let plan = Arc::clone(&plan);
        blocking(move || prepare(&plan)).await?
    };
    let done = {
        let destination: Arc<dyn Destination> = Arc::<Writer>::clone(&cleanup.writer);
        let listings = &plan.manifest.listings;
        let copy =
            read::restore(repository, listings, &plan.packs, destination, plan.options.workers, monitor);
        monitor.until_cancelled(copy).await?
    };
    monitor.phase(Phase::Finish, bytes);
    let finished = Arc::clone(&plan);
    blocking(move || {
        cleanup.writer.finish(&finished)?;
        cleanup.keep();
        Ok(())
    })
    .await?;
    let files = plan.manifest.files;
    tracing::info!(files, bytes, written = done.written, "the restore is durable");
    let data_directory = plan.directory.path().to_owned();
    Ok(Restored { backup: plan.backup.id.clone(), data_directory, files, bytes, written_bytes: done.written })
}

fn prepare(plan: &RestorePlan) -> Result<Cleanup> {
    let mut cleanup = Cleanup { roots: Vec::new(), writer: Arc::new(Writer::new(plan)) };
    let writer = Arc::clone(&cleanup.writer);
    let targets = std::iter::once(&plan.directory).chain(plan.tablespaces.iter().map(|(_, target)| target));
    for target in targets {
        let root = Root { path: target.path().to_owned(), existed: target.exists() };
        if target.exists() {
            cleanup.roots.push(root);
            writer.prepare_root(target.path(), true)?;
        } else {
            // Where another process was faster, the directory is not ours to remove.
            writer.prepare_root(target.path(), false)?;
            cleanup.roots.push(root);
        }
    }
    writer.begin_manifest()?;
    Ok(cleanup)
}

/// Empties the directories again unless the restore is kept. They were proven empty before.
#[derive(Debug)]
struct Cleanup {
    roots: Vec<Root>,
    writer: Arc<Writer>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    existed: bool,
}

impl Cleanup {
    fn keep(mut self) {
        self.roots.clear();
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // Threads that write hold the writer too; what they write after the removal would stay.
        let mut patience = if self.roots.is_empty() { 0 } else { 60_000 };
        while patience > 0 && Arc::strong_count(&self.writer) > 1 {
            std::thread::sleep(Duration::from_millis(1));
            patience -= 1;
        }
        for Root { path, existed } in self.roots.drain(..) {
            let removed = if existed { remove_content(&path) } else { fs::remove_dir_all(&path) };
            if let Err(error) = removed {
                tracing::warn!(?path, %error, "what a failed restore left could not be removed");
            }
        }
    }
}

fn remove_content(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?
        } else {
            fs::remove_file(entry.path())?
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Error::joined(tokio::task::spawn_blocking(work).await)
}
