//! A folder in `/tmp` that outlives a test run: cluster templates and copies of programs. Only its safety is here.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind as Io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind};
use crate::user::TestUser;

/// Returns `<cache>/<name>/<version>`, made by `make` the first time. Other versions of the same name are removed.
///
/// Two processes may ask at once: one makes the entry while the other waits, and a half-made entry is never seen.
pub(crate) fn entry(
    user: TestUser,
    name: &str,
    version: &str,
    make: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let cache = open(user)?;
    let folder = cache.join(name);
    let entry = folder.join(version);
    let lock_path = cache.join(format!("{name}.lock"));
    let lock = File::options().create(true).append(true).open(&lock_path);
    let lock = lock.map_err(|e| Error::io("open", &lock_path, e))?;
    user.own(&lock_path)?;
    // The lock goes with its file, also when this process is killed.
    lock.lock().map_err(|e| Error::io("lock", &lock_path, e))?;
    if entry.exists() {
        return Ok(entry);
    }
    remove(&folder)?;
    let partial = cache.join(format!("{name}.partial"));
    remove(&partial)?;
    user.create_dir(&folder)?;
    user.create_dir(&partial)?;
    make(&partial)?;
    fs::rename(&partial, &entry).map_err(|e| Error::io("rename", &partial, e))?;
    Ok(entry)
}

/// Opens the cache of a user, and refuses one that somebody else has put there.
fn open(user: TestUser) -> Result<PathBuf, Error> {
    let cache = PathBuf::from(format!("/tmp/ops-testkit-{}", user.uid()));
    match DirBuilder::new().mode(0o700).create(&cache) {
        Err(e) if e.kind() != Io::AlreadyExists => return Err(Error::io("create", &cache, e)),
        _ => {}
    }
    let meta = fs::symlink_metadata(&cache).map_err(|e| Error::io("read", &cache, e))?;
    let me = rustix::process::geteuid().as_raw();
    if !meta.is_dir() || meta.mode() & 0o077 != 0 || (meta.uid() != user.uid() && meta.uid() != me) {
        let message = format!("{} is not a private directory of the test user: remove it", cache.display());
        return Err(Error::new(ErrorKind::Io, message));
    }
    user.own(&cache)?;
    Ok(cache)
}

fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != Io::NotFound => Err(Error::io("remove", folder, e)),
        _ => Ok(()),
    }
}
