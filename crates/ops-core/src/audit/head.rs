//! The head file: the number and the digest of the last line, replaced whole, optionally signed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::chain::Head;
use crate::error::{Error, ErrorKind};
use crate::evidence::{self, Envelope, Record, SigningKey, Subject, VerifyingKey};
use crate::trusted;

/// The version of the form. A reader refuses another one.
const VERSION: u32 = 1;

/// The longest head file.
const MAX_BYTES: u64 = 16 << 10;

/// The kind of the evidence record that signs a head.
const KIND: &str = "audit-head";

/// The attribute that has the number of lines.
const SEQUENCE: &str = "sequence";

/// What the file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadFile {
    version: u32,
    pub(super) sequence: u64,
    digest: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed: Option<Envelope>,
}

impl HeadFile {
    pub(super) fn head(&self) -> Head {
        Head { sequence: self.sequence, digest: self.digest.clone() }
    }

    /// Returns the id of the key that signed the head; none where none of these did.
    pub(super) fn signer(&self, keys: &[VerifyingKey]) -> Option<String> {
        let envelope = self.signed.as_ref()?;
        let is_signed = |key: &&VerifyingKey| {
            envelope.verify(std::slice::from_ref(*key)).is_ok_and(|record| {
                let digest = record.subjects.first().and_then(|subject| subject.digest.get("sha256"));
                record.kind == KIND
                    && digest == Some(&self.digest)
                    && record.attributes.get(SEQUENCE) == Some(&self.sequence.to_string())
            })
        };
        keys.iter().find(is_signed).map(VerifyingKey::id)
    }
}

/// Returns where the head of a log lies.
pub(super) fn path_of(log: &Path) -> PathBuf {
    beside(log, ".head")
}

/// Returns the path with a longer file name.
pub(super) fn beside(log: &Path, suffix: &str) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(suffix);
    PathBuf::from(path)
}

/// Reads the head of a log; none where there is no file. Nobody else may be able to write it.
pub(super) fn read(log: &Path) -> Result<Option<HeadFile>, Error> {
    let path = path_of(log);
    match trusted::read(&path, MAX_BYTES) {
        Ok(bytes) => parse(&path, &bytes).map(Some),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`read`], also from a copy that belongs to somebody else.
pub(super) fn read_copy(log: &Path) -> Result<Option<HeadFile>, Error> {
    let path = path_of(log);
    let mut bytes = Vec::new();
    match File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
        Ok(_) => parse(&path, &bytes).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(Error::new(ErrorKind::Io, format!("cannot read {}", path.display())).caused_by(error))
        }
    }
}

/// Each byte counts: what we would not write is not read.
fn parse(path: &Path, bytes: &[u8]) -> Result<HeadFile, Error> {
    let file: Option<HeadFile> = serde_json::from_slice(bytes).ok();
    file.filter(|file| file.version == VERSION && file.head().is_well_formed() && to_bytes(file) == bytes)
        .ok_or_else(|| {
            let message = format!("head of the audit log in {} cannot be read", path.display());
            Error::new(ErrorKind::BrokenChain, message)
        })
}

/// Replaces the head of a log, and returns when that is durable.
pub(super) fn write(log: &Path, head: &Head, key: Option<&SigningKey>, at: Timestamp) -> Result<(), Error> {
    let signed = key.map(|key| sign(head, key, at)).transpose()?;
    let file = HeadFile { version: VERSION, sequence: head.sequence, digest: head.digest.clone(), signed };
    let path = path_of(log);
    trusted::replace(&path, &to_bytes(&file)).map_err(|error| {
        Error::new(ErrorKind::Io, format!("cannot write {}", path.display())).caused_by(error)
    })
}

fn to_bytes(file: &HeadFile) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(file).expect("numbers and strings always serialise");
    bytes.push(b'\n');
    bytes
}

fn sign(head: &Head, key: &SigningKey, at: Timestamp) -> Result<Envelope, Error> {
    let digest = [("sha256".to_owned(), head.digest.clone())].into();
    let record = Record {
        kind: KIND.to_owned(),
        outcome: evidence::Outcome::Passed,
        tool: concat!("ops-core ", env!("CARGO_PKG_VERSION")).to_owned(),
        started_at: at,
        finished_at: at,
        subjects: vec![Subject { name: "audit log".to_owned(), digest }],
        attributes: [(SEQUENCE.to_owned(), head.sequence.to_string())].into(),
        ..Record::default()
    };
    Envelope::sign(&record, key)
}

/// Tells whether an error says that there is no such file.
pub(super) fn is_missing(error: &Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}
