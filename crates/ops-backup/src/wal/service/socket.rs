//! Where the socket of a WAL directory is, and who may be at its other end.
//!
//! Its name is made of the device and inode of the WAL directory, so that client and service find each other whatever path
//! each was given. Its directory is `/run/ops-backup` where that belongs to the user, else one of the user's own in `/tmp`;
//! it is not in the data directory, because `pg_rewind` copies whatever it finds there and fails at a socket.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use tokio::net::{UnixListener, UnixStream};

use crate::error::{Error, ErrorKind, Result};

/// The version of what is spoken stands in the name: a client of another version finds no service.
const VERSION: u32 = 1;

/// The name of the socket of `wal_directory`.
pub(super) fn name(wal_directory: &Path) -> io::Result<String> {
    let directory = fs::metadata(wal_directory)?;
    Ok(format!("wal-{VERSION}-{:x}-{:x}.sock", directory.dev(), directory.ino()))
}

/// The directories in which a socket may be, the preferred one first.
pub(super) fn directories(configured: Option<&Path>) -> Vec<PathBuf> {
    let own = || PathBuf::from(format!("/tmp/ops-backup-{}", rustix::process::geteuid().as_raw()));
    configured.map_or_else(|| vec![PathBuf::from("/run/ops-backup"), own()], |path| vec![path.to_owned()])
}

/// Whether nobody but this user and root can put anything into `directory`.
pub(super) fn is_private(directory: &Path) -> bool {
    fs::symlink_metadata(directory)
        .is_ok_and(|meta| meta.is_dir() && is_trusted(meta.uid()) && meta.mode() & 0o022 == 0)
}

/// Whether `user` may give us answers, or orders.
pub(super) fn is_trusted(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// A socket on which nobody else listens.
#[derive(Debug)]
pub(super) struct Endpoint {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the socket is ours.
    _lock: fs::File,
}

impl Endpoint {
    pub(super) fn bind(wal_directory: &Path, configured: Option<&Path>) -> Result<Self> {
        let directory = directory(configured)?;
        let name =
            name(wal_directory).map_err(|error| Error::io(format!("look at {wal_directory:?}"), error))?;
        let path = directory.join(name);
        let lock = lock(&path.with_extension("lock"), wal_directory)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove the old socket {path:?}"), error));
            }
            // One that a killed service left, or none.
            _ => {}
        }
        let failed = |error| Error::io(format!("listen on {path:?}"), error);
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Endpoint { listener, path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the next client; `None` for one that has no business here.
    pub(super) async fn accept(&self) -> Result<Option<UnixStream>> {
        let (stream, _) = self
            .listener
            .accept()
            .await
            .map_err(|error| Error::io(format!("accept a client on {:?}", self.path), error))?;
        let user = stream.peer_cred().map(|peer| peer.uid()).ok();
        if user.is_some_and(is_trusted) {
            return Ok(Some(stream));
        }
        tracing::warn!(user, "a client of another user was turned away");
        Ok(None)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // The lock is still held: this is our own socket.
        let _ = fs::remove_file(&self.path);
    }
}

fn directory(configured: Option<&Path>) -> Result<PathBuf> {
    let candidates = directories(configured);
    for directory in &candidates {
        // Where it is there already, or cannot be made, the look at it decides.
        let _ = fs::DirBuilder::new().mode(0o700).create(directory);
        let writable = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok();
        if is_private(directory) && writable {
            return Ok(directory.clone());
        }
    }
    let names: Vec<String> = candidates.iter().map(|path| format!("{path:?}")).collect();
    let message =
        format!("{} is no directory that only this user can write; the socket needs one", names.join(" or "));
    Err(Error::new(ErrorKind::Configuration, message))
}

fn lock(path: &Path, wal_directory: &Path) -> Result<fs::File> {
    let failed = |error| Error::io(format!("lock {path:?}"), error);
    let file = fs::File::create(path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Error::new(ErrorKind::Busy, format!("another WAL service serves {wal_directory:?}")))
        }
        Err(error) => Err(failed(error.into())),
    }
}
