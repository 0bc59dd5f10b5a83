//! `audit`, as a person and a machine see it: whole, empty, broken and torn logs.

use super::approve::run;
use jiff::Timestamp;
use ops_core::approval::{Approval, ApprovalId, ApprovalRequest, Approvers, EffectClass, Granted, Scope};
use ops_core::audit::{AuditLog, AuditLogOptions, Entry, Event, Outcome};
use ops_core::evidence::SigningKey;
use ops_core::guard::{Observation, Policy, Touched};
use std::path::Path;

fn now() -> Timestamp {
    "2026-11-21T06:00:00Z".parse().unwrap()
}

fn permit() -> Granted {
    let key = SigningKey::generate().unwrap();
    let scope = Scope::table("public.ledger", EffectClass::DeleteAll).unwrap();
    let request = ApprovalRequest {
        reason: "rows of October".into(),
        ticket: "OPS-7".into(),
        ..ApprovalRequest::new(scope, "app")
    };
    let mut approvers = Approvers::new();
    approvers.insert("alice", key.verifying_key()).unwrap();
    let approval = Approval::sign(&request, "alice", &key, now(), ApprovalId::from_bytes([7; 16])).unwrap();
    approval.verify(&approvers, "app", "shop", now()).unwrap()
}

/// Writes a refusal, the use of an approval, and its end.
fn write_log(folder: &Path, options: AuditLogOptions) {
    let log = AuditLog::open_with(&folder.join("audit.jsonl"), options).unwrap();
    let about = |event, sql: &str| {
        let verdict = Policy::app().judge(sql);
        let entry = Entry::new(event, now()).in_session("app", "shop", "4bf92f3577b34da6a3ce929d0e0e4736");
        entry.about(sql, &verdict, &verdict.statements[0])
    };
    log.append(about(Event::Refused, "DELETE\nFROM public.ledger WHERE true OR note = 'secret'")).unwrap();
    let started = log.claim(&permit(), about(Event::Started, "DELETE FROM public.ledger")).unwrap();
    let touched = Touched { relation: "public.ledger".into(), deleted: 3, ..Touched::default() };
    let ended = Entry::new(Event::Finished, now())
        .in_session("app", "shop", "")
        .observed(&Observation { relations: vec![touched], wrote: true })
        .ended(Outcome::RolledBack, Some("40001"))
        .finishing(&started);
    log.append(ended).unwrap();
}

#[test]
fn help() {
    let folder = tempfile::tempdir().unwrap();
    for action in ["verify", "show", "recover"] {
        insta::assert_snapshot!(
            format!("audit_{action}_help"),
            run(folder.path(), &["audit", action, "--help"])
        );
    }
}

#[test]
fn a_whole_log_is_shown_and_verified() {
    let folder = tempfile::tempdir().unwrap();
    write_log(folder.path(), AuditLogOptions::default());
    let run = |args: &[&str]| run(folder.path(), args);
    insta::assert_snapshot!("audit_show", run(&["audit", "show", "audit.jsonl"]));
    insta::assert_snapshot!("audit_verify", run(&["audit", "verify", "audit.jsonl"]));
    let json = run(&["audit", "verify", "--format", "json", "audit.jsonl"]);
    insta::assert_snapshot!("audit_verify_json", json);
    let lines = run(&["audit", "show", "--format", "json", "audit.jsonl"]);
    assert_eq!(lines.matches("\"schema\":\"ops-guard/audit-entry/v1\"").count(), 3, "{lines}");
    let other = format!("2:{}", "a".repeat(64));
    insta::assert_snapshot!("audit_verify_head", run(&["audit", "verify", "audit.jsonl", "--head", &other]));
    insta::assert_snapshot!("audit_verify_bad_head", run(&["audit", "verify", "audit.jsonl", "--head", "2"]));
}

