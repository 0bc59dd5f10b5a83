//! `audit`: verifies, shows and recovers an audit log.

use crate::args::{AuditAction, AuditRecoverArgs, AuditShowArgs, AuditVerifyArgs};
use crate::words::{failed, unwritten, visible};
use jiff::Timestamp;
use ops_cli::{Exit, Failure, Format, output};
use ops_core::audit::{self, AuditLogOptions, Body, Head, HeadState, Recorded, Report};
use ops_core::evidence::{SigningKey, VerifyingKey};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Runs the action.
pub(crate) fn run(action: &AuditAction, format: Format) -> Result<Exit, Failure> {
    match action {
        AuditAction::Verify(args) => verify(args, format),
        AuditAction::Show(args) => show(args, format),
        AuditAction::Recover(args) => recover(args, format),
    }
}

fn verify(args: &AuditVerifyArgs, format: Format) -> Result<Exit, Failure> {
    let head: Option<Head> = args.head.as_deref().map(str::parse).transpose().map_err(|error| {
        Failure::from_error(Exit::Usage, &error).hint("it is what `audit verify` prints as the head")
    })?;
    let keys: Vec<VerifyingKey> = args
        .key
        .iter()
        .map(|path| VerifyingKey::from_file(path))
        .collect::<Result<_, _>>()
        .map_err(|error| failed(&error).with_exit(Exit::Input))?;
    let report = audit::verify(&args.log, head.as_ref(), &keys).map_err(|error| failed(&error))?;
    let told = match format {
        Format::Json => output::json(&object(&args.log, &report)),
        Format::Text => output::text(&text(&report)),
    };
    told.map_err(unwritten)?;
    Ok(exit(&report))
}

fn exit(report: &Report) -> Exit {
    match (report.is_intact(), report.entries) {
        (false, _) => Exit::No,
        (true, 0) => Exit::Nothing,
        (true, _) => Exit::Done,
    }
}

fn show(args: &AuditShowArgs, format: Format) -> Result<Exit, Failure> {
    let mut told = Ok(());
    let report = audit::read(&args.log, None, &[], &mut |line| {
        if told.is_ok() {
            told = match format {
                Format::Json => output::json(&entry_object(line)),
                Format::Text => output::text(&entry_text(line)),
            };
        }
    });
    told.map_err(unwritten)?;
    let report = report.map_err(|error| failed(&error))?;
    if format == Format::Text {
        output::text(&text(&report)).map_err(unwritten)?;
    }
    Ok(exit(&report))
}

fn recover(args: &AuditRecoverArgs, format: Format) -> Result<Exit, Failure> {
    let key = args.key.as_deref().map(SigningKey::from_file).transpose().map_err(|error| failed(&error))?;
    let options = AuditLogOptions { key, ..AuditLogOptions::default() };
    let recovery = audit::recover(&args.log, options, Timestamp::now()).map_err(|error| failed(&error))?;
    let told = match (&recovery, format) {
        (None, Format::Text) => output::text("Nothing was torn."),
        (None, Format::Json) => output::json(&json!({ "schema": "ops-guard/audit-recover/v1", "bytes": 0 })),
        (Some(done), Format::Text) => output::text(&format!(
            "{} bytes of an unfinished line are in {} now, and line {} says so.\nhead {}",
            done.bytes,
            done.file.display(),
            done.head.sequence,
            done.head
        )),
        (Some(done), Format::Json) => output::json(&json!({
            "schema": "ops-guard/audit-recover/v1",
            "bytes": done.bytes,
            "file": done.file.display().to_string(),
            "head": done.head.to_string(),
        })),
    };
    told.map_err(unwritten)?;
    Ok(if recovery.is_some() { Exit::Done } else { Exit::Nothing })
}

fn object(log: &Path, report: &Report) -> Value {
    let faults: Vec<Value> = report
        .faults
        .iter()
        .map(|fault| json!({ "line": fault.line, "code": fault.kind.code(), "message": fault.to_string() }))
        .collect();
    json!({
        "schema": "ops-guard/audit-verify/v1",
        "log": log.display().to_string(),
        "intact": report.is_intact(),
        "torn": report.is_torn(),
        "entries": report.entries,
        "approvals_used": report.claims,
        "head": report.head.to_string(),
        "head_state": head_state(report.head_state),
        "signed_by": report.signed_by,
        "faults": faults,
    })
}

fn head_state(state: HeadState) -> &'static str {
    match state {
        HeadState::Current => "current",
        HeadState::BehindByOne => "behind_by_one",
        _ => "wrong",
    }
}

fn text(report: &Report) -> String {
    if !report.is_intact() {
        let mut text = "The log is broken.".to_owned();
        for fault in &report.faults {
            let _ = write!(text, "\n  {fault}");
        }
        if report.is_torn() {
            text.push_str("\nThis is what a crash leaves. `ops-guard audit recover` moves it aside and says so in the log.");
        }
        return text;
    }
    let mut text = format!(
        "The log is intact: {} entries, {} approvals used.\nhead {}",
        report.entries, report.claims, report.head
    );
    if report.head_state == HeadState::BehindByOne {
        text.push_str("\nThe head file does not name the last entry yet, as after a crash.");
    }
    if let Some(key) = &report.signed_by {
        let _ = write!(text, "\nThe key {key} signed the head.");
    }
    text
}

fn entry_object(line: &Recorded) -> Value {
    let mut object = json!({ "schema": "ops-guard/audit-entry/v1" });
    if let (Some(object), Ok(Value::Object(fields))) = (object.as_object_mut(), serde_json::to_value(line)) {
        object.extend(fields);
    }
    object
}

/// One entry for a person: the first line says what happened, the others what is known of it.
fn entry_text(line: &Recorded) -> String {
    let Body { at, event, principal, database, trace_id, decision, rule, .. } = &line.body;
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    let mut text = format!("#{}  {at}  {}", line.sequence, word(json!(event)));
    if !principal.is_empty() {
        let _ = write!(text, "  {principal}@{database}");
    }
    if let Some(decision) = decision {
        let _ = write!(
            text,
            "  {decision}{}",
            rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default()
        );
    }
    let mut tell = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = write!(text, "\n    {name:<9} {}", value.replace(['\n', '\t'], " "));
        }
    };
    let body = &line.body;
    tell("statement", body.statement.clone().unwrap_or_default());
    tell("effects", body.effects.join(", "));
    if let Some(approval) = &body.approval {
        let words = format!(
            "{} of {}, by {} until {}; {}: {}",
            approval.id,
            approval.scope,
            approval.approver,
            approval.expires_at,
            approval.ticket,
            approval.reason
        );
        tell("approval", words);
    }
    if let Some(observed) = &body.observed {
        let relations = observed
            .relations
            .iter()
            .map(|(name, [added, changed, removed])| format!("{name} +{added} ~{changed} -{removed}"));
        let dropped = observed.dropped.iter().map(|name| format!("{name} is gone"));
        let parts: Vec<String> = relations.chain(dropped).collect();
        tell("observed", format!("{} rows: {}", observed.rows, parts.join(", ")));
    }
    if let Some(outcome) = body.outcome {
        let finishes = body.finishes.map(|line| format!(" (of #{line})")).unwrap_or_default();
        let code = body.sqlstate.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
        tell("outcome", format!("{}{code}{finishes}", word(json!(outcome)).replace('_', " ")));
    }
    if let Some(torn) = &body.recovered {
        tell("recovered", format!("{} bytes, now in {}", torn.bytes, torn.file));
    }
    tell("trace", trace_id.clone());
    visible(&text)
}
