//! `evidence`: keys and records of rehearsals.

use super::Answered;
use crate::args::EvidenceAction;
use crate::render::Answer;
use crate::settings::BackupSettings;
use ops_cli::{Exit, Failure};
use ops_core::evidence::{Envelope, Record, SigningKey, VerifyingKey};
use std::path::{Path, PathBuf};

pub(super) fn run(action: EvidenceAction) -> Answered {
    match action {
        EvidenceAction::Key { dir } => Ok((new_key(&dir)?, Exit::Done)),
        EvidenceAction::Verify { file, key } => verify_record(&file, &key),
    }
}

fn new_key(dir: &Path) -> Result<Answer, Failure> {
    let create = |error: std::io::Error| {
        Failure::new(Exit::CannotCreate, format!("folder {} cannot be created: {error}", dir.display()))
    };
    std::fs::create_dir_all(dir).map_err(create)?;
    let fail = |error: ops_core::Error| Failure::from_error(Exit::CannotCreate, &error);
    let (private, public) = (dir.join("signing.pem"), dir.join("signing.pub.pem"));
    let key = SigningKey::generate().map_err(fail)?;
    key.write_file(&private).map_err(fail)?;
    key.verifying_key().write_file(&public).map_err(fail)?;
    Ok(Answer::SigningKey { private, public, id: key.verifying_key().id() })
}

fn verify_record(file: &Path, key: &Path) -> Answered {
    let key = VerifyingKey::from_file(key).map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(Exit::Input, format!("record {} cannot be read: {error}", file.display()))
    })?;
    let envelope = Envelope::from_json(&bytes).map_err(|error| Failure::from_error(Exit::Input, &error))?;
    let record = envelope.verify(&[key]).map_err(|error| Failure::from_error(Exit::No, &error))?;
    Ok((Answer::Rehearsed { record: Box::new(record), evidence: Some(file.to_path_buf()) }, Exit::Done))
}

/// Signs records and writes them.
pub(super) struct Signer {
    key: SigningKey,
    folder: PathBuf,
}

/// The signer that the settings name; None where records stay unsigned.
pub(super) fn signer(settings: &BackupSettings) -> Result<Option<Signer>, Failure> {
    match (settings.signing_key.as_str(), settings.evidence_dir.as_str()) {
        ("", "") => {
            tracing::warn!("the record will not be signed: `signing_key` and `evidence_dir` are not set");
            Ok(None)
        }
        ("", _) | (_, "") => {
            Err(Failure::new(Exit::Config, "a signed record needs both `signing_key` and `evidence_dir`"))
        }
        (key, folder) => {
            let key = SigningKey::from_file(Path::new(key)).map_err(|error| {
                Failure::from_error(Exit::Config, &error)
                    .hint("`ops-backup evidence key DIR` makes a key pair")
            })?;
            Ok(Some(Signer { key, folder: PathBuf::from(folder) }))
        }
    }
}

impl Signer {
    /// Writes the envelope under a name that sorts by time; it is durable when this returns.
    pub(super) fn write(&self, record: &Record) -> Result<PathBuf, Failure> {
        let envelope =
            Envelope::sign(record, &self.key).map_err(|error| Failure::from_error(Exit::Io, &error))?;
        let time = record.finished_at.strftime("%Y%m%dT%H%M%S%3fZ");
        let path = self.folder.join(format!("{}-{time}.json", record.kind));
        let partial = path.with_extension("partial");
        let write = || {
            std::fs::create_dir_all(&self.folder)?;
            std::fs::write(&partial, envelope.to_json())?;
            std::fs::File::open(&partial)?.sync_all()?;
            std::fs::rename(&partial, &path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| {
            Failure::new(Exit::Io, format!("evidence {} cannot be written: {error}", path.display()))
        })?;
        Ok(path)
    }
}
