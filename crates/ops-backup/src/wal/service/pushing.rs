//! Storing WAL files, those that were asked for and those that will be.
//!
//! The server asks for one file at a time, in order, and marks every complete one with `archive_status/<name>.ready`. So
//! while one is stored, those behind it are stored as well, up to a number at once. A file that was stored ahead is known by
//! its inode, size and time: the answer holds for that very file.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::DirEntry;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;

use super::plain;
use super::status::Count;
use crate::error::{Error, Result};
use crate::postgres::segment::{ArchiveFile, Cluster};
use crate::repo::Repository;
use crate::wal::{Prepared, PushOptions, Pushed};

/// What became of a file; every one who waits for it is told.
type Outcome = Result<Pushed, Arc<Error>>;

/// After a failure nothing is stored ahead for so long: the server asks again by itself.
const BACK_OFF: Duration = Duration::from_secs(5);
/// A list of what is ready is used for so long, unless it is worked off.
const LISTED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Pushing {
    repository: Repository,
    cluster: Cluster,
    wal_directory: PathBuf,
    options: PushOptions,
    /// How many are under way at most, but for the one that is asked for.
    at_once: usize,
    /// One for each processor: compressing more at the same time only takes memory.
    processors: Semaphore,
    table: Mutex<Table>,
    count: Count,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<String, File>,
    /// What is ready and comes next, as it was listed.
    next: VecDeque<String>,
    listed: Option<Instant>,
    running: usize,
    paused: Option<Instant>,
}

#[derive(Debug, Clone)]
struct File {
    identity: Identity,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

/// Tells a file from another one of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path).map_err(|error| Error::io(format!("look at {path:?}"), error))?;
        Ok(Identity { inode: meta.ino(), size: meta.size(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}

impl Pushing {
    pub(super) fn new(
        repository: Repository,
        cluster: Cluster,
        wal_directory: PathBuf,
        options: PushOptions,
        at_once: usize,
        count: Count,
    ) -> Self {
        let at_once = at_once.max(1);
        let processors = Semaphore::new(std::thread::available_parallelism().map_or(1, NonZero::get));
        let table = Mutex::default();
        Pushing { repository, cluster, wal_directory, options, at_once, processors, table, count }
    }

    /// Returns when the file of this name is durable, or why it is not.
    pub(super) async fn push(self: &Arc<Self>, name: &str) -> Outcome {
        let asked = Instant::now();
        let name = plain(name).map_err(Arc::new)?;
        let identity = Identity::of(&self.wal_directory.join(name)).map_err(Arc::new)?;
        let outcome = {
            let mut table = self.table();
            table.paused = None;
            match table.files.get(name).filter(|file| file.identity == identity) {
                Some(file) => file.outcome.clone(),
                None => self.begin(&mut table, name.to_owned(), identity),
            }
        };
        self.look_ahead();
        let outcome = outcome.await;
        // Told once: when the server asks again, after a crash, the repository is asked again.
        let mut table = self.table();
        if table.files.get(name).is_some_and(|file| file.identity == identity) {
            table.files.remove(name);
        }
        drop(table);
        self.count.answered(asked.elapsed());
        outcome
    }

    /// Begins to store a file. The work goes on where nobody waits for it.
    fn begin(
        self: &Arc<Self>,
        table: &mut Table,
        name: String,
        identity: Identity,
    ) -> Shared<BoxFuture<'static, Outcome>> {
        table.running += 1;
        let (this, told) = (Arc::clone(self), name.clone());
        let work = tokio::spawn(async move {
            let outcome = this.store(&told).await.map_err(Arc::new);
            this.ended(&told, &outcome);
            this.look_ahead();
            outcome
        });
        // Aborted only where the runtime ends, and then nobody is told.
        let outcome = async move { work.await.unwrap_or_else(|_| Err(Arc::new(Error::cancelled()))) };
        let outcome = outcome.boxed().shared();
        table.files.insert(name, File { identity, outcome: outcome.clone() });
        outcome
    }

    #[tracing::instrument(skip(self))]
    async fn store(&self, file: &str) -> Result<Pushed> {
        let path = self.wal_directory.join(file);
        let prepared = {
            let _processor = self.processors.acquire().await.expect("never closed");
            Prepared::read(&self.repository, &self.cluster, &path, &self.options).await?
        };
        prepared.put(&self.repository).await
    }

    fn ended(&self, name: &str, outcome: &Outcome) {
        self.count.pushed(outcome);
        let mut table = self.table();
        table.running -= 1;
        if let Err(error) = outcome {
            // Not remembered: when the server asks, it is tried again.
            table.files.remove(name);
            table.paused = Some(Instant::now() + BACK_OFF);
            drop(table);
            tracing::warn!(file = name, %error, cause = error_cause(error), "a WAL file could not be stored");
        }
    }

    /// Begins with the files that are ready, as many as may be under way.
    fn look_ahead(self: &Arc<Self>) {
        let mut table = self.table();
        if table.paused.is_some_and(|until| Instant::now() < until) {
            return;
        }
        if table.next.is_empty() && table.listed.is_none_or(|at| at.elapsed() >= LISTED) {
            self.list(&mut table);
        }
        while table.running < self.at_once {
            let Some(name) = table.next.pop_front() else { break };
            if table.files.contains_key(&name) {
                continue;
            }
            // It may be archived and gone since it was listed.
            if self.is_ready(&name)
                && let Ok(identity) = Identity::of(&self.wal_directory.join(&name))
            {
                drop(self.begin(&mut table, name, identity));
            }
        }
    }

    fn is_ready(&self, name: &str) -> bool {
        self.wal_directory.join("archive_status").join(format!("{name}.ready")).exists()
    }

    /// Lists what is ready, in the order in which the server asks: histories first, then by name.
    fn list(&self, table: &mut Table) {
        table.listed = Some(Instant::now());
        let Ok(ready) = ready(&self.wal_directory) else { return };
        let mut names: Vec<String> = ready.map(|(name, _)| name).collect();
        let known: HashSet<&str> = names.iter().map(String::as_str).collect();
        // What was stored ahead, and was archived by other means since.
        table.files.retain(|name, file| file.outcome.peek().is_none() || known.contains(name.as_str()));
        names.sort_by_key(|name| (!name.ends_with(".history"), name.clone()));
        table.next = names.into();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the WAL files that wait to be archived, each with the note of the server that says so.
pub(super) fn ready(wal_directory: &Path) -> std::io::Result<impl Iterator<Item = (String, DirEntry)>> {
    let notes = std::fs::read_dir(wal_directory.join("archive_status"))?;
    Ok(notes.filter_map(|note| {
        let note = note.ok()?;
        let name = note.file_name().to_str()?.strip_suffix(".ready")?.to_owned();
        ArchiveFile::parse(&name).map(|_| (name, note))
    }))
}

fn error_cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}
