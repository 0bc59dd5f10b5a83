//! Waivers: a person's signed word that one gate need not pass for one subject, for a while. Shown in every report.

use super::{Approver, Policy};
use crate::error::{Error, ErrorKind};
use crate::gate::Subject;
use jiff::Timestamp;
use ops_core::evidence::{self, Envelope, Record, SigningKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The kind of the evidence record of a waiver.
pub const WAIVER_KIND: &str = "gate-waiver";

const ENVELOPE_LIMIT: u64 = 1024 * 1024;

/// A gate that need not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiver {
    /// The gate's id.
    pub gate: String,
    /// What it holds for, and for nothing else.
    pub subject: Subject,
    /// Why.
    pub reason: String,
    /// The name of who says so.
    pub approver: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Why a gate that did not pass does not block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "excuse", rename_all = "snake_case")]
pub enum Excuse {
    /// A person waived it.
    Waived {
        /// The name of who says so.
        approver: String,
        /// Why.
        reason: String,
        /// When the waiver ends.
        expires_at: Timestamp,
    },
    /// Its `when` was shown not to be so.
    NotApplicable {
        /// What was seen.
        evidence: String,
    },
}

impl Waiver {
    /// Signs the waiver; the bytes are a file for the plan's `waivers`.
    ///
    /// # Errors
    /// [`ErrorKind::EvidenceNotWritten`], where it cannot be signed.
    pub fn sign(&self, key: &SigningKey, now: Timestamp, tool: &str) -> Result<Vec<u8>, Error> {
        let attributes = [
            ("gate", self.gate.clone()),
            ("reason", self.reason.clone()),
            ("approver", self.approver.clone()),
            ("expires_at", self.expires_at.to_string()),
        ];
        let record = Record {
            kind: WAIVER_KIND.to_owned(),
            outcome: evidence::Outcome::Passed,
            tool: tool.to_owned(),
            started_at: now,
            finished_at: now,
            subjects: vec![evidence::Subject {
                name: self.subject.name.clone(),
                digest: self.subject.digest.clone(),
            }],
            attributes: attributes.map(|(name, value)| (name.to_owned(), value)).into(),
            ..Record::default()
        };
        let envelope = Envelope::sign(&record, key).map_err(|error| {
            Error::new(ErrorKind::EvidenceNotWritten, "cannot sign the waiver").because(error)
        })?;
        let mut bytes = envelope.to_json();
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// What the waivers are held against.
pub(crate) struct Case<'a> {
    pub(crate) policies: &'a [Policy],
    pub(crate) subject: Option<&'a Subject>,
    /// Who made what is released, by e-mail address.
    pub(crate) authors: &'a [String],
    pub(crate) now: Timestamp,
}

/// The waivers among the files of the patterns that count, by gate, and why others do not.
pub(crate) fn excuses(
    patterns: &[String],
    directory: &Path,
    case: &Case<'_>,
) -> (BTreeMap<String, Excuse>, Vec<String>) {
    let (mut excuses, mut refused) = (BTreeMap::new(), Vec::new());
    for pattern in patterns {
        let whole = directory.join(pattern);
        let paths = whole.to_str().ok_or("is not UTF-8".to_owned());
        let paths = paths.and_then(|text| glob::glob(text).map_err(|error| error.to_string()));
        match paths {
            Err(error) => refused.push(format!("waivers at {pattern}: {error}")),
            Ok(paths) => {
                for path in paths.filter_map(Result::ok) {
                    match judge(&path, case) {
                        Ok((gate, excuse)) => drop(excuses.insert(gate, excuse)),
                        Err(why) => refused.push(format!("waiver {} does not count: {why}", path.display())),
                    }
                }
            }
        }
    }
    (excuses, refused)
}

fn judge(path: &Path, case: &Case<'_>) -> Result<(String, Excuse), String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > ENVELOPE_LIMIT {
        return Err("it is too large for a waiver".to_owned());
    }
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let envelope = Envelope::from_json(&bytes).map_err(|error| error.to_string())?;
    let (policy, approver, record) = signer(&envelope, case.policies)
        .ok_or("it is not signed by anybody whom a policy names".to_owned())?;
    if record.kind != WAIVER_KIND {
        return Err(format!("it is a `{}`", record.kind));
    }
    let attribute = |name: &str| record.attributes.get(name).cloned().ok_or(format!("it has no `{name}`"));
    let (gate, reason) = (attribute("gate")?, attribute("reason")?);
    let expires_at: Timestamp =
        attribute("expires_at")?.parse().map_err(|_| "its `expires_at` is not a time".to_owned())?;
    if reason.trim().is_empty() {
        return Err("it gives no reason".to_owned());
    }
    if expires_at <= case.now {
        return Err(format!("it ended at {expires_at}"));
    }
    if record.finished_at.duration_since(case.now) > jiff::SignedDuration::from_mins(5) {
        return Err("it is signed in the future".to_owned());
    }
    if expires_at.duration_since(record.finished_at)
        > policy.keys.waived_for.get().try_into().unwrap_or_default()
    {
        return Err(format!("it is for longer than the {} that the policy allows", policy.keys.waived_for));
    }
    let subject = case.subject.ok_or("the plan has no subject that it could be for".to_owned())?;
    let is_for_it = record.subjects.iter().any(|it| !it.digest.is_empty() && it.digest == subject.digest);
    if !is_for_it {
        return Err("it is for another subject".to_owned());
    }
    if case.authors.iter().any(|author| author.eq_ignore_ascii_case(&approver.email)) {
        return Err(format!("{} made the commit, and cannot waive a gate for it", approver.name));
    }
    Ok((gate, Excuse::Waived { approver: approver.name.clone(), reason, expires_at }))
}

/// Whose signature it is, and what was signed.
fn signer<'a>(envelope: &Envelope, policies: &'a [Policy]) -> Option<(&'a Policy, &'a Approver, Record)> {
    policies.iter().find_map(|policy| {
        policy.approvers.iter().find_map(|(approver, key)| {
            let record = envelope.verify(std::slice::from_ref(key)).ok()?;
            Some((policy, approver, record))
        })
    })
}
