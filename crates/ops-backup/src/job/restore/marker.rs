//! The note in a directory that a restore into it was begun: what is being restored, so that a delta restore can go on
//! with it, and a lock, so that two restores never write into one directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::job::restore::writer::sync_directory;
use crate::repo::catalog::Backup;

/// The name of the note. Backups leave it out.
pub(super) const NAME: &str = "ops-backup.restore";

const VERSION: u32 = 1;

/// What is being restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    version: u32,
    /// The source of the backup, for example `postgres/7418890012345678901`.
    pub(super) source: String,
    /// The major version of PostgreSQL, where it is of that.
    pub(super) major: Option<u32>,
    backup: String,
}

/// The lock that lasts as long as this is held.
#[derive(Debug)]
pub(super) struct Held {
    _file: File,
}

impl Marker {
    pub(super) fn of(backup: &Backup) -> Self {
        Marker {
            version: VERSION,
            source: backup.source.key(),
            major: backup.postgres().map(|facts| facts.cluster.major),
            backup: backup.id.clone(),
        }
    }

    /// Returns the note in `directory`; `None` where there is none that can be read.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let mut text = String::new();
        // A note is small; something else of this name may not be.
        File::open(directory.join(NAME)).ok()?.take(4096).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok().filter(|marker: &Marker| marker.version == VERSION)
    }

    /// Writes the note durably, and takes the lock.
    ///
    /// # Errors
    /// `Busy` where another restore has it.
    pub(super) fn place(&self, directory: &Path) -> Result<Held> {
        let path = directory.join(NAME);
        let failed = |error: std::io::Error| Error::io(format!("write {path:?}"), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let message = format!("another restore is writing into {directory:?}");
                return Err(Error::new(ErrorKind::Busy, message));
            }
            // Some network file systems have no locks; the checks of the directory have to do there.
            Err(errno) => tracing::warn!(?path, %errno, "the directory cannot be locked"),
        }
        let text = serde_json::to_vec(self).expect("a note is always valid JSON");
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text))
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        sync_directory(directory)?;
        Ok(Held { _file: file })
    }
}

/// Removes the note: the restore is done.
pub(super) fn remove(directory: &Path) -> Result<()> {
    let path = directory.join(NAME);
    fs::remove_file(&path).map_err(|error| Error::io(format!("remove {path:?}"), error))?;
    sync_directory(directory)
}
