//! The key of an encrypted repository: from settings and files to what the library takes.
//!
//! A key file holds 32 random bytes, written as 64 hexadecimal digits, so that it can also be printed and put into a
//! safe.

use crate::settings::BackupSettings;
use ops_backup::Key;
use ops_cli::{Exit, Failure};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Far more than any key or passphrase has.
const LONGEST: u64 = 64 << 10;

/// The key that the settings name; None where the repository is not encrypted.
pub(crate) fn given(settings: &BackupSettings) -> Result<Option<Key>, Failure> {
    match (settings.key_file.is_empty(), settings.passphrase.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => Ok(Some(from_file(&file(settings)?)?)),
        (true, false) => passphrase(settings.passphrase.expose_secret()).map(Some),
        (false, false) => Err(Failure::new(Exit::Config, "both a key file and a passphrase are given").hint(
            "keep one of `key_file` and `passphrase`; `ops-backup key add` makes both open the repository",
        )),
    }
}

/// The key file, absolute: PostgreSQL calls us from another directory.
pub(crate) fn file(settings: &BackupSettings) -> Result<PathBuf, Failure> {
    let name = &settings.key_file;
    std::path::absolute(name).map_err(|error| Failure::new(Exit::Config, format!("key file {name}: {error}")))
}

/// Reads a key file.
pub(crate) fn from_file(path: &Path) -> Result<Key, Failure> {
    let bytes = read(path)?;
    raw(&bytes).ok_or_else(|| {
        Failure::new(Exit::Config, format!("{} is no key file", path.display()))
            .hint("it should hold the 64 hexadecimal digits that `ops-backup key new` writes")
    })
}

fn raw(bytes: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(bytes).ok()?.trim().as_bytes();
    let mut key = zeroize::Zeroizing::new([0; 32]);
    if text.len() != 64 {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Key::Raw(key))
}

fn passphrase(text: &str) -> Result<Key, Failure> {
    if text.is_empty() {
        return Err(Failure::new(Exit::Config, "the passphrase is empty"));
    }
    Ok(Key::Passphrase(text.into()))
}

/// What a new key file looks like.
#[derive(Debug)]
pub(crate) struct NewKey {
    /// Where it is.
    pub(crate) file: PathBuf,
}

/// Writes a new random key into `file`, for its owner alone, durably; never over another file.
pub(crate) fn create(file: &Path) -> Result<NewKey, Failure> {
    let cannot = |error: std::io::Error| {
        let failure = Failure::new(
            Exit::CannotCreate,
            format!("key file {} cannot be created: {error}", file.display()),
        );
        if error.kind() == ErrorKind::AlreadyExists {
            return failure
                .hint("it may be the only key of a repository, so it is never overwritten: name another");
        }
        failure
    };
    let mut key = zeroize::Zeroizing::new([0_u8; 32]);
    let mut filled = 0;
    while filled < key.len() {
        filled += rustix::rand::getrandom(&mut key[filled..], rustix::rand::GetRandomFlags::empty())
            .map_err(|error| cannot(error.into()))?;
    }
    let mut text = zeroize::Zeroizing::new(String::with_capacity(65));
    for byte in key.iter() {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(cannot)?;
    open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(cannot)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(cannot)?;
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    Ok(NewKey { file })
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    let cannot = |error: std::io::Error| {
        let failure =
            Failure::new(Exit::Config, format!("key file {} cannot be read: {error}", path.display()));
        match error.kind() {
            ErrorKind::NotFound => failure.hint("`ops-backup key new FILE` makes one for a new repository"),
            ErrorKind::PermissionDenied => {
                failure.hint("PostgreSQL's user archives with it, so that user must be able to read it")
            }
            _ => failure,
        }
    };
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    if metadata.permissions().mode() & 0o004 != 0 {
        tracing::warn!(file = %path.display(), "the key file can be read by every user of this machine: chmod o= it");
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
