//! The folder that a rotation publishes in: what is in use, what is pending, and the record. Whatever is written is on the
//! disk before the next step.

use crate::rotate::error::{Error, ErrorKind};
use crate::rotate::files;
use crate::secret::Secret;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind as IoKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

const RECORD: &str = "..rotated.json";
const PENDING: &str = "..pending";
const LOCK: &str = "..lock";
const DATA: &str = "..data";
const NEXT: &str = "..data_next";
const VERSION_PREFIX: &str = "..v";
const FIELDS: [&str; 2] = ["username", "password"];
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// When a secret was rotated last; what the schedule reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    version: u32,
    /// The account that is in use since.
    pub account: String,
    /// How many rotations there were.
    pub generation: u64,
    /// Seconds since 1970.
    pub rotated_at: u64,
}

impl Record {
    pub(super) fn new(account: String, generation: u64, now: SystemTime) -> Self {
        let rotated_at = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { version: 1, account, generation, rotated_at }
    }
}

/// Reads the record of a folder; None where it was never rotated.
///
/// # Errors
/// [`ErrorKind::Invalid`] where it is no record of this version, [`ErrorKind::Io`].
pub fn record(folder: &Path) -> Result<Option<Record>, Error> {
    let path = folder.join(RECORD);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == IoKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(format!("{} cannot be read", path.display()), &error)),
    };
    let record: Option<Record> = serde_json::from_str(&text).ok();
    let record = record.filter(|record| record.version == 1);
    let invalid = || Error::new(ErrorKind::Invalid, format!("{} is no record of a rotation", path.display()));
    record.ok_or_else(invalid).map(Some)
}

/// What stands in the file of what is pending. The parser's own errors quote it, so they are left out.
#[derive(Deserialize)]
struct Pending {
    version: u32,
    account: String,
    value: Secret,
}

/// What is pending says by which version of this program it can be read.
pub(super) trait Versioned {
    fn version(&self) -> u32;
}

impl Versioned for Pending {
    fn version(&self) -> u32 {
        self.version
    }
}

pub(super) struct Folder {
    path: PathBuf,
    /// Held as long as the folder is open; None until there is one to hold.
    lock: Option<File>,
}

impl Folder {
    /// Opens the folder and takes its lock where there is one; makes nothing.
    pub(super) fn look(path: &Path) -> Result<Self, Error> {
        let mut folder = Self { path: path.to_path_buf(), lock: None };
        match File::open(path.join(LOCK)) {
            Ok(lock) => folder.take(lock)?,
            Err(error) if error.kind() == IoKind::NotFound => {}
            Err(error) => return Err(folder.failed("cannot be locked", &error)),
        }
        Ok(folder)
    }

    /// Makes the folder and its lock where they are not there. Returns whether the lock was held all along: where it was
    /// not, somebody else may have worked here since [`look`](Self::look).
    pub(super) fn hold(&mut self) -> Result<bool, Error> {
        if self.lock.is_some() {
            return Ok(true);
        }
        if !self.path.exists() {
            fs::create_dir_all(&self.path).map_err(|error| self.failed("cannot be created", &error))?;
            fs::set_permissions(&self.path, Permissions::from_mode(0o750))
                .map_err(|error| self.failed("cannot be closed to others", &error))?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.path.join(LOCK));
        let lock = lock.map_err(|error| self.failed("cannot be locked", &error))?;
        self.take(lock)?;
        Ok(false)
    }

