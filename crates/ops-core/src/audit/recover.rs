//! Going on after a crash within a line: a decision of a person's, and itself a line of the log.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::chain::Head;
use super::entry::{Entry, TornBytes};
use super::head;
use super::lines::MAX_LINE_BYTES;
use super::log::{AuditLog, AuditLogOptions};
use crate::error::{Error, ErrorKind};
use crate::trusted;

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// How many bytes were moved aside.
    pub bytes: u64,
    /// The file that has them now.
    pub file: PathBuf,
    /// The head after the line that says so.
    pub head: Head,
}

/// Moves the bytes that a crash left behind the last whole line to `<log>.torn-<number>`, and appends a line that says so.
///
/// It returns none where nothing was torn. A recovery that was itself interrupted is finished by the next one. The torn
/// line was never acknowledged, so what it announced was not done.
///
/// # Errors
/// [`ErrorKind::BrokenChain`] where more is wrong than a torn end: then nothing is changed. [`ErrorKind::AlreadyExists`]
/// where a file of that name has other bytes. Else as [`AuditLog::open_with`].
pub fn recover(path: &Path, options: AuditLogOptions, at: Timestamp) -> Result<Option<Recovery>, Error> {
    let log = AuditLog::unread(path, options)?;
    log.with_lock(|state| {
        let (torn, standing) = log.read_on(state)?;
        let aside = left_over(path, &state.chain.head);
        let bytes = if let Some(bytes) = torn {
            keep(&aside, &bytes)?;
            // Only now, when the bytes are durable elsewhere.
            log.cut(state)?;
            bytes
        } else {
            match trusted::read(&aside, MAX_LINE_BYTES as u64 + 1) {
                Ok(bytes) => bytes,
                Err(error) if head::is_missing(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        };
        let file = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sha256 = crate::digest::sha256_hex(&bytes);
        let torn = TornBytes { file, bytes: bytes.len() as u64, sha256 };
        let head = log.write(state, Entry::recovered(at, torn), standing)?;
        Ok(Some(Recovery { bytes: bytes.len() as u64, file: aside, head }))
    })
}

/// Returns the file for the torn bytes behind this head. Where it is there, a recovery was begun and not finished.
pub(super) fn left_over(log: &Path, head: &Head) -> PathBuf {
    head::beside(log, &format!(".torn-{}", head.sequence + 1))
}

/// Writes the torn bytes to a file that is there whole or not at all. One that has them already is left by an
/// interrupted attempt.
fn keep(aside: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot write {}", aside.display())).caused_by(error)
    };
    match trusted::read(aside, MAX_LINE_BYTES as u64 + 1) {
        Ok(known) if known == bytes => return trusted::sync_folder_of(aside).map_err(failed),
        Ok(_) => {
            let message = format!("cannot write {}: it has other bytes", aside.display());
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        Err(error) if head::is_missing(&error) => {}
        Err(error) => return Err(error),
    }
    trusted::replace(aside, bytes).map_err(failed)
}