#[test]
fn a_signed_head_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    for (key, name) in [(&key, "key.pem"), (&other, "other.pem")] {
        key.verifying_key().write_file(&folder.path().join(name)).unwrap();
    }
    write_log(folder.path(), AuditLogOptions { key: Some(key), ..AuditLogOptions::default() });
    let verify = |key| run(folder.path(), &["audit", "verify", "audit.jsonl", "--key", key]);
    insta::assert_snapshot!("audit_verify_signed", verify("key.pem"));
    insta::assert_snapshot!("audit_verify_unsigned", verify("other.pem"));
    assert!(verify("none.pem").starts_with("exit 65"));
}

#[test]
fn a_broken_a_torn_and_an_empty_log_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    let run = |args: &[&str]| run(folder.path(), args);
    insta::assert_snapshot!("audit_missing", run(&["audit", "verify", "audit.jsonl"]));
    AuditLog::open(&log).unwrap();
    insta::assert_snapshot!("audit_empty", run(&["audit", "verify", "audit.jsonl"]));
    write_log(folder.path(), AuditLogOptions::default());
    let whole = std::fs::read_to_string(&log).unwrap();

    std::fs::write(&log, whole.replace("\"refused\"", "\"started\"")).unwrap();
    insta::assert_snapshot!("audit_edited", run(&["audit", "verify", "audit.jsonl"]));
    insta::assert_snapshot!(
        "audit_edited_json",
        run(&["audit", "verify", "--format", "json", "audit.jsonl"])
    );
    assert!(run(&["audit", "show", "audit.jsonl"]).starts_with("exit 20"));
    assert!(run(&["audit", "recover", "audit.jsonl"]).starts_with("exit 20"), "that is no crash");

    std::fs::write(&log, format!("{whole}{{\"version\":1,\"seq")).unwrap();
    insta::assert_snapshot!("audit_torn", run(&["audit", "verify", "audit.jsonl"]));
    insta::assert_snapshot!("audit_recover", run(&["audit", "recover", "audit.jsonl"]));
    insta::assert_snapshot!("audit_recover_nothing", run(&["audit", "recover", "audit.jsonl"]));
    assert!(run(&["audit", "verify", "audit.jsonl"]).starts_with("exit 0"));
    assert!(run(&["audit", "show", "audit.jsonl"]).contains("17 bytes, now in audit.jsonl.torn-4"));

    std::fs::remove_file(&log).unwrap();
    assert!(run(&["audit", "verify", "audit.jsonl"]).starts_with("exit 20"), "its head is still there");
}

/// A disk without room, as the shell can make one: a limit on the size of files, with its signal ignored.
#[test]
fn a_full_disk_tears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    write_log(folder.path(), AuditLogOptions::default());
    let whole = std::fs::read(&log).unwrap();
    assert!(whole.len() > 1024, "{} bytes", whole.len());
    std::fs::write(&log, [&whole[..], b"{\"torn"].concat()).unwrap();
    let limited = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" audit recover audit.jsonl");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_ops-guard")]).current_dir(folder.path());
        shell.output().unwrap().status.code()
    };
    // Dash and bash count blocks of 512 or 1024 bytes; either way the limit is below the log's end, or within the line.
    assert_eq!(limited(1), Some(74));
    assert_eq!(std::fs::read(&log).unwrap(), whole, "the torn end was cut, and no part of a line was left");
    assert!(run(folder.path(), &["audit", "recover", "audit.jsonl"]).starts_with("exit 0"));
    assert!(run(folder.path(), &["audit", "verify", "audit.jsonl"]).starts_with("exit 0"));

    // A limit within the next line: a part of it is written, and taken back.
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(&log, [&whole[..], b"{\"torn"].concat()).unwrap();
    let room = u32::try_from(whole.len() / 512 + 1).unwrap();
    let _ = limited(room);
    assert!(std::fs::read(&log).unwrap().starts_with(&whole));
    let _ = run(folder.path(), &["audit", "recover", "audit.jsonl"]);
    assert!(run(folder.path(), &["audit", "verify", "audit.jsonl"]).starts_with("exit 0"));
}
