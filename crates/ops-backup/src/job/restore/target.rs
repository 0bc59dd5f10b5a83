//! Directories that may be restored into: a type that only the checks can make.

use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use crate::error::{Error, ErrorKind, Result};
use crate::job::restore::live;
use crate::job::restore::marker::{self, Marker};
use crate::postgres::control::{self, ControlFile};
use crate::postgres::segment::Cluster;
use crate::repo::catalog::{Backup, BackupSource};

/// A directory that is proven to be safe to restore into.
///
/// It is absent or empty ([`RestoreTarget::check`]), or it is the data directory of a stopped cluster, whose identity the
/// plan then compares with that of the backup ([`RestoreTarget::check_delta`]).
#[derive(Debug, PartialEq, Eq)]
pub struct RestoreTarget {
    path: PathBuf,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Absent,
    /// Absent like the directory around it, which is made before.
    Below,
    Empty,
    /// The data directory of a cluster that no server uses.
    Cluster {
        cluster: Cluster,
        after_crash: AfterCrash,
    },
    /// A restore that was not finished.
    Interrupted(Marker),
    /// The tablespace of the cluster that is restored into.
    Tablespace,
}

/// Whether the data directory of a server that did not shut down may be restored into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterCrash {
    /// The directory is refused. Its server may be running where this machine cannot see it.
    #[default]
    Refused,
    /// The caller knows that the server has crashed and is not running anywhere.
    Accepted,
}

fn refusal(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::BadTarget, format!("cannot restore into {path:?}: it {what}"))
}

impl RestoreTarget {
    /// Checks that `path` is absent or empty and can be written, without changing anything.
    ///
    /// # Errors
    /// `BadTarget` where it is a file, holds anything (a live cluster above all), or cannot be written.
    pub fn check(path: &Path) -> Result<Self> {
        let path = absolute(path)?;
        let exists = is_directory(&path)?;
        if exists {
            if path.join("postmaster.pid").exists() {
                return Err(refusal(
                    &path,
                    "holds a cluster that is running, or was when it crashed (postmaster.pid)",
                ));
            }
            if path.join(marker::NAME).exists() {
                return Err(refusal(
                    &path,
                    "holds a restore that was not finished; a delta restore goes on with it",
                ));
            }
            if path.join(control::PATH).exists() {
                return Err(refusal(&path, "holds a cluster"));
            }
            if !is_empty(&path)? {
                return Err(refusal(&path, "is not empty"));
            }
        }
        let state = if exists { State::Empty } else { State::Absent };
        RestoreTarget { path, state }.writable()
    }

    /// Checks that `path` is the data directory of a cluster that no server uses, or a restore that was not finished, or
    /// absent or empty. Nothing is changed.
    ///
    /// # Errors
    /// `BadTarget` as [`RestoreTarget::check`]; also where it holds anything else, where a server shows any sign of life, and
    /// where the server did not shut down, unless that is accepted.
    pub fn check_delta(path: &Path, after_crash: AfterCrash) -> Result<Self> {
        let path = absolute(path)?;
        if !is_directory(&path)? || is_empty(&path)? {
            return RestoreTarget::check(&path);
        }
        let state = existing(&path, after_crash)?;
        RestoreTarget { path, state }.writable()
    }

    /// Makes the place `name` within a directory that is absent, and that the restore makes first.
    pub(super) fn below(absent: &RestoreTarget, name: &str) -> Self {
        RestoreTarget { path: absent.path.join(name), state: State::Below }
    }

    /// Checks the place of a tablespace: empty, or that of the cluster whose data directory is restored into.
    pub(super) fn check_tablespace(place: &Path, oid: u32, data_directory: &RestoreTarget) -> Result<Self> {
        let path = absolute(place)?;
        let link = data_directory.path.join(format!("pg_tblspc/{oid}"));
        let is_own = data_directory.is_delta()
            && link.canonicalize().is_ok_and(|led| path.canonicalize().is_ok_and(|path| path == led));
        if is_own {
            return RestoreTarget { path, state: State::Tablespace }.writable();
        }
        RestoreTarget::check(&path)
    }

