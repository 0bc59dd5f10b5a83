//! Fetching WAL files, the one that recovery asks for and those that it will ask for next.
//!
//! What was fetched ahead lies in a folder of its own in the WAL directory, so that a rename brings it to its place. Which
//! file comes next is a guess from the last one and from the newest history that was fetched: recovery looks for each
//! segment on the newest timeline that has begun by then. A wrong guess costs a request and answers none: a file is served
//! under its own name only, and a name stands for one content for ever.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, watch};

use super::plain;
use super::status::Count;
use crate::error::{Error, Result};
use crate::postgres::segment::{ArchiveFile, Cluster, SegmentName};
use crate::postgres::timeline::History;
use crate::repo::Repository;
use crate::wal::{self, Fetched};

/// The folder of what was fetched ahead, in the WAL directory.
const FOLDER: &str = ".ops-backup";
/// Recovery that has not asked for so long is over, or waits: what was fetched ahead is removed.
const IDLE: Duration = Duration::from_secs(60);
/// How many are fetched at the same time.
const AT_ONCE: usize = 4;

#[derive(Debug)]
pub(super) struct Fetching {
    repository: Repository,
    cluster: Cluster,
    wal_directory: PathBuf,
    folder: PathBuf,
    ahead: u64,
    room: Arc<Semaphore>,
    table: Mutex<Table>,
    count: Count,
}

#[derive(Debug, Default)]
struct Table {
    files: HashMap<String, watch::Receiver<State>>,
    /// The ancestry of the newest timeline that recovery has asked about.
    history: Option<History>,
    last: Option<Instant>,
}

/// How far a file is that is fetched ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Here,
    /// Absent or not to be had: whoever asks finds out why.
    Nothing,
}

impl Fetching {
    pub(super) fn new(
        repository: Repository,
        cluster: Cluster,
        wal_directory: PathBuf,
        ahead: usize,
        count: Count,
    ) -> Result<Self> {
        let folder = wal_directory.join(FOLDER);
        remove(&folder)?;
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let (ahead, table) = (ahead as u64, Mutex::default());
        Ok(Fetching { repository, cluster, wal_directory, folder, ahead, room, table, count })
    }

    /// Writes the WAL file `name` into the WAL directory under the name `to`.
    pub(super) async fn fetch(self: &Arc<Self>, name: &str, to: &str) -> Result<Fetched> {
        let asked = Instant::now();
        let (name, to) = (plain(name)?, plain(to)?);
        let destination = self.wal_directory.join(to);
        let known = {
            let mut table = self.table();
            table.last = Some(asked);
            table.files.remove(name)
        };
        let here = match known {
            Some(mut state) => {
                let ended = state.wait_for(|state| *state != State::Running).await;
                ended.is_ok_and(|state| *state == State::Here)
            }
            None => false,
        };
        let fetched = if here && fs::rename(self.folder.join(name), &destination).is_ok() {
            self.count.fetched_ahead();
            Fetched::Written
        } else {
            wal::fetch(&self.repository, &self.cluster, name, &destination)
                .await
                .inspect_err(|error| self.count.fetch_failed(error))?
        };
        self.count.fetched(fetched, asked.elapsed());
        if fetched == Fetched::Written {
            match ArchiveFile::parse(name) {
                Some(ArchiveFile::Segment(segment)) => self.look_ahead(segment),
                Some(ArchiveFile::History(timeline)) => self.learn(timeline, &destination),
                _ => {}
            }
        }
        Ok(fetched)
    }

    /// Remembers the ancestry of `timeline`, as the file at `path` tells it.
    fn learn(&self, timeline: u32, path: &Path) {
        let Ok(text) = fs::read_to_string(path) else { return };
        let Ok(history) = History::parse(timeline, &text) else { return };
        let mut table = self.table();
        if table.history.as_ref().is_none_or(|known| known.timeline < timeline) {
            table.history = Some(history);
        }
    }

    /// Begins with the files behind `segment`, and gives up those that are not among them any more.
    fn look_ahead(self: &Arc<Self>, segment: SegmentName) {
        let size = self.cluster.segment_size;
        let Some(number) = segment.number(size) else { return };
        let mut table = self.table();
        let names: Vec<String> = (number + 1..=number + self.ahead)
            .map(|number| {
                let newest = table.history.as_ref().and_then(|history| history.at_segment(number, size));
                let timeline = newest.unwrap_or(0).max(segment.timeline);
                SegmentName::new(timeline, number, size).to_string()
            })
            .collect();
        table.files.retain(|name, state| {
            // What was absent may have arrived.
            let stays = names.contains(name) && *state.borrow() != State::Nothing;
            if !stays {
                // One that is still being fetched is removed when the service ends, or recovery rests.
                let _ = fs::remove_file(self.folder.join(name));
            }
            stays
        });
        for name in names {
            table.files.entry(name).or_insert_with_key(|name| self.begin(name.clone()));
        }
    }

    fn begin(self: &Arc<Self>, name: String) -> watch::Receiver<State> {
        let (sender, receiver) = watch::channel(State::Running);
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let state = this.fetch_ahead(&name).await;
            sender.send_replace(state);
        });
        receiver
    }

    #[tracing::instrument(level = "debug", skip(self))]
    async fn fetch_ahead(&self, name: &str) -> State {
        let Ok(_room) = self.room.acquire().await else { return State::Nothing };
        // Private as the files in it: they hold the data of the cluster.
        let _ = fs::DirBuilder::new().mode(0o700).create(&self.folder);
        let path = self.folder.join(name);
        match wal::fetch(&self.repository, &self.cluster, name, &path).await {
            Ok(Fetched::Written) => {
                // The server makes durable what it is given before it reads it: then there is nothing left to wait for.
                let sync = move || drop(fs::File::open(path).and_then(|file| file.sync_data()));
                Error::joined(tokio::task::spawn_blocking(sync).await);
                State::Here
            }
            Ok(Fetched::Absent) => State::Nothing,
            Err(error) => {
                tracing::debug!(%error, "a segment could not be fetched ahead");
                State::Nothing
            }
        }
    }

    /// Removes what was fetched ahead where recovery has ended, or waits.
    pub(super) async fn forget_if_idle(&self) {
        if self.table().last.is_some_and(|last| last.elapsed() >= IDLE) {
            self.clear().await;
        }
    }

    /// Removes what was fetched ahead.
    pub(super) async fn clear(&self) {
        let files = {
            let mut table = self.table();
            table.last = None;
            table.history = None;
            std::mem::take(&mut table.files)
        };
        for mut state in files.into_values() {
            let _ = state.wait_for(|state| *state != State::Running).await;
        }
        if let Err(error) = remove(&self.folder) {
            tracing::warn!(%error, "what was fetched ahead could not be removed");
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {folder:?}"), error))
        }
        _ => Ok(()),
    }
}
