//! `doctor`: examines the role that an application uses, and shows what is wrong with it and the script that ends it.

use crate::args::{DoctorArgs, Settings};
use crate::connect;
use crate::render::unwritten;
use ops_cli::{Context, Exit, Failure, Format, output};
use ops_core::doctor::{self, Finding, Report, Severity};
use serde_json::json;
use std::fmt::Write as _;

/// So many objects of a finding are shown to people; the JSON has them all.
const SHOWN: usize = 12;

/// Examines, shows, and decides the exit code.
pub(crate) async fn run(args: &DoctorArgs, context: &Context<Settings>) -> Result<Exit, Failure> {
    let settings = connect::server(&context.settings.guard, &context.trace.trace_id.to_string())?;
    let report = doctor::examine(&settings).await.map_err(|error| connect::failed(&error))?;
    let written = match (args.script, context.format) {
        (true, _) => output::text(&report.script()),
        (false, Format::Json) => output::json(&object(&report)),
        (false, Format::Text) => output::text(&text(&report)),
    };
    written.map_err(unwritten)?;
    Ok(if report.refuses() {
        Exit::No
    } else if report.is_incomplete() {
        Exit::Unjudged
    } else {
        Exit::Done
    })
}

fn object(report: &Report) -> serde_json::Value {
    json!({
        "schema": "ops-guard/doctor/v1",
        "role": report.role,
        "database": report.database,
        "server_version": report.server_version,
        "refused": report.refuses(),
        "incomplete": report.is_incomplete(),
        "findings": report.findings,
        "unjudged": report.unjudged,
        "script": report.script(),
    })
}

fn text(report: &Report) -> String {
    let mut text = format!(
        "Role {} in database {}, PostgreSQL {}\n",
        shown(&report.role),
        shown(&report.database),
        report.server_version / 10_000
    );
    report.findings.iter().for_each(|finding| add_finding(&mut text, finding));
    if !report.unjudged.is_empty() {
        text.push_str("\nCould not be judged:\n");
    }
    for unjudged in &report.unjudged {
        let mark = if unjudged.essential { "essential" } else { "minor" };
        let _ = writeln!(text, "  {} [{}, {mark}]: {}", unjudged.title, unjudged.id, shown(&unjudged.reason));
    }
    let refusals = report.findings.iter().filter(|finding| finding.severity == Severity::Refuse).count();
    let warnings = report.findings.len() - refusals;
    if !report.findings.is_empty() {
        let _ = write!(text, "\nThe script that ends this:\n\n{}", report.script());
    }
    let end = match (refusals, report.is_incomplete()) {
        (0, false) => "an application may use this role",
        (0, true) => "not everything could be judged, so the role is not known to be safe",
        _ => "an application should not use this role",
    };
    let _ = write!(text, "\n{refusals} to refuse, {warnings} to warn about: {end}.");
    text
}

fn add_finding(text: &mut String, finding: &Finding) {
    let word = match finding.severity {
        Severity::Refuse => "refuse",
        Severity::Warn => "warn",
    };
    let _ = write!(text, "\n{word}: {} [{}]\n  why: {}\n", finding.title, finding.id, finding.why);
    for object in finding.objects.iter().take(SHOWN) {
        let _ = writeln!(text, "  - {}", shown(object));
    }
    if finding.objects.len() > SHOWN {
        let _ = writeln!(text, "  - and {} more", finding.objects.len() - SHOWN);
    }
}

/// A name of the database must not steer the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
