//! The signed evidence of a run, and its verification by whoever deploys.

use super::directory::{EVENTS, EVIDENCE, VERDICT};
use crate::error::{Error, ErrorKind};
use crate::outcome::Outcome;
use crate::record::{RunRecord, SCHEMA};
use crate::verdict::Verdict;
use ops_core::evidence::{self, Check, Envelope, Record, SigningKey, Subject, VerifyingKey, sha256_hex};
use std::path::Path;

/// The kind of the evidence record of a run.
pub const EVIDENCE_KIND: &str = "gate-run";

/// The attribute that binds the envelope to the exact bytes of `verdict.json`.
const VERDICT_DIGEST: &str = "verdict_sha256";

/// The bytes of the signed envelope for a run whose verdict has exactly these bytes.
pub(super) fn sign(record: &RunRecord, verdict: &[u8], key: &SigningKey) -> Result<Vec<u8>, Error> {
    let cannot = |error| {
        Error::new(ErrorKind::EvidenceNotWritten, "cannot sign the evidence of the run").because(error)
    };
    let mut envelope = Envelope::sign(&evidence_record(record, verdict), key).map_err(cannot)?.to_json();
    envelope.push(b'\n');
    Ok(envelope)
}

fn evidence_record(record: &RunRecord, verdict: &[u8]) -> Record {
    let plan = [("sha256".to_owned(), record.plan.sha256.clone())].into();
    let subject =
        record.subject.iter().map(|it| Subject { name: it.name.clone(), digest: it.digest.clone() });
    let artifacts =
        record.artifacts.iter().map(|it| Subject { name: it.name.clone(), digest: it.digest.clone() });
    let duration = record.duration_seconds().map(|seconds| ("duration_seconds".to_owned(), seconds));
    Record {
        kind: EVIDENCE_KIND.to_owned(),
        outcome: match record.verdict {
            Verdict::Passed => evidence::Outcome::Passed,
            Verdict::Blocked => evidence::Outcome::Failed,
        },
        tool: record.tool.clone(),
        started_at: record.started_at,
        finished_at: record.finished_at.unwrap_or(record.started_at),
        trace_id: record.trace_id.clone().unwrap_or_default(),
        subjects: subject
            .chain(artifacts)
            .chain([Subject { name: record.plan.origin.clone(), digest: plan }])
            .collect(),
        checks: record
            .gates
            .iter()
            .map(|gate| Check {
                name: gate.id.clone(),
                outcome: match gate.outcome {
                    Some(Outcome::Pass) => evidence::Outcome::Passed,
                    Some(Outcome::Fail | Outcome::Warn) => evidence::Outcome::Failed,
                    _ => evidence::Outcome::Error,
                },
                detail: gate.reason.clone().unwrap_or_default(),
            })
            .collect(),
        measurements: duration.into_iter().collect(),
        attributes: [
            ("run_id".to_owned(), record.run_id.clone()),
            ("verdict".to_owned(), record.verdict.to_string()),
            (VERDICT_DIGEST.to_owned(), sha256_hex(verdict)),
        ]
        .into(),
        previous: None,
    }
}

/// Verifies a run directory with the keys that may have signed, and returns its record. What it returns is proven to be
/// what the signer saw, BLOCKED or PASSED; the logs that it names are there, unchanged.
///
/// # Errors
/// [`ErrorKind::RunUnreadable`] where the directory holds no run, [`ErrorKind::NotVerified`] where it does and the
/// signature, the verdict or a log is missing or does not fit.
pub fn verify(directory: &Path, keys: &[VerifyingKey]) -> Result<RunRecord, Error> {
    let refuse = |what: String| {
        Error::new(ErrorKind::NotVerified, format!("run {} does not verify: {what}", directory.display()))
    };
    let read = |name: &str| {
        std::fs::read(directory.join(name))
            .map_err(|error| refuse(format!("{name} cannot be read")).because(error))
    };
    let path = directory.join(VERDICT);
    let verdict =
        std::fs::read(&path).map_err(|error| Error::io(ErrorKind::RunUnreadable, "read", &path, error))?;
    let envelope = Envelope::from_json(&read(EVIDENCE)?).and_then(|envelope| envelope.verify(keys));
    let evidence = envelope
        .map_err(|error| refuse("the evidence is not signed by a given key".to_owned()).because(error))?;
    if evidence.kind != EVIDENCE_KIND {
        return Err(refuse(format!("the evidence is a `{}`, not a `{EVIDENCE_KIND}`", evidence.kind)));
    }
    if evidence.attributes.get(VERDICT_DIGEST) != Some(&sha256_hex(&verdict)) {
        return Err(refuse(format!("{VERDICT} is not the one that was signed")));
    }
    let record: RunRecord = serde_json::from_slice(&verdict)
        .map_err(|error| refuse(format!("{VERDICT} cannot be read")).because(error))?;
    if record.schema != SCHEMA {
        return Err(refuse(format!("its schema is `{}`, this version reads `{SCHEMA}`", record.schema)));
    }
    // The signer said both; a signer that contradicts itself proves nothing.
    if (evidence.outcome == evidence::Outcome::Passed) != (record.verdict == Verdict::Passed) {
        return Err(refuse("the evidence and the verdict disagree".to_owned()));
    }
    if !is_chained(&read(EVENTS)?, &record.events_sha256) {
        return Err(refuse(format!("{EVENTS} was changed")));
    }
    let attempts =
        record.gates.iter().flat_map(|gate| &gate.attempts).filter_map(|attempt| attempt.log.as_ref());
    for log in record.gates.iter().filter_map(|gate| gate.log.as_ref()).chain(attempts) {
        if sha256_hex(&read(&log.path)?) != log.sha256 {
            return Err(refuse(format!("{} was changed", log.path)));
        }
    }
    Ok(record)
}

/// Whether every line names the digest of the one before it, and the last has the digest that is given.
fn is_chained(events: &[u8], last: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Link {
        previous: String,
    }
    let Some(lines) = events.strip_suffix(b"\n") else { return false };
    let mut before = String::new();
    for line in lines.split(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Link>(line) {
            Ok(link) if link.previous == before => before = sha256_hex(line),
            _ => return false,
        }
    }
    before == last
}
