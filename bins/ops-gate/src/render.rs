//! Answers as text and JSON.

use ops_cli::{Format, output};
use ops_gates::{Excuse, GateRecord, Plan, PlannedGate, RunRecord, Subject, SubjectKeys};
use serde::Serialize;
use std::io;
use std::path::Path;

/// How many lines of a gate's output are shown; the rest is in its log.
const LINES: usize = 20;

#[derive(Serialize)]
struct RunAnswer<'a> {
    schema: &'static str,
    run_dir: &'a Path,
    #[serde(flatten)]
    record: Record<'a>,
}

/// The record without its own schema, which would clash with that of the answer.
#[derive(Serialize)]
struct Record<'a> {
    verdict: ops_gates::Verdict,
    state: ops_gates::State,
    reason: &'a str,
    blocked_by: &'a [String],
    warnings: &'a [String],
    run_id: &'a str,
    trace_id: Option<&'a str>,
    plan: &'a ops_gates::PlanRef,
    subject: Option<&'a Subject>,
    gates: &'a [GateRecord],
}

impl<'a> Record<'a> {
    fn of(record: &'a RunRecord) -> Self {
        Self {
            verdict: record.verdict,
            state: record.state,
            reason: &record.reason,
            blocked_by: &record.blocked_by,
            warnings: &record.warnings,
            run_id: &record.run_id,
            trace_id: record.trace_id.as_deref(),
            plan: &record.plan,
            subject: record.subject.as_ref(),
            gates: &record.gates,
        }
    }
}

/// The answer of `run`.
pub(crate) fn run(record: &RunRecord, run_dir: &Path, format: Format) -> io::Result<()> {
    match format {
        Format::Json => {
            output::json(&RunAnswer { schema: "ops-gate/run/v1", run_dir, record: Record::of(record) })
        }
        Format::Text => {
            output::text(&format!("{}{}run directory: {}", table(record), verdict(record), run_dir.display()))
        }
    }
}

/// The answer of `verify`.
pub(crate) fn verified(record: &RunRecord, run_dir: &Path, format: Format) -> io::Result<()> {
    match format {
        Format::Json => {
            output::json(&RunAnswer { schema: "ops-gate/verify/v1", run_dir, record: Record::of(record) })
        }
        Format::Text => {
            let subject =
                record.subject.as_ref().map(|it| format!("subject: {}\n", digests(it))).unwrap_or_default();
            let ended = record.finished_at.map(|at| format!(" at {at}")).unwrap_or_default();
            output::text(&format!(
                "verified: run {} of plan {}, ended{ended}\nplan sha256: {}\n{subject}{}: {}",
                record.run_id, record.plan.name, record.plan.sha256, record.verdict, record.reason
            ))
        }
    }
}

/// The answer of `schema`.
pub(crate) fn schema(schema: &serde_json::Value) -> io::Result<()> {
    output::text(&format!("{schema:#}"))
}

/// The answer of `waive`.
pub(crate) fn waived(waiver: &ops_gates::Waiver, output: &Path) -> io::Result<()> {
    output::text(&format!(
        "gate {} is waived for {} until {}: {}",
        waiver.gate,
        digests(&waiver.subject),
        waiver.expires_at,
        output.display()
    ))
}

fn table(record: &RunRecord) -> String {
    let id = record.gates.iter().map(|gate| gate.id.len()).max().unwrap_or(0);
    let mut text = String::new();
    for gate in &record.gates {
        let outcome = gate.outcome.as_ref().map_or("UNFINISHED", ops_gates::Outcome::word);
        let time = gate.duration_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2} s"));
        let advisory = if gate.required { "" } else { "(advisory) " };
        let reason = gate.reason.as_deref().unwrap_or("");
        text.push_str(&format!("{outcome:12}  {:id$}  {time:>9}  {advisory}{reason}\n", gate.id));
    }
    for gate in record.not_passed() {
        text.push_str(&tail(gate));
    }
    text.push('\n');
    text
}

/// The last lines of what a gate wrote, without the control characters that could repaint a terminal.
fn tail(gate: &GateRecord) -> String {
    let Some(output) = gate.output.as_deref().filter(|output| !output.trim().is_empty()) else {
        return String::new();
    };
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.len().saturating_sub(LINES);
    let log = gate.log.as_ref().map_or("", |log| log.path.as_str());
    let mut text = format!("\n--- {}: the end of {log}\n", gate.id);
    for line in &lines[from..] {
        text.extend(line.chars().map(|c| if c.is_control() && c != '\t' { ' ' } else { c }));
        text.push('\n');
    }
    text
}

fn verdict(record: &RunRecord) -> String {
    let mut text = format!("{}: {}\n", record.verdict, record.reason);
    if record.blocked_by.len() > 1 {
        text.push_str(&format!("blocked by: {}\n", record.blocked_by.join(", ")));
    }
    for (gate, excuse) in record.excused() {
        text.push_str(&match excuse {
            Excuse::Waived { approver, reason, expires_at } => {
                format!("WAIVED: {} by {approver} until {expires_at}: {reason}\n", gate.id)
            }
            Excuse::NotApplicable { evidence } => format!("not applicable: {}: {evidence}\n", gate.id),
        });
    }
    for refused in &record.waivers_refused {
        text.push_str(&format!("{refused}\n"));
    }
    let flaky: Vec<&str> = record.flaky().map(|gate| gate.id.as_str()).collect();
    if !flaky.is_empty() {
        text.push_str(&format!("flaky: {}\n", flaky.join(", ")));
    }
    if !record.warnings.is_empty() {
        text.push_str(&format!("warnings: {}\n", record.warnings.join(", ")));
    }
    text
}

