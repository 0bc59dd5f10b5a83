//! The signed approval: a DSSE envelope around an evidence record, and the checks that turn it into a permission.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;

use super::approvers::Approvers;
use super::granted::Granted;
use super::request::ApprovalRequest;
use super::terms::{ApprovalId, Terms, invalid, is_same_person};
use crate::error::{Error, ErrorKind};
use crate::evidence::{Envelope, Outcome, Record, SigningKey, Subject, VerifyingKey};

/// The kind of the evidence record. A record of another kind, by whatever key, permits nothing.
pub const KIND: &str = "statement-approval";

/// The longest file that is read.
const MAX_BYTES: usize = 64 << 10;

/// A signed approval. Nothing in it counts before [`Approval::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    envelope: Envelope,
}

impl Approval {
    /// Signs a request. The time and the id are the caller's: the id must never be used twice.
    ///
    /// # Errors
    /// [`ErrorKind::SelfApproval`] where the approver is the principal; [`ErrorKind::InvalidApproval`] where a name, the
    /// reason or the ticket is empty, or the expiry is not within [`MAX_LIFETIME`](super::MAX_LIFETIME).
    pub fn sign(
        request: &ApprovalRequest,
        approver: &str,
        key: &SigningKey,
        now: Timestamp,
        id: ApprovalId,
    ) -> Result<Self, Error> {
        let terms = Terms::of(request, approver, now, id)?;
        terms.check()?;
        // The subject of the evidence is the statement where there is one; else the id stands for what is permitted.
        let subject = match terms.scope.statement_sha256() {
            Some(sha256) => {
                let digest = [("sha256".to_owned(), sha256.to_owned())].into();
                Subject { name: "statement".to_owned(), digest }
            }
            None => Subject::of_bytes("approval", terms.id.as_str().as_bytes()),
        };
        let record = Record {
            kind: KIND.to_owned(),
            outcome: Outcome::Passed,
            tool: concat!("ops-core ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at: now,
            finished_at: now,
            subjects: vec![subject],
            attributes: terms.to_attributes(),
            ..Record::default()
        };
        Ok(Self { envelope: Envelope::sign(&record, key)? })
    }

    /// Returns the approval as one line of JSON, without a line end.
    pub fn to_json(&self) -> Vec<u8> {
        self.envelope.to_json()
    }

    /// Reads an approval from JSON. Nothing is verified yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEnvelope`] where the bytes are not an envelope, or too many.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BYTES {
            let message = format!("approval of {} bytes is longer than any can be", bytes.len());
            return Err(Error::new(ErrorKind::InvalidEnvelope, message));
        }
        Ok(Self { envelope: Envelope::from_json(bytes)? })
    }

    /// Returns what the approval says, for a person to read. Nobody vouches for it.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidEnvelope`] or [`ErrorKind::InvalidApproval`] where it cannot be read.
    pub fn unverified_terms(&self) -> Result<Terms, Error> {
        #[derive(Deserialize)]
        struct Outer {
            payload: String,
        }
        #[derive(Deserialize)]
        struct Statement {
            predicate: Predicate,
        }
        #[derive(Deserialize)]
        struct Predicate {
            kind: String,
            outcome: Outcome,
            started_at: Timestamp,
            attributes: BTreeMap<String, String>,
        }
        let malformed = || Error::new(ErrorKind::InvalidEnvelope, "approval cannot be read");
        let outer: Outer = serde_json::from_slice(&self.to_json()).map_err(|_| malformed())?;
        let payload = BASE64.decode(outer.payload).map_err(|_| malformed())?;
        let statement: Statement =
            serde_json::from_slice(&payload).map_err(|error| malformed().caused_by(error))?;
        let Predicate { kind, outcome, started_at, attributes } = statement.predicate;
        terms(&kind, outcome, started_at, attributes)
    }

    /// Turns the approval into a permission for this principal in this database at this time.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownKey`] or [`ErrorKind::InvalidSignature`] where none of the approvers signed, or another one than
    /// it names; [`ErrorKind::InvalidApproval`] where it is evidence of something else, malformed, or lasts too long;
    /// [`ErrorKind::SelfApproval`] where the approver, or any name of the key that signed, is the principal;
    /// [`ErrorKind::ApprovalForAnother`] where it is for another principal or database;
    /// [`ErrorKind::ApprovalExpired`] and [`ErrorKind::ApprovalNotYetValid`].
    pub fn verify(
        &self,
        approvers: &Approvers,
        principal: &str,
        database: &str,
        now: Timestamp,
    ) -> Result<Granted, Error> {
        let keys: Vec<VerifyingKey> = approvers.iter().map(|(_, key)| key.clone()).collect();
        let record = self
            .envelope
            .verify(&keys)
            .map_err(|error| Error::new(error.kind(), "approval does not verify").caused_by(error))?;
        let signers: Vec<(&str, &VerifyingKey)> = approvers
            .iter()
            .filter(|(_, key)| self.envelope.verify(std::slice::from_ref(key)).is_ok())
            .collect();
        let terms = terms(&record.kind, record.outcome, record.started_at, record.attributes)?;
        terms.check()?;
        let Some((_, key)) = signers.iter().find(|(name, _)| *name == terms.approver) else {
            let message = format!("approval names {:?}, whose key did not sign it", terms.approver);
            return Err(Error::new(ErrorKind::InvalidSignature, message));
        };
        let is_own = |name: &str| is_same_person(name, principal);
        if is_own(&terms.approver) || signers.iter().any(|(name, _)| is_own(name)) {
            let message = format!("approval for {principal:?} is signed with a key of the same name");
            return Err(Error::new(ErrorKind::SelfApproval, message));
        }
        let for_another = |what: &str, other: &str, own: &str| {
            let message = format!("approval is for the {what} {other:?}, and this one is {own:?}");
            Err(Error::new(ErrorKind::ApprovalForAnother, message))
        };
        if terms.principal != principal {
            return for_another("role", &terms.principal, principal);
        }
        if let Some(other) = terms.database.as_deref().filter(|named| *named != database) {
            return for_another("database", other, database);
        }
        if now < terms.not_before {
            let message = format!("approval holds from {} on, and it is {now}", terms.not_before);
            return Err(Error::new(ErrorKind::ApprovalNotYetValid, message));
        }
        if now >= terms.expires_at {
            let message = format!("approval ended at {}, and it is {now}", terms.expires_at);
            return Err(Error::new(ErrorKind::ApprovalExpired, message));
        }
        let lifetime = terms.expires_at.duration_since(terms.issued_at).unsigned_abs();
        if lifetime > approvers.max_lifetime() {
            return Err(invalid("approval lasts longer than the approvers' file allows"));
        }
        Ok(Granted::new(terms, key.id()))
    }
}

fn terms(
    kind: &str,
    outcome: Outcome,
    issued_at: Timestamp,
    attributes: BTreeMap<String, String>,
) -> Result<Terms, Error> {
    if kind != KIND || outcome != Outcome::Passed {
        return Err(invalid(format!("evidence of kind {kind:?} is not an approval")));
    }
    Terms::from_attributes(attributes, issued_at)
}
