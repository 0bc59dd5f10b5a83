//! The run directory, in an order that a crash at any time leaves BLOCKED behind.
//!
//! `verdict.json` is created first, saying BLOCKED, and replaced last, when everything that it rests on is on disk.

use super::event::Event;
use crate::error::{Error, ErrorKind};
use crate::record::RunRecord;
use ops_core::evidence::sha256_hex;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file that a deployment looks at.
pub const VERDICT: &str = "verdict.json";
/// What happened, one event a line.
pub const EVENTS: &str = "events.jsonl";
/// The report for machines that know JUnit.
pub const JUNIT: &str = "junit.xml";
/// The report for machines that know TAP.
pub const TAP: &str = "results.tap";
/// The report for people.
pub const SUMMARY: &str = "summary.md";
/// The signed envelope, where a key was given.
pub const EVIDENCE: &str = "evidence.json";
/// Signed statements about the subject, where a key was given and the plan names one.
pub const ATTESTATIONS: &str = "attestations";
/// One file a gate with output.
pub const LOGS: &str = "logs";

/// A run directory that is being written.
pub(crate) struct RunDirectory {
    path: PathBuf,
    events: File,
}

impl RunDirectory {
    /// Claims a directory for one run, and leaves BLOCKED in it.
    ///
    /// # Errors
    /// [`ErrorKind::RunDirectory`] where it cannot be created or already holds a run: evidence is never overwritten.
    pub(crate) fn create(path: &Path, record: &RunRecord) -> Result<Self, Error> {
        let cannot = |operation: &'static str| {
            move |error: io::Error| Error::io(ErrorKind::RunDirectory, operation, path, error)
        };
        fs::create_dir_all(path).map_err(cannot("create run directory"))?;
        let holds_a_run = || {
            Error::new(
                ErrorKind::RunDirectory,
                format!("run directory {} already holds a run", path.display()),
            )
        };
        if path.join(VERDICT).exists() {
            return Err(holds_a_run());
        }
        // Of two runs that want the directory at once, one creates this.
        match fs::create_dir(path.join(LOGS)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(holds_a_run()),
            created => created.map_err(cannot("create run directory"))?,
        }
        // Evidence inside a repository must not make the subject one with changes that are not committed.
        fs::write(path.join(".gitignore"), "*\n").map_err(cannot("write to run directory"))?;
        let verdict = json(record).map_err(cannot("write to run directory"))?;
        put(path, VERDICT, &verdict).map_err(cannot("write to run directory"))?;
        let events = File::create_new(path.join(EVENTS)).map_err(cannot("write to run directory"))?;
        Ok(Self { path: path.to_path_buf(), events })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the output of a gate goes, and its path relative to the directory.
    pub(crate) fn log(&self, gate: &str, attempt: u32) -> (PathBuf, String) {
        let number = if attempt == 1 { String::new() } else { format!(".{attempt}") };
        let relative = format!("{LOGS}/{gate}{number}.log");
        (self.path.join(&relative), relative)
    }

    /// Writes an event, and returns the digest of its line.
    pub(crate) fn append(&mut self, event: &Event) -> Result<String, Error> {
        let mut line = serde_json::to_vec(event).expect("an event has only plain data");
        let digest = sha256_hex(&line);
        line.push(b'\n');
        self.events.write_all(&line).map_err(|error| self.not_written(EVENTS, error))?;
        Ok(digest)
    }

    pub(crate) fn sync_events(&self) -> Result<(), Error> {
        self.events.sync_all().map_err(|error| self.not_written(EVENTS, error))
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        put(&self.path, name, bytes).map_err(|error| self.not_written(name, error))
    }

    fn not_written(&self, name: &str, error: io::Error) -> Error {
        Error::io(ErrorKind::EvidenceNotWritten, "write", &self.path.join(name), error)
    }
}

/// The bytes of `verdict.json`.
pub(crate) fn json(record: &RunRecord) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(record)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Writes a file so that it is either whole or as it was before, also after a power failure.
pub(crate) fn put(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = directory.join(name);
    let (Some(folder), Some(file_name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    if folder != directory {
        fs::create_dir_all(folder)?;
        File::open(directory)?.sync_all()?;
    }
    let temporary = folder.join(format!(".{}.part", file_name.to_string_lossy()));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(folder)?.sync_all()
}