#[derive(Serialize)]
struct PlanAnswer<'a> {
    schema: &'static str,
    name: &'a str,
    origin: &'a str,
    sha256: &'a str,
    environment: Option<&'a str>,
    policies: Vec<PolicyAnswer<'a>>,
    subject: Option<&'a SubjectKeys>,
    objectives: &'a ops_gates::Objectives,
    variables: Vec<&'a str>,
    gates: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct PolicyAnswer<'a> {
    name: &'a str,
    sha256: &'a str,
}

#[derive(Serialize)]
struct Step<'a> {
    step: usize,
    #[serde(flatten)]
    gate: &'a PlannedGate,
}

/// The answer of `plan`.
pub(crate) fn plan(plan: &Plan, format: Format) -> io::Result<()> {
    match format {
        Format::Json => output::json(&PlanAnswer {
            schema: "ops-gate/plan/v1",
            name: plan.name(),
            origin: plan.origin(),
            sha256: plan.sha256(),
            environment: plan.environment(),
            policies: plan
                .policies()
                .iter()
                .map(|policy| PolicyAnswer { name: policy.name(), sha256: policy.sha256() })
                .collect(),
            subject: plan.subject(),
            objectives: plan.objectives(),
            variables: plan.variable_names().collect(),
            gates: plan.order().iter().map(|(depth, gate)| Step { step: depth + 1, gate }).collect(),
        }),
        Format::Text => output::text(&plan_text(plan)),
    }
}

fn plan_text(plan: &Plan) -> String {
    let mut text = format!("plan {} ({}, sha256 {})\n", plan.name(), plan.origin(), plan.sha256());
    if let Some(subject) = plan.subject() {
        text.push_str(&format!("subject {}\n", named(subject)));
    }
    for policy in plan.policies() {
        text.push_str(&format!("policy {} (sha256 {})\n", policy.name(), policy.sha256()));
    }
    let width = plan.gates().iter().map(|gate| gate.id.len()).max().unwrap_or(0);
    let kinds = plan.gates().iter().map(|gate| gate.kind.len()).max().unwrap_or(0).max(8);
    let mut shown = None;
    for (depth, gate) in plan.order() {
        if shown != Some(depth) {
            text.push_str(&format!("\nstep {}\n", depth + 1));
            shown = Some(depth);
        }
        let required = if gate.required { "required" } else { "advisory" };
        let kind = &gate.kind;
        text.push_str(&format!(
            "  {:width$}  {kind:kinds$}  {required}  at most {:6}  {}\n",
            gate.id,
            gate.timeout.to_string(),
            gate.gate.summary()
        ));
        if !gate.needs.is_empty() {
            text.push_str(&format!("  {:width$}  needs {}\n", "", gate.needs.join(", ")));
        }
    }
    for gate in plan.gates() {
        let mut found = Vec::new();
        thresholds(&gate.keys, "", &mut found);
        for threshold in found {
            text.push_str(&format!("\nthreshold {} {threshold}", gate.id));
        }
    }
    let variables: Vec<&str> = plan.variable_names().collect();
    if !variables.is_empty() {
        text.push_str(&format!("\nvariables: {}\n", variables.join(", ")));
    }
    text
}

/// The thresholds among keys that come from outside the plan: where each stands, its value, where it came from, its bounds.
fn thresholds(keys: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    match keys {
        serde_json::Value::Object(table) => match (table.get("value"), table.get("origin")) {
            (Some(value), Some(serde_json::Value::String(origin))) => {
                let bound = |name: &str| table.get(name).map(|bound| format!(", {name} {bound}"));
                let bounds: String = ["floor", "ceiling"].into_iter().filter_map(bound).collect();
                found.push(format!("{path} = {value} ({origin}{bounds})"));
            }
            _ => table.iter().for_each(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                thresholds(value, &path, found);
            }),
        },
        serde_json::Value::Array(values) => values.iter().for_each(|value| thresholds(value, path, found)),
        _ => {}
    }
}

/// A subject as the plan names it.
fn named(subject: &SubjectKeys) -> String {
    let one =
        |label: &str, text: &Option<ops_gates::Text>| text.as_ref().map(|text| format!("{label} {text}"));
    let files = subject.artifacts.iter().map(|text| format!("artifacts {text}"));
    let given = [one("commit", &subject.commit), one("digest", &subject.digest), one("git", &subject.git)];
    let given: Vec<String> = given.into_iter().flatten().chain(files).collect();
    format!("{} ({})", subject.name, given.join(", "))
}

fn digests(subject: &Subject) -> String {
    let digests: Vec<String> = subject.digest.iter().map(|(name, hex)| format!("{name} {hex}")).collect();
    format!("{} ({})", subject.name, digests.join(", "))
}
