//! What a person says about a change, and signs: yes or no, for which commit, until when.

use crate::error::{Error, ErrorKind};
use crate::gate::Subject;
use crate::value::Span;
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::{self, Envelope, Outcome, Record, SigningKey};

/// The kind of the record.
pub(super) const KIND: &str = "change-approval";

pub(super) const APPROVER: &str = "approver";
pub(super) const ENVIRONMENT: &str = "environment";
pub(super) const EXPIRES_AT: &str = "expires_at";
pub(super) const INCIDENT: &str = "incident";
const REASON: &str = "reason";

/// Approves or rejects a change; `kind = "approval"` counts it.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Who decides, by the name in the list of approvers.
    pub approver: String,
    /// What is decided about: a commit, an artifact, or both.
    pub subject: Subject,
    /// Whether it is a yes. A no blocks, whoever else says yes.
    pub approve: bool,
    /// Why, in a sentence.
    pub reason: String,
    /// The environment that it is for; without one, it counts only where no environment is asked for.
    pub environment: Option<String>,
    /// How long it holds.
    pub expires_in: Span,
    /// The incident because of which a window may be opened out of hours.
    pub incident: Option<String>,
}

impl Decision {
    /// The bytes of the signed envelope.
    ///
    /// # Errors
    /// [`ErrorKind::EvidenceNotWritten`] where the approver, the reason or the digest is missing or is not one.
    pub fn sign(&self, key: &SigningKey, now: Timestamp) -> Result<Vec<u8>, Error> {
        let refuse = |what: &str| {
            Error::new(ErrorKind::EvidenceNotWritten, format!("cannot sign the decision: {what}"))
        };
        if self.approver.trim().is_empty() || self.reason.trim().is_empty() {
            return Err(refuse("it needs an approver and a reason"));
        }
        if !self.approve && self.incident.is_some() {
            return Err(refuse("an incident opens a window, and a no opens nothing"));
        }
        let length = SignedDuration::try_from(self.expires_in.get())
            .map_err(|error| refuse("it has no end").because(error))?;
        let expires_at = now.checked_add(length).map_err(|error| refuse("it has no end").because(error))?;
        let given =
            |name: &str, value: &Option<String>| value.as_ref().map(|value| (name.to_owned(), value.clone()));
        let attributes = [
            Some((APPROVER.to_owned(), self.approver.clone())),
            Some((REASON.to_owned(), self.reason.clone())),
            Some((EXPIRES_AT.to_owned(), expires_at.to_string())),
            given(ENVIRONMENT, &self.environment),
            given(INCIDENT, &self.incident),
        ];
        let record = Record {
            kind: KIND.to_owned(),
            outcome: if self.approve { Outcome::Passed } else { Outcome::Failed },
            tool: concat!("ops-gates ", env!("CARGO_PKG_VERSION")).to_owned(),
            started_at: now,
            finished_at: now,
            subjects: vec![evidence::Subject {
                name: self.subject.name.clone(),
                digest: self.subject.digest.clone(),
            }],
            attributes: attributes.into_iter().flatten().collect(),
            ..Record::default()
        };
        let envelope =
            Envelope::sign(&record, key).map_err(|error| refuse("its digest is not one").because(error))?;
        let mut bytes = envelope.to_json();
        bytes.push(b'\n');
        Ok(bytes)
    }
}
