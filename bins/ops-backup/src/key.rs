//! The key of an encrypted repository: from settings and files to what the library takes.
//!
//! A key file holds 32 random bytes, written as 64 hexadecimal digits, so that it can also be printed and put into a
//! safe.

use crate::failed::failed;
use crate::settings::BackupSettings;
use ops_backup::Key;
use ops_cli::{Exit, Failure};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

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
    Key::from_file_bytes(&read(path)?).map_err(|error| {
        let failure = Failure::new(Exit::Config, format!("key file {}: {error}", path.display()));
        failure
            .hint("`ops-backup key new FILE` writes one; a passphrase is set with OPS_BACKUP_PASSPHRASE_FILE")
    })
}

/// Reads a passphrase from a file; one line end at its end is not part of it.
pub(crate) fn passphrase_from_file(path: &Path) -> Result<Key, Failure> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Failure::new(Exit::Config, format!("passphrase file {} is not text", path.display())))?;
    passphrase(text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text)))
}

fn passphrase(text: &str) -> Result<Key, Failure> {
    Key::passphrase(text.into()).map_err(|error| Failure::from_error(Exit::Config, &error))
}

/// Writes a new random key into `file`, for its owner alone, durably; never over another file. Returns where it is.
pub(crate) fn create(file: &Path) -> Result<PathBuf, Failure> {
    let cannot = |error: std::io::Error| {
        let failure = Failure::new(
            Exit::CannotCreate,
            format!("key file {} cannot be created: {error}", file.display()),
        );
        match error.kind() {
            ErrorKind::AlreadyExists => failure.hint(
                "it may be the only key of a repository, so it is never overwritten: name another file",
            ),
            _ => failure,
        }
    };
    let Key::Raw(key) = Key::generate().map_err(|error| failed(&error))? else {
        return Err(Failure::new(Exit::Bug, "a new key is no random key"));
    };
    let mut text = Zeroizing::new(String::with_capacity(65));
    for byte in key.iter() {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(cannot)?;
    open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(cannot)?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(cannot)?;
    Ok(std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf()))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
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
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LONGEST).read_to_end(&mut bytes).map_err(cannot)?;
    Ok(bytes)
}
