//! What a run leaves behind: reports, events, the signed envelope, and its verification.

use crate::support::{Ran, options, parse, run, run_with};
use ops_core::evidence::SigningKey;
use ops_gates::{CancellationToken, ErrorKind, Options, RunRecord, Runner, Standing, report, verify};
use std::sync::Arc;

const PLAN: &str = "name = \"release\"\n[[gate]]\nid = \"good\"\nkind = \"command\"\nrun = [\"true\"]\n[[gate]]\nid = \"bad\"\nkind = \"command\"\nshell = true\nrun = [\"printf '\\\\033[31mred\\\\033[0m <&> ]]> | `tick`\\\\n\\\\001'; exit 1\"]\n[[gate]]\nid = \"slow\"\nkind = \"command\"\nrun = [\"sleep\", \"9\"]\ntimeout = \"100ms\"\nrequired = false\n[[gate]]\nid = \"after\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"bad\"]\n";

#[tokio::test]
async fn the_reports_tell_failure_from_error_and_never_skip() {
    let ran = run(PLAN).await;
    let junit = ran.read("junit.xml");
    assert!(
        junit.contains("tests=\"4\"") && junit.contains("failures=\"1\"") && junit.contains("errors=\"2\""),
        "{junit}"
    );
    assert!(
        junit.contains("<error message=\"needs `bad`, which did not pass\" type=\"blocked\"")
            && !junit.contains("<skipped"),
        "{junit}"
    );
    assert!(!junit.contains('\u{1b}') && !junit.contains('\u{1}'), "{junit}");
    let summary = ran.read("summary.md");
    assert!(
        summary.starts_with("# BLOCKED — release\n\ngate \\`bad\\`: exit code 1, expected 0.\n"),
        "{summary}"
    );
    assert!(
        summary.contains("| slow (advisory) | ERROR |") && summary.contains("Blocked by: bad, after."),
        "{summary}"
    );
    assert!(!summary.contains('\u{1b}'), "{summary}");
    // The reports are functions of the record alone.
    let read_back: RunRecord = serde_json::from_str(&ran.read("verdict.json")).expect("a record");
    assert_eq!(read_back, ran.record);
    assert_eq!((report::junit(&read_back), report::markdown(&read_back)), (junit, summary));
}

#[tokio::test]
async fn junit_is_well_formed_xml() {
    let ran = run(PLAN).await;
    let path = ran.directory.join("junit.xml");
    let script = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
    let parsed =
        std::process::Command::new("python3").arg("-c").arg(script).arg(path).output().expect("python3");
    assert!(parsed.status.success(), "{}", String::from_utf8_lossy(&parsed.stderr));
}

#[tokio::test]
async fn events_tell_the_run_in_order() {
    let ran = run(PLAN).await;
    let events: Vec<serde_json::Value> =
        ran.read("events.jsonl").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names.first().zip(names.last()), Some((&"run_started", &"run_ended")));
    assert_eq!(names.iter().filter(|name| **name == "gate_ended").count(), 4);
    let blocked = events.iter().find(|event| event["outcome"] == "blocked").expect("a blocked gate");
    assert_eq!((blocked["gate"].as_str(), blocked["by"].as_str()), (Some("after"), Some("bad")));
}

#[tokio::test]
async fn a_directory_holds_one_run() {
    let ran = run(PLAN).await;
    let before = ran.read("verdict.json");
    let again = Runner::new(options()).run(&parse(PLAN), &ran.directory, CancellationToken::new()).await;
    assert_eq!(again.expect_err("a second run").kind(), ErrorKind::RunDirectory);
    assert_eq!(ran.read("verdict.json"), before);
    let file = ran.directory.join("verdict.json");
    let below_a_file = Runner::new(options()).run(&parse(PLAN), &file, CancellationToken::new()).await;
    assert_eq!(below_a_file.expect_err("a file in the way").kind(), ErrorKind::RunDirectory);
}

async fn signed(plan: &str) -> (Ran, Arc<SigningKey>) {
    let key = Arc::new(SigningKey::generate().expect("randomness"));
    let options = Options { signing_key: Some(Arc::clone(&key)), ..options() };
    (run_with(&parse(plan), options, CancellationToken::new()).await, key)
}

#[tokio::test]
async fn a_signed_run_verifies_until_one_byte_of_it_changes() {
    let (ran, key) = signed(PLAN).await;
    let keys = [key.verifying_key()];
    let record = verify(&ran.directory, &keys).expect("a sound run");
    assert_eq!((&record, record.standing()), (&ran.record, Standing::Blocked));
    let stranger = [SigningKey::generate().expect("randomness").verifying_key()];
    assert_eq!(verify(&ran.directory, &stranger).expect_err("another key").kind(), ErrorKind::NotVerified);
    for name in ["verdict.json", "evidence.json", "logs/bad.log"] {
        let path = ran.directory.join(name);
        let whole = std::fs::read(&path).expect(name);
        let mut changed = whole.clone();
        let place = changed.len() / 2;
        changed[place] ^= 1;
        std::fs::write(&path, changed).expect(name);
        assert_eq!(verify(&ran.directory, &keys).expect_err(name).kind(), ErrorKind::NotVerified, "{name}");
        std::fs::remove_file(&path).expect(name);
        let kind = if name == "verdict.json" { ErrorKind::RunUnreadable } else { ErrorKind::NotVerified };
        assert_eq!(verify(&ran.directory, &keys).expect_err(name).kind(), kind, "{name} is missing");
        std::fs::write(&path, whole).expect(name);
    }
    assert!(verify(&ran.directory, &keys).is_ok());
}

#[tokio::test]
async fn a_verdict_edited_to_passed_does_not_verify() {
    let (ran, key) = signed(PLAN).await;
    let edited = ran.read("verdict.json").replace("\"BLOCKED\"", "\"PASSED\"");
    std::fs::write(ran.directory.join("verdict.json"), edited).expect("a file");
    assert_eq!(
        verify(&ran.directory, &[key.verifying_key()]).expect_err("edited").kind(),
        ErrorKind::NotVerified
    );
}

#[tokio::test]
async fn the_evidence_of_one_run_opens_a_gate_of_the_next() {
    let (ran, key) =
        signed("name = \"first\"\n[[gate]]\nid = \"ok\"\nkind = \"command\"\nrun = [\"true\"]").await;
    let public = ran.directory.join("key.pem");
    key.verifying_key().write_file(&public).expect("a key file");
    let gate = |check: &str| {
        format!(
            "kind = \"evidence\"\npath = \"{}\"\nkey = \"{}\"\nrecord_kind = \"gate-run\"\nmax_age = \"1h\"\nrequire_checks = [\"{check}\"]",
            ran.directory.join("evidence.json").display(),
            public.display()
        )
    };
    crate::support::run_gate(&gate("ok")).await.expect("PASS", "ok");
    crate::support::run_gate(&gate("other")).await.expect("FAIL", "check-missing");
}

#[tokio::test]
async fn an_event_log_that_cannot_be_written_is_no_evidence() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("run");
    // The gate itself destroys the directory in which its verdict should be written.
    let plan = format!(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nrun = [\"rm\", \"-rf\", \"{}\"]",
        directory.display()
    );
    let error = Runner::new(options())
        .run(&parse(&plan), &directory, CancellationToken::new())
        .await
        .expect_err("no evidence");
    assert_eq!(error.kind(), ErrorKind::EvidenceNotWritten);
}
