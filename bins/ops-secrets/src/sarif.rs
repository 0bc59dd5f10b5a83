//! The report as SARIF 2.1.0 (OASIS), which code hosts and editors read.

use ops_secrets::scan::{Finding, Place, PlaceKind, Report, State, rules};
use serde_json::{Value, json};

/// The document.
pub(crate) fn document(report: &Report, strict: bool) -> String {
    let ids: Vec<&str> = rules().map(|rule| rule.id).collect();
    let described: Vec<Value> =
        rules().map(|rule| json!({ "id": rule.id, "shortDescription": { "text": rule.title } })).collect();
    let results: Vec<Value> = report.findings.iter().map(|finding| result(finding, strict, &ids)).collect();
    let gaps: Vec<Value> = report
        .gaps
        .iter()
        .map(|gap| json!({ "level": "error", "message": { "text": format!("not judged: {}: {}", gap.place, gap.reason) } }))
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "ops-secrets",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": described,
            } },
            "columnKind": "unicodeCodePoints",
            "invocations": [{ "executionSuccessful": report.gaps.is_empty(), "toolExecutionNotifications": gaps }],
            "results": results,
        }],
    });
    document.to_string() + "\n"
}

fn result(finding: &Finding, strict: bool, ids: &[&str]) -> Value {
    let level = if finding.blocks(strict) { "error" } else { "warning" };
    let first = finding.places.first().map(ToString::to_string).unwrap_or_default();
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": ids.iter().position(|id| *id == finding.rule),
        "level": level,
        "message": { "text": format!("{} ({}) at {first}", finding.title, finding.preview) },
        "locations": finding.places.iter().take(10).map(location).collect::<Vec<_>>(),
        "partialFingerprints": { "opsSecrets/v1": finding.fingerprint },
        "occurrenceCount": finding.count.max(1),
    });
    if matches!(finding.state, State::Suppressed | State::Baseline) {
        let why = if finding.state == State::Suppressed {
            "accepted in the file of suppressions"
        } else {
            "in the baseline"
        };
        result["suppressions"] = json!([{ "kind": "external", "justification": why }]);
    }
    result
}

fn location(place: &Place) -> Value {
    let text = json!({ "text": place.to_string() });
    let Some(path) = &place.path else { return json!({ "message": text }) };
    let mut physical = json!({ "artifactLocation": { "uri": uri(path) } });
    if has_line(place) {
        physical["region"] = json!({ "startLine": place.line, "startColumn": place.column });
    }
    json!({ "physicalLocation": physical, "message": text })
}

/// Whether the line is one of the file: that of what is inside an archive, a name or another text is not.
pub(crate) fn has_line(place: &Place) -> bool {
    place.inside.is_empty() && !matches!(place.kind, PlaceKind::Name | PlaceKind::Link)
}

/// A path as a relative URI reference (RFC 3986).
fn uri(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
