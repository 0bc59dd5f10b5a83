//! The run as in-toto statements about the subject, for tools that know nothing of this one.
//!
//! | file | predicate | for |
//! |---|---|---|
//! | `test-result.dsse.json` | in-toto test-result v0.1 | policy engines: what was tested, what failed |
//! | `verdict.dsse.json` | our own | everything that the record says |
//! | `vsa.dsse.json` | SLSA verification summary v1 | deployers: approved or not, by whom |
//!
//! A test-result has no word for skipped, blocked or inconclusive, and strict readers refuse added fields: whatever
//! blocks stands in `failedTests`. A statement speaks about digests alone, so that a run without a subject has none.

use crate::outcome::Outcome;
use crate::record::RunRecord;
use crate::verdict::Verdict;
use serde_json::{Value, json};

/// The type of the predicate that holds the whole record.
pub const VERDICT_PREDICATE: &str = "urn:ops-toolkit:gates:verdict:v1";
const TEST_RESULT: &str = "https://in-toto.io/attestation/test-result/v0.1";
const SUMMARY: &str = "https://slsa.dev/verification_summary/v1";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// What stands in `verifiedLevels` of a run that passed. A consumer demands it, so that its absence closes the way.
const PASSED_LEVEL: &str = "OPS_GATES_PASSED";

/// An in-toto statement, unsigned, and the name of the file that it is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// The name of the file, without its folder.
    pub file: &'static str,
    /// The statement.
    pub json: Value,
}

/// The statements about the subject, in which the run as a whole is told; none where the run names no subject.
pub fn statements(record: &RunRecord) -> Vec<Statement> {
    let Some(subject) = &record.subject else { return Vec::new() };
    let subject = json!([{ "name": subject.name, "digest": subject.digest }]);
    let statement = |file, predicate_type: &str, predicate: Value| Statement {
        file,
        json: json!({
            "_type": STATEMENT,
            "subject": subject,
            "predicateType": predicate_type,
            "predicate": predicate,
        }),
    };
    vec![
        statement("test-result.dsse.json", TEST_RESULT, test_result(record)),
        statement("verdict.dsse.json", VERDICT_PREDICATE, json!(record)),
    ]
}

/// The verification summary, which names the other attestations by the digest of their files; none without a subject.
pub fn summary(record: &RunRecord, inputs: &[(String, String)]) -> Option<Statement> {
    let subject = record.subject.as_ref()?;
    let passed = record.verdict == Verdict::Passed;
    let inputs: Vec<Value> =
        inputs.iter().map(|(name, sha256)| json!({ "uri": name, "digest": { "sha256": sha256 } })).collect();
    // What was demanded is the policy, and where none counted the plan itself.
    let policy = match record.policies.as_slice() {
        [policy, ..] => json!({ "uri": policy.name, "digest": { "sha256": policy.sha256 } }),
        [] => json!({ "uri": record.plan.origin, "digest": { "sha256": record.plan.sha256 } }),
    };
    let json = json!({
        "_type": STATEMENT,
        "subject": [{ "name": subject.name, "digest": subject.digest }],
        "predicateType": SUMMARY,
        "predicate": {
            "verifier": { "id": "urn:ops-toolkit:ops-gates", "version": { "tool": record.tool } },
            "timeVerified": record.finished_at.unwrap_or(record.started_at),
            "resourceUri": subject.name,
            "policy": policy,
            "inputAttestations": inputs,
            "verificationResult": if passed { "PASSED" } else { "FAILED" },
            "verifiedLevels": [if passed { PASSED_LEVEL } else { "FAILED" }],
            "slsaVersion": "1.0",
        },
    });
    Some(Statement { file: "vsa.dsse.json", json })
}

fn test_result(record: &RunRecord) -> Value {
    let (mut passed, mut warned, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for gate in &record.gates {
        // An advisory gate, or one that a waiver excuses, did not pass and does not block.
        let spared = gate.excuse.is_some() || (!gate.required && !record.blocked_by.contains(&gate.id));
        let list = match &gate.outcome {
            Some(Outcome::Pass) => &mut passed,
            _ if spared => &mut warned,
            _ => &mut failed,
        };
        list.push(gate.id.as_str());
    }
    let result = match record.verdict {
        Verdict::Passed if warned.is_empty() => "PASSED",
        Verdict::Passed => "WARNED",
        Verdict::Blocked => "FAILED",
    };
    json!({
        "result": result,
        "configuration": [{ "name": record.plan.origin, "digest": { "sha256": record.plan.sha256 } }],
        "passedTests": passed,
        "warnedTests": warned,
        "failedTests": failed,
    })
}
