//! The DSSE envelope: signatures over the exact bytes of a payload, verified before anything is parsed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::key::{SigningKey, VerifyingKey};
use super::record::Record;
use super::statement;
use crate::error::{Error, ErrorKind};

/// The media type of the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A signed record, as it lies on disk (DSSE: Dead Simple Signing Envelope, version 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which key signed. A hint only: it is not covered by the signature.
    #[serde(default)]
    pub keyid: String,
    /// The signature in base64.
    pub sig: String,
}

impl Envelope {
    /// Signs a record.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRecord`] where the record has no subject, a subject has no digest, or a measurement
    /// is not finite.
    pub fn sign(record: &Record, key: &SigningKey) -> Result<Self, Error> {
        Ok(Self::sign_statement(&statement::to_bytes(record)?, key))
    }

    /// Signs the bytes of an in-toto statement with a predicate of its own, for readers that know that predicate.
    pub fn sign_statement(statement: &[u8], key: &SigningKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(PAYLOAD_TYPE, statement));
        Self {
            payload_type: PAYLOAD_TYPE.to_owned(),
            payload: BASE64.encode(statement),
            signatures: vec![Signature { keyid: key.verifying_key().id(), sig: BASE64.encode(signature) }],
        }
    }

    /// Returns the record, if one of the keys signed it.
    ///
    /// The signature is checked over the payload's bytes, and the record is parsed from those same bytes.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownKey`] where none of the keys signed, [`ErrorKind::InvalidSignature`] where one is named but
    /// its signature does not fit, [`ErrorKind::UnknownPredicate`] where the record is of another kind or version, and
    /// [`ErrorKind::InvalidEnvelope`] where it is malformed or names no digest.
    pub fn verify(&self, keys: &[VerifyingKey]) -> Result<Record, Error> {
        statement::from_bytes(&self.verified_statement(keys)?)
    }

    /// Returns the bytes of the in-toto statement, whatever its predicate, if one of the keys signed it.
    ///
    /// # Errors
    /// As [`Envelope::verify`], but for what is inside the statement.
    pub fn verified_statement(&self, keys: &[VerifyingKey]) -> Result<Vec<u8>, Error> {
        if self.payload_type != PAYLOAD_TYPE {
            let message = format!("evidence envelope has the payload type {:?}", self.payload_type);
            return Err(Error::new(ErrorKind::InvalidEnvelope, message));
        }
        let payload = BASE64.decode(&self.payload).map_err(|error| {
            Error::new(ErrorKind::InvalidEnvelope, "evidence payload is not base64").caused_by(error)
        })?;
        let message = pre_authentication_encoding(&self.payload_type, &payload);
        let holds = |signature: &Signature| match BASE64.decode(&signature.sig) {
            Ok(bytes) => keys.iter().any(|key| key.verify(&message, &bytes)),
            Err(_) => false,
        };
        if self.signatures.iter().any(holds) {
            return Ok(payload);
        }
        let names_known_key = |signature: &Signature| keys.iter().any(|key| key.id() == signature.keyid);
        Err(if self.signatures.iter().any(names_known_key) {
            Error::new(ErrorKind::InvalidSignature, "evidence signature does not fit the payload")
        } else {
            Error::new(ErrorKind::UnknownKey, "evidence is not signed by one of the given keys")
        })
    }

    /// Returns the signatures.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns the envelope as one line of JSON, without a line end.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an envelope has only strings")
    }

    /// Reads an envelope from JSON. Nothing is verified yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEnvelope`] where the bytes are not an envelope.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|error| {
            Error::new(ErrorKind::InvalidEnvelope, "evidence envelope cannot be read").caused_by(error)
        })
    }

    /// Returns the SHA-256 of [`Envelope::to_json`] in hexadecimal: what the next record of a chain names as `previous`.
    pub fn digest(&self) -> String {
        crate::digest::sha256_hex(&self.to_json())
    }
}

/// DSSE's pre-authentication encoding: `DSSEv1 SP LEN(type) SP type SP LEN(body) SP body`.
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_the_example_of_the_specification() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