    /// Checks once more, right before the first change, what may have changed since.
    pub(super) fn check_again(&self) -> Result<()> {
        match &self.state {
            // What is around it is not there, and so is it.
            State::Below if !is_directory(&self.path)? => Ok(()),
            State::Absent | State::Below | State::Empty => RestoreTarget::check(&self.path).map(drop),
            State::Tablespace => Ok(()),
            State::Cluster { after_crash, .. } => match existing(&self.path, *after_crash)? {
                now if now == self.state => Ok(()),
                _ => Err(refusal(&self.path, "holds another cluster than a moment ago")),
            },
            State::Interrupted(_) => existing(&self.path, AfterCrash::Accepted).map(drop),
        }
    }

    /// Refuses what is not of the cluster in the backup.
    pub(super) fn refuse_foreign(&self, backup: &Backup) -> Result<()> {
        match (&self.state, &backup.source) {
            (State::Absent | State::Below | State::Empty | State::Tablespace, _) => Ok(()),
            (State::Cluster { cluster: found, .. }, BackupSource::Postgres(facts)) => {
                let wanted = facts.cluster;
                if found.system_identifier == wanted.system_identifier && found.major == wanted.major {
                    return Ok(());
                }
                let what = format!(
                    "holds cluster {} of PostgreSQL {}, and the backup is of cluster {} of PostgreSQL {}",
                    found.system_identifier, found.major, wanted.system_identifier, wanted.major
                );
                Err(refusal(&self.path, &what))
            }
            (State::Cluster { .. }, BackupSource::Tree(_)) => {
                Err(refusal(&self.path, "holds a cluster, and the backup is of a directory tree"))
            }
            (State::Interrupted(marker), _) => {
                let wanted = Marker::of(backup);
                if marker.source == wanted.source && marker.major == wanted.major {
                    return Ok(());
                }
                let what = format!(
                    "holds an unfinished restore of {}, and the backup is of {}",
                    marker.source, wanted.source
                );
                Err(refusal(&self.path, &what))
            }
        }
    }

    fn writable(self) -> Result<Self> {
        let path = &self.path;
        let writable = if self.exists() { Some(path.as_path()) } else { path.parent() };
        let writable = writable.ok_or_else(|| refusal(path, "has no parent"))?;
        match access(writable, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Ok(self),
            Err(rustix::io::Errno::NOENT) => Err(refusal(path, "has no parent directory")),
            Err(errno) => Err(refusal(path, "cannot be written").with_source(std::io::Error::from(errno))),
        }
    }

    /// Returns the absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn exists(&self) -> bool {
        !matches!(self.state, State::Absent | State::Below)
    }

    pub(super) fn is_own_tablespace(&self) -> bool {
        self.state == State::Tablespace
    }

    /// Whether everything in it will be of this restore.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.state, State::Absent | State::Below | State::Empty)
    }

    /// Whether there is something to compare with.
    pub(super) fn is_delta(&self) -> bool {
        matches!(self.state, State::Cluster { .. } | State::Interrupted(_))
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| refusal(path, "is no path").with_source(error))
}

fn is_directory(path: &Path) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(_) => Err(refusal(path, "is not a directory")),
        Err(error) if error.kind() == IoKind::NotFound && path.symlink_metadata().is_ok() => {
            Err(refusal(path, "is a link that leads nowhere"))
        }
        Err(error) if error.kind() == IoKind::NotFound => Ok(false),
        Err(error) if error.kind() == IoKind::NotADirectory => Err(refusal(path, "lies below a file")),
        Err(error) => Err(refusal(path, "cannot be read").with_source(error)),
    }
}

fn is_empty(path: &Path) -> Result<bool> {
    let mut entries =
        std::fs::read_dir(path).map_err(|error| refusal(path, "cannot be listed").with_source(error))?;
    Ok(entries.next().is_none())
}

