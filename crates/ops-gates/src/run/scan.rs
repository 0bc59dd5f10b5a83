//! The last look before the verdict: no file of the run directory may hold a secret.
//!
//! Everything was masked before it was written; this finds what slipped through, such as a file that a gate put there
//! itself. The file is removed, the run has no evidence, and BLOCKED stays on disk.

use crate::error::{Error, ErrorKind};
use crate::process::Masker;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// How much of a file is looked at at once.
const PIECE: usize = 1 << 20;

/// How much of the piece before is looked at again, so that a secret on the edge is found; the longest that is masked
/// has 16 KiB, and more in base64 or escaped.
const OVERLAP: usize = 128 * 1024;

/// Looks for secrets in every file below a directory, and in the bytes that are about to be written to it.
///
/// # Errors
/// [`ErrorKind::EvidenceNotWritten`] where one was found, after its file was removed, or a file cannot be read.
pub(super) fn scan(directory: &Path, pending: &[u8], masker: &Masker) -> Result<(), Error> {
    let mut found = Vec::new();
    look(directory, masker, &mut found)
        .map_err(|error| Error::io(ErrorKind::EvidenceNotWritten, "look for secrets in", directory, error))?;
    for path in &found {
        fs::remove_file(path)
            .map_err(|error| Error::io(ErrorKind::EvidenceNotWritten, "remove", path, error))?;
    }
    let mut names: Vec<String> =
        found.iter().map(|path| path.strip_prefix(directory).unwrap_or(path).display().to_string()).collect();
    if is_masked(pending, masker) {
        names.push("the verdict".to_owned());
    }
    if names.is_empty() {
        return Ok(());
    }
    let message = format!("a secret stands in {} of run {}", names.join(", "), directory.display());
    Err(Error::new(ErrorKind::EvidenceNotWritten, message))
}

fn look(directory: &Path, masker: &Masker, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            look(&entry.path(), masker, found)?;
        } else if kind.is_file() && holds_a_secret(&entry.path(), masker)? {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn holds_a_secret(path: &Path, masker: &Masker) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut window = Vec::new();
    loop {
        let kept = window.len().min(OVERLAP);
        window.drain(..window.len() - kept);
        let read = file.by_ref().take(PIECE as u64).read_to_end(&mut window)?;
        if read == 0 {
            return Ok(false);
        }
        if is_masked(&window, masker) {
            return Ok(true);
        }
    }
}

fn is_masked(bytes: &[u8], masker: &Masker) -> bool {
    let mut masked = bytes.to_vec();
    masker(&mut masked);
    masked != bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn masker() -> Masker {
        Arc::new(|bytes: &mut Vec<u8>| {
            if let Some(at) = bytes.windows(6).position(|window| window == b"secret") {
                bytes.splice(at..at + 6, *b"[redacted]");
            }
        })
    }

    #[test]
    fn a_secret_is_found_wherever_it_stands() {
        for before in [0, 7, PIECE - 6, PIECE - 3, PIECE, 2 * PIECE + 1] {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("deep");
            fs::create_dir(&path).expect("a directory");
            let mut bytes = vec![b'x'; before];
            bytes.extend_from_slice(b"secret and more");
            fs::write(path.join("log"), bytes).expect("a file");
            fs::write(path.join("clean"), "nothing here").expect("a file");
            let error = scan(directory.path(), b"", &masker()).expect_err("a secret");
            assert!(error.to_string().contains("deep/log of run"), "{error}");
            assert!(!path.join("log").exists() && path.join("clean").exists());
            assert!(scan(directory.path(), b"", &masker()).is_ok());
        }
    }

    #[test]
    fn a_secret_in_the_verdict_is_never_written() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(scan(directory.path(), b"{\"reason\":\"secret\"}", &masker()).is_err());
    }
}
