//! JUnit XML, in the form that Jenkins reads: a gate that could not be judged is an `<error>`, one that was judged bad a
//! `<failure>`, and none is ever `<skipped>`, because a skipped test counts as success.

use crate::outcome::Outcome;
use crate::record::{GateRecord, RunRecord};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::time::Duration;

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
    report
        .to_string()
        .expect("a report in memory has no I/O that could fail, and its strings hold no illegal characters")
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
    let reason = gate.reason.as_deref().unwrap_or("did not end");
    let (kind, type_name) = match &gate.outcome {
        Some(Outcome::Pass) => return TestCaseStatus::success(),
        Some(Outcome::Fail | Outcome::Warn) => {
            (NonSuccessKind::Failure, gate.code.as_deref().unwrap_or("fail"))
        }
        Some(Outcome::Blocked { .. }) => (NonSuccessKind::Error, "blocked"),
        Some(Outcome::Cancelled) => (NonSuccessKind::Error, "cancelled"),
        Some(Outcome::Skip) => (NonSuccessKind::Error, "skipped"),
        Some(Outcome::Inconclusive) => (NonSuccessKind::Error, "inconclusive"),
        Some(Outcome::Error { .. }) => (NonSuccessKind::Error, gate.code.as_deref().unwrap_or("error")),
        None => (NonSuccessKind::Error, "unfinished"),
    };
    let advisory = if gate.required { "" } else { "advisory: " };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(type_name).set_message(format!("{advisory}{reason}"));
    status
}

fn duration(seconds: Option<f64>) -> Duration {
    Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default()
}
