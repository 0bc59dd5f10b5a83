//! The chain: each record names the envelope before it, and a head kept elsewhere names the last.

use serde::{Deserialize, Serialize};

use super::envelope::Envelope;
use super::key::VerifyingKey;
use super::record::Record;
use crate::error::{Error, ErrorKind};

/// The end of a chain. Keep it apart from the chain: without it, cutting off the end cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many envelopes the chain has.
    pub sequence: u64,
    /// The digest of the last envelope.
    pub digest: String,
}

impl Head {
    /// Returns the head of a chain after one more envelope; `before` is none for the first.
    pub fn after(before: Option<&Self>, envelope: &Envelope) -> Self {
        Self { sequence: before.map_or(0, |head| head.sequence) + 1, digest: envelope.digest() }
    }
}

/// Verifies every envelope and their order, and returns the records.
///
/// With `expected`, the chain must also end exactly there; without it, an end that was cut off is not found.
///
/// # Errors
/// [`ErrorKind::BrokenChain`] where an envelope is missing, moved or replaced; else what [`Envelope::verify`] says,
/// with the position in the message.
pub fn verify<'a>(
    envelopes: impl IntoIterator<Item = &'a Envelope>,
    keys: &[VerifyingKey],
    expected: Option<&Head>,
) -> Result<Vec<Record>, Error> {
    let mut head: Option<Head> = None;
    let mut records = Vec::new();
    for envelope in envelopes {
        let next = Head::after(head.as_ref(), envelope);
        let record = envelope.verify(keys).map_err(|error| {
            Error::new(error.kind(), format!("evidence number {} does not verify", next.sequence))
                .caused_by(error)
        })?;
        if record.previous.as_deref() != head.as_ref().map(|head| head.digest.as_str()) {
            let message = format!("evidence number {} does not follow the one before it", next.sequence);
            return Err(Error::new(ErrorKind::BrokenChain, message));
        }
        records.push(record);
        head = Some(next);
    }
    match expected {
        Some(expected) if head.as_ref() != Some(expected) => {
            let found = head.map_or(0, |head| head.sequence);
            let message =
                format!("evidence chain ends at number {found}, not at the expected {}", expected.sequence);
            Err(Error::new(ErrorKind::BrokenChain, message))
        }
        _ => Ok(records),
    }
}
