//! The in-toto statement around a record, and the rules that a record must keep to become one.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::record::{Record, Subject};
use crate::error::{Error, ErrorKind};

/// The type of an in-toto statement, version 1 (in-toto attestation framework, `spec/v1/statement.md`).
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// The type of this crate's predicate; another layout gets another version.
pub const PREDICATE_TYPE: &str = "urn:ops-toolkit:evidence:v1";

#[derive(Serialize, Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Value,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    predicate: Value,
}

/// The field of a record that stands beside the predicate.
const SUBJECTS: &str = "subjects";

/// Writes the statement: fixed field order, sorted maps, no white space, so equal records give equal bytes.
pub(super) fn to_bytes(record: &Record) -> Result<Vec<u8>, Error> {
    check_subjects(&record.subjects, ErrorKind::InvalidRecord)?;
    if let Some((name, _)) = record.measurements.iter().find(|(_, value)| !value.is_finite()) {
        let message = format!("evidence record has the measurement {name:?} that is not a finite number");
        return Err(Error::new(ErrorKind::InvalidRecord, message));
    }
    let mut predicate = serde_json::to_value(record).expect("a record has only strings, numbers and maps");
    let subject = predicate.as_object_mut().and_then(|fields| fields.remove(SUBJECTS)).unwrap_or_default();
    let statement =
        Statement { kind: STATEMENT_TYPE.into(), subject, predicate_type: PREDICATE_TYPE.into(), predicate };
    Ok(serde_json::to_vec(&statement).expect("a tree of JSON values always serialises"))
}

/// Reads a statement out of bytes that were verified before.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Record, Error> {
    let malformed =
        |what| move |error: serde_json::Error| Error::new(ErrorKind::InvalidEnvelope, what).caused_by(error);
    let Statement { kind, subject, predicate_type, mut predicate } =
        serde_json::from_slice(bytes).map_err(malformed("evidence payload is not an in-toto statement"))?;
    if kind != STATEMENT_TYPE {
        let message = format!("evidence statement has the type {kind:?} instead of {STATEMENT_TYPE:?}");
        return Err(Error::new(ErrorKind::InvalidEnvelope, message));
    }
    if predicate_type != PREDICATE_TYPE {
        let message =
            format!("evidence has the predicate type {predicate_type:?}; known is {PREDICATE_TYPE:?}");
        return Err(Error::new(ErrorKind::UnknownPredicate, message));
    }
    if let Some(fields) = predicate.as_object_mut() {
        fields.insert(SUBJECTS.to_owned(), subject);
    }
    let record: Record =
        serde_json::from_value(predicate).map_err(malformed("evidence predicate cannot be read"))?;
    check_subjects(&record.subjects, ErrorKind::InvalidEnvelope)?;
    Ok(record)
}

fn check_subjects(subjects: &[Subject], kind: ErrorKind) -> Result<(), Error> {
    if subjects.is_empty() {
        return Err(Error::new(kind, "evidence names no subject"));
    }
    let is_pinned = |subject: &Subject| {
        !subject.digest.is_empty()
            && subject.digest.iter().all(|(algorithm, hex)| !algorithm.is_empty() && is_hex(hex))
    };
    match subjects.iter().find(|subject| !is_pinned(subject)) {
        Some(subject) => {
            Err(Error::new(kind, format!("evidence subject {:?} has no digest in hexadecimal", subject.name)))
        }
        None => Ok(()),
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