/// Says what a directory that is not empty holds, or why it must be left alone.
fn existing(path: &Path, after_crash: AfterCrash) -> Result<State> {
    if let Some(sign) = live::sign_of_life(path) {
        return Err(refusal(path, &sign));
    }
    if !path.join(control::PATH).exists() {
        return match Marker::read(path) {
            Some(marker) => Ok(State::Interrupted(marker)),
            None => Err(refusal(path, "is not empty, and not the data directory of a cluster")),
        };
    }
    let (bytes, control): (Vec<u8>, ControlFile) = control::read_raw(path)
        .map_err(|error| refusal(path, "holds a cluster that cannot be identified").with_source(error))?;
    // Where a restore has never been started, the control file still says what it said when the backup was taken.
    let never_started = path.join("backup_label").exists() && !path.join("postmaster.pid").exists();
    let is_shut_down = matches!(database_state(&bytes), SHUT_DOWN | SHUT_DOWN_IN_RECOVERY);
    if !is_shut_down && !never_started && after_crash == AfterCrash::Refused {
        return Err(refusal(
            path,
            "holds a cluster that was not shut down: it has crashed, or it runs where this machine cannot see it",
        ));
    }
    Ok(State::Cluster { cluster: control.cluster, after_crash })
}

/// `DBState` of `catalog/pg_control.h`, the same in PostgreSQL 14 to 18.
const SHUT_DOWN: u32 = 1;
const SHUT_DOWN_IN_RECOVERY: u32 = 2;

fn database_state(control: &[u8]) -> u32 {
    u32::from_le_bytes([control[16], control[17], control[18], control[19]])
}

/// Returns how much is free on the file system of `path`, and fails where that is less than `bytes`.
pub(super) fn check_free(path: &Path, bytes: u64) -> Result<u64> {
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let found = statvfs(existing)
        .map_err(|error| Error::io(format!("ask for the free space of {existing:?}"), error.into()))?;
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    if free >= bytes {
        return Ok(free);
    }
    let message = format!("{path:?} needs {bytes} bytes, and its file system has {free} free");
    Err(Error::new(ErrorKind::NoSpace, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absent_and_empty_directories_pass() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        std::fs::create_dir(at("empty")).unwrap();
        std::fs::create_dir(at("used")).unwrap();
        std::fs::write(at("used/file"), "").unwrap();
        std::fs::create_dir(at("live")).unwrap();
        std::fs::write(at("live/postmaster.pid"), "").unwrap();
        std::fs::create_dir_all(at("stopped/global")).unwrap();
        std::fs::write(at("stopped/global/pg_control"), "").unwrap();
        std::fs::create_dir(at("unfinished")).unwrap();
        std::fs::write(at("unfinished").join(marker::NAME), "{}").unwrap();
        std::fs::write(at("file"), "").unwrap();
        std::os::unix::fs::symlink(at("nowhere"), at("link")).unwrap();
        for (name, complaint) in [
            ("empty", None),
            ("absent", None),
            ("used", Some("is not empty")),
            ("live", Some("is running")),
            ("stopped", Some("holds a cluster")),
            ("file", Some("is not a directory")),
            ("file/below", Some("below a file")),
            ("absent/below", Some("no parent directory")),
            ("unfinished", Some("was not finished")),
            ("link", Some("leads nowhere")),
        ] {
            let result = RestoreTarget::check(&at(name));
            match complaint {
                None => assert_eq!(result.unwrap().path(), at(name)),
                Some(part) => {
                    let error = result.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::BadTarget);
                    assert!(error.to_string().contains(part), "{name}: {error}");
                }
            }
        }
    }

    #[test]
    fn missing_space_is_seen_before() {
        let root = tempfile::tempdir().unwrap();
        assert!(check_free(&root.path().join("a/b"), 1).is_ok());
        assert_eq!(check_free(&root.path().join("a/b"), u64::MAX).unwrap_err().kind(), ErrorKind::NoSpace);
    }
}
