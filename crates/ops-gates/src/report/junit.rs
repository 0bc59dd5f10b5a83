//! JUnit XML, in the form that Jenkins reads: a gate that could not be judged is an `<error>`, one that was judged bad a
//! `<failure>`, and none is ever `<skipped>`, because a skipped test counts as success.

use super::ant::ant;
use crate::outcome::Outcome;
use crate::record::{GateRecord, RunRecord};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

/// Which of the schemas that are called JUnit a report follows; none is accepted by every consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JunitFlavor {
    /// As Jenkins, GitLab and most others read it.
    #[default]
    Jenkins,
    /// As Ant wrote it first, for servers that validate by that schema.
    Ant,
}

/// The run as JUnit XML of a flavor, one test case a gate.
pub fn junit_as(record: &RunRecord, flavor: JunitFlavor) -> String {
    match flavor {
        JunitFlavor::Jenkins => junit(record),
        JunitFlavor::Ant => ant(record),
    }
}

/// The run as JUnit XML, one test case a gate.
pub fn junit(record: &RunRecord) -> String {
    let mut suite = TestSuite::new(record.plan.name.as_str());
    let time = duration(record.duration_seconds());
    suite.set_time(time);
    for (name, value) in [("verdict", record.verdict.to_string()), ("run_id", record.run_id.clone())] {
        suite.add_property((name, value.as_str()));
    }
    if let Some(trace_id) = &record.trace_id {
        suite.add_property(("trace_id", trace_id.as_str()));
    }
    record.gates.iter().for_each(|gate| {
        suite.add_test_case(case(record, gate));
    });
    let mut report = Report::new(format!("ops-gates: {}", record.plan.name));
    report.set_time(time).add_test_suite(suite);
    let text = report
        .to_string()
        .expect("a report in memory has no I/O that could fail, and its strings hold no illegal characters");
    // The schema of Jenkins has no such attribute on the root; nothing is ever skipped here, and a quote within a name
    // is escaped, so that this can only be the attribute.
    text.replacen(" skipped=\"0\"", "", 1)
}

fn case(record: &RunRecord, gate: &GateRecord) -> TestCase {
    let mut case = TestCase::new(gate.id.as_str(), status(gate));
    case.set_classname(format!("{}.{}", record.plan.name, gate.kind))
        .set_time(duration(gate.duration_seconds));
    let output = gate.output.clone().unwrap_or_default();
    let pointer = gate.log.as_ref().map(|log| format!("[full log: {}, sha256 {}]", log.path, log.sha256));
    let text: Vec<String> =
        [output, pointer.unwrap_or_default()].into_iter().filter(|part| !part.is_empty()).collect();
    if !text.is_empty() {
        case.set_system_out(text.join("\n"));
    }
    case
}

fn status(gate: &GateRecord) -> TestCaseStatus {
    let (kind, type_name, message) = kind(gate);
    let kind = match kind {
        Kind::Success => return TestCaseStatus::success(),
        Kind::Failure => NonSuccessKind::Failure,
        Kind::Error => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(type_name).set_message(message);
    status
}

/// What JUnit knows of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Success,
    /// Judged, and bad.
    Failure,
    /// Not judged.
    Error,
}

/// How a gate stands in every flavor: the kind, its type and its message.
pub(super) fn kind(gate: &GateRecord) -> (Kind, String, String) {
    let code = |default: &'static str| gate.code.clone().unwrap_or_else(|| default.to_owned());
    let (kind, type_name) = match &gate.outcome {
        Some(Outcome::Pass) => (Kind::Success, String::new()),
        Some(Outcome::Fail | Outcome::Warn) => (Kind::Failure, code("fail")),
        Some(Outcome::Blocked { .. }) => (Kind::Error, "blocked".to_owned()),
        Some(Outcome::Cancelled) => (Kind::Error, "cancelled".to_owned()),
        Some(Outcome::Skip) => (Kind::Error, "skipped".to_owned()),
        Some(Outcome::Inconclusive) => (Kind::Error, "inconclusive".to_owned()),
        Some(Outcome::Error { .. }) => (Kind::Error, code("error")),
        None => (Kind::Error, "unfinished".to_owned()),
    };
    let advisory = if gate.required { "" } else { "advisory: " };
    (kind, type_name, format!("{advisory}{}", gate.reason.as_deref().unwrap_or("did not end")))
}

fn duration(seconds: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default()
}
