//! Directories that may be restored into: a type that only the checks can make.

use std::io::ErrorKind as IoKind;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use crate::error::{Error, ErrorKind, Result};

/// A directory that is proven to hold nothing: it is absent or empty, and can be written.
#[derive(Debug, PartialEq, Eq)]
pub struct RestoreTarget {
    path: PathBuf,
    exists: bool,
}

impl RestoreTarget {
    /// Checks that `path` can take a restore, without changing anything.
    ///
    /// # Errors
    /// `BadTarget` where it is a file, holds anything (a live cluster above all), or cannot be written.
    pub fn check(path: &Path) -> Result<Self> {
        let refuse =
            |what: &str| Error::new(ErrorKind::BadTarget, format!("cannot restore into {path:?}: it {what}"));
        let path = std::path::absolute(path).map_err(|error| refuse("is no path").with_source(error))?;
        let refuse =
            |what: &str| Error::new(ErrorKind::BadTarget, format!("cannot restore into {path:?}: it {what}"));
        let exists = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => true,
            Ok(_) => return Err(refuse("is not a directory")),
            Err(error) if error.kind() == IoKind::NotFound => false,
            Err(error) if error.kind() == IoKind::NotADirectory => return Err(refuse("lies below a file")),
            Err(error) => return Err(refuse("cannot be read").with_source(error)),
        };
        if exists {
            if path.join("postmaster.pid").exists() {
                return Err(refuse(
                    "holds a cluster that is running, or was when it crashed (postmaster.pid)",
                ));
            }
            if path.join("global/pg_control").exists() {
                return Err(refuse("holds a cluster"));
            }
            let mut entries =
                std::fs::read_dir(&path).map_err(|error| refuse("cannot be listed").with_source(error))?;
            if entries.next().is_some() {
                return Err(refuse("is not empty"));
            }
        } else if path.symlink_metadata().is_ok() {
            return Err(refuse("is a link that leads nowhere"));
        }
        let writable = if exists { Some(path.as_path()) } else { path.parent() };
        let writable = writable.ok_or_else(|| refuse("has no parent"))?;
        match access(writable, Access::WRITE_OK | Access::EXEC_OK) {
            Ok(()) => Ok(RestoreTarget { path, exists }),
            Err(rustix::io::Errno::NOENT) => Err(refuse("has no parent directory")),
            Err(errno) => Err(refuse("cannot be written").with_source(std::io::Error::from(errno))),
        }
    }

    /// Returns the absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn exists(&self) -> bool {
        self.exists
    }
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
