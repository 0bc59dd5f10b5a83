//! How a backup is taken, and what it builds on.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::repo::catalog::Backup;
use crate::repo::compress::Compression;
use crate::repo::log::State;

/// How a backup is taken.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// How many threads read and compress. Each holds about 50 MB.
    pub workers: usize,
    /// How new data is stored. Backups with different settings refer to one another's data.
    pub compression: Compression,
    /// What the source is compared with, so that only what differs is stored. Every backup can be restored by itself.
    pub base: BaseChoice,
    /// How files are found that need not be read.
    pub change_detection: ChangeDetection,
    /// The most bytes that all workers together read from the source in a second, so that it has room for its own work.
    pub bytes_per_second: Option<u64>,
    /// How often a running backup notes what it has stored: what a crash costs the next one.
    pub checkpoint_interval: Duration,
    /// Whether it may begin while another backup of the same source runs. The two store the same data twice.
    pub allow_concurrent: bool,
}

/// What a backup is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BaseChoice {
    /// The newest backup of the same source that is not known to be damaged, and what aborted jobs have stored since.
    #[default]
    Newest,
    /// This backup of the same source.
    Backup(String),
    /// Nothing: all is stored again.
    None,
}

/// How a backup finds out what has changed since the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ChangeDetection {
    /// A file with the size and time of the one before is not read, where no file of the whole source makes times doubtful.
    #[default]
    Metadata,
    /// Every file is read, and every block compared by its hash.
    Hash,
}

impl Default for BackupOptions {
    fn default() -> Self {
        BackupOptions {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            compression: Compression::default(),
            base: BaseChoice::default(),
            change_detection: ChangeDetection::default(),
            bytes_per_second: None,
            checkpoint_interval: Duration::from_secs(20),
            allow_concurrent: false,
        }
    }
}

/// What a job builds on.
#[derive(Debug, Default)]
pub(super) struct Bases {
    pub(super) committed: Option<Backup>,
    /// That one was found damaged, and was asked for by name.
    pub(super) is_damaged: bool,
    /// The newest first.
    pub(super) abandoned: Vec<String>,
}

/// No more jobs than this are built on: a source whose backups never end must not slow the next one down.
const MOST_ABANDONED: usize = 8;

impl Bases {
    /// Chooses the bases of a backup of `source` by what the log says.
    pub(super) fn choose(state: &State, source: &str, choice: &BaseChoice) -> Self {
        let mut of_source = state.backups.values().filter(|kept| kept.source == source);
        let committed = match choice {
            BaseChoice::None => return Bases::default(),
            BaseChoice::Backup(id) => of_source.rfind(|kept| kept.backup.id == *id),
            BaseChoice::Newest => {
                of_source.filter(|kept| kept.damaged.is_none()).max_by_key(|kept| kept.sequence)
            }
        };
        let since = committed.map_or(0, |kept| kept.sequence);
        let mut abandoned: Vec<_> = state
            .abandoned
            .iter()
            .filter(|(_, job)| job.source == source && job.sequence > since)
            .map(|(id, job)| (job.sequence, id.clone()))
            .collect();
        abandoned.sort_unstable_by(|a, b| b.cmp(a));
        abandoned.truncate(MOST_ABANDONED);
        Bases {
            committed: committed.map(|kept| kept.backup.clone()),
            is_damaged: committed.is_some_and(|kept| kept.damaged.is_some()),
            abandoned: abandoned.into_iter().map(|(_, id)| id).collect(),
        }
    }

    /// Fails where a base was asked for by name and is not there.
    pub(super) fn check(&self, choice: &BaseChoice, source: &str) -> Result<()> {
        match choice {
            BaseChoice::Backup(id) if self.committed.is_none() => {
                let message = format!("there is no backup {id:?} of {source} to build on");
                Err(Error::new(ErrorKind::NotFound, message))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.committed.iter().map(|backup| backup.id.clone()).chain(self.abandoned.iter().cloned()).collect()
    }
}
