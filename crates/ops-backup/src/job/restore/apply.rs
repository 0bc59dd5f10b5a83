//! The second half of a restore: writing what the plan says, durably, and nothing on failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::job::restore::marker::{self, Held, Marker};
use crate::job::restore::plan::{self, Delta, RestorePlan};
use crate::job::restore::saved_wal;
use crate::job::restore::survey::Survey;
use crate::job::restore::target::RestoreTarget;
use crate::job::restore::writer::{Writer, sync_directory};
use crate::monitor::{Monitor, Phase};
use crate::postgres::control;
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
    /// Bytes that were found in place, and proven there.
    pub kept_bytes: u64,
    /// Where WAL was saved that was nowhere else.
    pub saved_wal: Option<PathBuf>,
}

/// Carries out `plan`. When it returns, everything is durable.
///
/// # Errors
/// `Corrupt` and `NotFound` for damaged or missing packs, `NoSpace`, `Io`, `Cancelled`. Directories that were empty are
/// emptied then; an existing one is left without `pg_control`, and a delta restore goes on with it.
/// `BadTarget` and `Busy` where a directory has come into use since the plan was made; nothing is changed then.
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
        let removed = marker::remove(finished.directory.path());
        cleanup.keep();
        removed
    })
    .await?;
    let files = plan.manifest.files;
    tracing::info!(files, bytes, written = done.written, "the restore is durable");
    let data_directory = plan.directory.path().to_owned();
    let saved = plan.delta.as_ref().and_then(|delta| delta.saved_wal.as_ref());
    Ok(Restored {
        backup: plan.backup.id.clone(),
        data_directory,
        files,
        bytes,
        written_bytes: done.written,
        kept_bytes: done.kept,
        saved_wal: saved.map(|saved| saved.directory.clone()),
    })
}

/// Everything before the content: checked once more, marked, and cleared.
fn prepare(plan: &RestorePlan) -> Result<Cleanup> {
    // What is around the tablespaces comes before them.
    let before = std::iter::once(&plan.directory).chain(&plan.around_tablespaces);
    let tablespaces = plan.tablespaces.iter().map(|(_, target)| target);
    let targets: Vec<&RestoreTarget> = before.chain(tablespaces).collect();
    for target in &targets {
        target.check_again()?;
    }
    let writer = Arc::new(Writer::new(plan));
    let mut cleanup = Cleanup { roots: Vec::new(), writer: Arc::clone(&writer), held: None };
    for target in targets {
        let root = Root { path: target.path().to_owned(), existed: target.exists() };
        // Where another process was faster, a new directory is not ours to remove; nor is ever what was in use before.
        if target.exists() {
            cleanup.roots.extend(target.is_own().then_some(root));
            writer.prepare_root(target)?;
        } else {
            writer.prepare_root(target)?;
            cleanup.roots.push(root);
        }
        if cleanup.held.is_none() {
            cleanup.held = Some(Marker::of(&plan.backup).place(target.path())?);
        }
    }
    if let Some(delta) = &plan.delta {
        clear(plan, delta)?;
    }
    writer.begin_manifest()?;
    Ok(cleanup)
}

/// Makes an existing directory one that no server starts from, and removes what is not in the backup.
fn clear(plan: &RestorePlan, delta: &Delta) -> Result<()> {
    let root = plan.directory.path();
    if let Some(saved) = &delta.saved_wal {
        saved_wal::save(saved, root, plan.options.owner)?;
        tracing::info!(directory = %saved.directory.display(), files = saved.files.len(), "WAL that is nowhere else is saved");
    }
    let control = root.join(control::PATH);
    match fs::remove_file(&control) {
        Ok(()) => sync_directory(&root.join("global"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(format!("remove {control:?}"), error)),
    }
    let tablespaces = plan::kept_tablespaces(&plan.tablespaces);
    let removed = Survey { paths: &delta.paths, tablespaces: &tablespaces }.remove(root)?;
    tracing::info!(files = removed.files, bytes = removed.bytes, "what is not in the backup is removed");
    Ok(())
}

/// Empties the directories again unless the restore is kept. They were proven empty before.
#[derive(Debug)]
struct Cleanup {
    roots: Vec<Root>,
    writer: Arc<Writer>,
    held: Option<Held>,
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
            // A tablespace may have gone with the directory around it.
            if let Err(error) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
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
