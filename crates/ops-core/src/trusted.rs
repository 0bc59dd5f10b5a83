//! Files on which trust rests: opened only where nobody else could have written them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::{Error, ErrorKind};

/// Opens a file as told, but never through a symbolic link, and refuses it where somebody else can write it.
pub(crate) fn open(path: &Path, options: &mut OpenOptions) -> Result<File, Error> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let file = options.custom_flags(flags).open(path).map_err(|error| {
        if rustix::io::Errno::from_io_error(&error) == Some(rustix::io::Errno::LOOP) {
            return refused(path, "is a symbolic link");
        }
        Error::new(ErrorKind::Io, format!("cannot open {}", path.display())).caused_by(error)
    })?;
    let metadata = file.metadata().map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot look at {}", path.display())).caused_by(error)
    })?;
    match fault(&metadata) {
        Some(fault) => Err(refused(path, fault)),
        None => Ok(file),
    }
}

/// Reads a file of at most so many bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let file = open(path, OpenOptions::new().read(true))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot read {}", path.display())).caused_by(error)
    })?;
    if bytes.len() as u64 > limit {
        return Err(refused(path, "is much longer than such a file can be"));
    }
    Ok(bytes)
}

/// Puts a file of its owner's alone in place of what has that name, whole or not at all, and returns when that is durable.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    // One that a crash left is removed and not written into: it may be a link by now.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    sync_folder_of(path)
}

/// Makes the entries of a file's folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn refused(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::UnsafeFile, format!("file {} {what}", path.display()))
}

fn fault(metadata: &Metadata) -> Option<&'static str> {
    let owner = metadata.uid();
    if !metadata.is_file() {
        Some("is not a regular file")
    } else if metadata.mode() & 0o022 != 0 {
        Some("can be written by its group or by everyone")
    } else if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        Some("belongs to another user")
    } else if metadata.nlink() > 1 {
        Some("has a second name (a hard link)")
    } else {
        None
    }
}