    /// A child that another thread just starts holds our files open, and with them a lock that was given up, until it has become
    /// its program; so what is locked is tried again for a moment.
    fn take(&mut self, lock: File) -> Result<(), Error> {
        for _ in 0..LOCK_ATTEMPTS {
            match lock.try_lock() {
                Ok(()) => {
                    self.lock = Some(lock);
                    return Ok(());
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(self.failed("cannot be locked", &error)),
            }
        }
        Err(self.busy("another rotation works in it"))
    }

    /// The error of somebody else at work here.
    pub(super) fn busy(&self, why: &str) -> Error {
        Error::new(ErrorKind::Busy, format!("{}: {why}", self.path.display()))
    }

    pub(super) fn record(&self) -> Result<Option<Record>, Error> {
        record(&self.path)
    }

    /// The account and value that are in use.
    pub(super) fn published(&self) -> Result<Option<(String, Secret)>, Error> {
        let [account, value] = FIELDS.map(|field| self.path.join(DATA).join(field));
        if !account.exists() && !value.exists() {
            return Ok(None);
        }
        Ok(Some((files::read(&account)?.expose_secret().clone(), files::read(&value)?)))
    }

    pub(super) fn pending(&self) -> Result<Option<(String, Secret)>, Error> {
        let pending: Option<Pending> = self.note()?;
        Ok(pending.map(|pending| (pending.account, pending.value)))
    }

    pub(super) fn prepare(&self, account: &str, value: &Secret) -> Result<(), Error> {
        let value = value.expose_secret();
        self.put_note(&json!({ "version": 1, "account": account, "value": value }))
    }

    /// What is pending, in the shape of whoever wrote it.
    pub(super) fn note<T: DeserializeOwned + Versioned>(&self) -> Result<Option<T>, Error> {
        let path = self.path.join(PENDING);
        if !path.exists() {
            return Ok(None);
        }
        let text = files::read(&path)?;
        let note: Option<T> = serde_json::from_str(text.expose_secret()).ok();
        let note = note.filter(|note| note.version() == 1).ok_or_else(|| {
            let message = format!("{} is nothing that this rotation wrote", path.display());
            Error::new(ErrorKind::Invalid, message)
        })?;
        Ok(Some(note))
    }

    /// Notes what is pending, on the disk.
    pub(super) fn put_note(&self, note: &serde_json::Value) -> Result<(), Error> {
        self.replace(PENDING, &Zeroizing::new(note.to_string()))
    }

    /// Writes a new version and swaps the link to it; gives its number.
    pub(super) fn publish(&self, account: &str, value: &Secret) -> Result<u64, Error> {
        let generation = record(&self.path)?.map_or(0, |record| record.generation) + 1;
        let name = format!("{VERSION_PREFIX}{generation}");
        let (folder, io) = (self.path.join(&name), |error| self.failed("cannot be published", &error));
        let current = fs::read_link(self.path.join(DATA)).ok();
        if current.as_deref() != Some(Path::new(&name)) {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != IoKind::NotFound => return Err(io(error)),
                _ => {}
            }
            fs::create_dir(&folder).map_err(io)?;
            let owner = fs::metadata(&self.path).map_err(io)?;
            fs::set_permissions(&folder, Permissions::from_mode(owner.mode() & 0o777)).map_err(io)?;
            give_to(&folder, &owner).map_err(io)?;
            for (field, text) in FIELDS.into_iter().zip([account, value.expose_secret().as_str()]) {
                let before =
                    fs::metadata(self.path.join(DATA).join(field)).map_or(0o600, |file| file.mode() & 0o777);
                let mut file = OpenOptions::new()
                    .create_new(true)
                    .write(true)
                    .mode(0o600)
                    .open(folder.join(field))
                    .map_err(io)?;
                file.write_all(text.as_bytes()).map_err(io)?;
                give_to(&folder.join(field), &owner).map_err(io)?;
                file.set_permissions(Permissions::from_mode(before)).map_err(io)?;
                file.sync_all().map_err(io)?;
            }
            sync(&folder).map_err(io)?;
            let _ = fs::remove_file(self.path.join(NEXT));
            symlink(&name, self.path.join(NEXT)).map_err(io)?;
            fs::rename(self.path.join(NEXT), self.path.join(DATA)).map_err(io)?;
        }
        for field in FIELDS {
            let link = self.path.join(field);
            if !link.is_symlink() {
                symlink(Path::new(DATA).join(field), link).map_err(io)?;
            }
        }
        sync(&self.path).map_err(io)?;
        Ok(generation)
    }

    /// Writes the record, then removes what is pending, in this order: what is pending is what a crash needs.
    pub(super) fn conclude(&self, record: &Record) -> Result<(), Error> {
        self.replace(RECORD, &serde_json::to_string(record).expect("a record is plain data"))?;
        self.forget()
    }

    /// Concludes, and removes the versions that are old.
    pub(super) fn finish(&self, record: &Record) -> Result<(), Error> {
        let io = |error| self.failed("cannot be tidied", &error);
        self.conclude(record)?;
        let current = fs::read_link(self.path.join(DATA)).map_err(io)?;
        for entry in fs::read_dir(&self.path).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(VERSION_PREFIX));
            let is_version = number
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()));
            if is_version && Path::new(&name) != current {
                fs::remove_dir_all(entry.path()).map_err(io)?;
            }
        }
        Ok(())
    }

    /// Removes what is pending.
    pub(super) fn forget(&self) -> Result<(), Error> {
        match fs::remove_file(self.path.join(PENDING)) {
            Err(error) if error.kind() != IoKind::NotFound => Err(self.failed("cannot be tidied", &error)),
            _ => sync(&self.path).map_err(|error| self.failed("cannot be tidied", &error)),
        }
    }

    /// Replaces a file of our own by a rename, on the disk.
    fn replace(&self, name: &str, text: &str) -> Result<(), Error> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let write = || {
            let mut file =
                OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            sync(&self.path)
        };
        write().map_err(|error| Error::io(format!("{} cannot be written", path.display()), &error))
    }

    fn failed(&self, what: &str, error: &std::io::Error) -> Error {
        Error::io(format!("{} {what}", self.path.display()), error)
    }
}

/// Gives a file to whoever owns the folder, who is the one that reads it. Where it is ours already nothing is asked.
fn give_to(path: &Path, owner: &fs::Metadata) -> std::io::Result<()> {
    let now = fs::metadata(path)?;
    if (now.uid(), now.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
