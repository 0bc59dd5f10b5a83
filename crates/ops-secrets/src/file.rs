//! One small file that holds one value: read without waiting, with its mode and owner, less the line end at its end.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes that the file of a value may have.
pub(crate) const MAX_SECRET_FILE: u64 = 64 * 1024;

/// What is told of a value whose file ended in a line end.
pub(crate) const LINE_END_CUT: &str = "one line end at the end of its file was taken off";

/// The content of a file, and who else has a hand in it.
pub(crate) struct SecretFile {
    pub(crate) text: Zeroizing<String>,
    /// One line end at the end was taken off.
    pub(crate) cut: bool,
    pub(crate) exposure: Exposure,
}

/// Who else can read or change a file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exposure {
    /// The permission bits, where others than the owner can read.
    pub(crate) mode: Option<u32>,
    /// The owner, where it is neither this process's user nor root.
    pub(crate) owner: Option<u32>,
}

/// Why the value cannot be read; its text continues a sentence whose subject is the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    Failed(io::ErrorKind),
    NotRegular,
    MoreThan(u64),
    NotUtf8,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(kind) => write!(f, "cannot be read ({kind})"),
            Self::NotRegular => f.write_str("is not a regular file"),
            Self::MoreThan(bytes) => write!(f, "has more than {bytes} bytes"),
            Self::NotUtf8 => f.write_str("is not UTF-8"),
        }
    }
}

/// Reads the file of a value in settings.
pub(crate) fn read(path: &Path) -> Result<SecretFile, Unread> {
    read_up_to(path, MAX_SECRET_FILE)
}

/// Reads a file of at most so many bytes.
pub(crate) fn read_up_to(path: &Path, most: u64) -> Result<SecretFile, Unread> {
    let failed = |error: io::Error| Unread::Failed(error.kind());
    let file = open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Unread::NotRegular);
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(Unread::MoreThan(most));
    }
    let text = str::from_utf8(&bytes).map_err(|_| Unread::NotUtf8)?;
    let kept = without_line_end(text);
    let cut = kept.len() < text.len();
    Ok(SecretFile { text: Zeroizing::new(kept.to_owned()), cut, exposure: exposure(&metadata) })
}

/// A text less one line end at its end: editors and `echo` add it. Spaces are kept, for they may be meant.
pub(crate) fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // A FIFO would else keep the program waiting for a writer.
    let flags = rustix::fs::OFlags::NONBLOCK.bits();
    fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    fs::File::open(path)
}

/// Who else can read or change the file.
#[cfg(unix)]
pub(crate) fn exposure(metadata: &Metadata) -> Exposure {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let (mode, owner) = (metadata.permissions().mode() & 0o777, metadata.uid());
    let trusted = owner == 0 || owner == rustix::process::geteuid().as_raw();
    Exposure { mode: Some(mode).filter(|mode| mode & 0o044 != 0), owner: Some(owner).filter(|_| !trusted) }
}

/// Who else can read or change the file; not known on this system.
#[cfg(not(unix))]
pub(crate) fn exposure(_: &Metadata) -> Exposure {
    Exposure::default()
}
