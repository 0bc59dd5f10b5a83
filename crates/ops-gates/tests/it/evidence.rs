//! `kind = "evidence"` on envelopes that ops-core signed.

use crate::support::{options, run_gate, run_with};
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::{Check, Envelope, Outcome, Record, SigningKey, Subject};
use ops_gates::{CancellationToken, Plan};
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory with a key pair and envelopes.
struct Store {
    directory: TempDir,
    key: SigningKey,
}

impl Store {
    fn new() -> Self {
        let store = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
            key: SigningKey::generate().expect("randomness"),
        };
        store.key.verifying_key().write_file(&store.path("key.pem")).expect("a key file");
        store
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn put(&self, name: &str, record: &Record) {
        let envelope = Envelope::sign(record, &self.key).expect("a sound record");
        std::fs::write(self.path(name), envelope.to_json()).expect("a file");
    }

    async fn expect(&self, keys: &str, outcome: &str, code: &str) {
        let directory = self.directory.path().display();
        let ran = run_gate(&format!(
            "kind = \"evidence\"\npath = \"{directory}/*.json\"\nkey = \"{directory}/key.pem\"\nrecord_kind = \"restore-rehearsal\"\nmax_age = \"1h\"\n{keys}"
        ))
        .await;
        ran.expect(outcome, code);
    }
}

fn ago(minutes: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_mins(minutes)
}

fn rehearsal(finished_at: Timestamp) -> Record {
    Record {
        kind: "restore-rehearsal".to_owned(),
        outcome: Outcome::Passed,
        tool: "test".to_owned(),
        started_at: finished_at,
        finished_at,
        subjects: vec![Subject::of_bytes("cluster", b"backup")],
        checks: vec![Check { name: "ledger".to_owned(), outcome: Outcome::Passed, detail: String::new() }],
        measurements: [("recovery_time_seconds".to_owned(), 42.0)].into(),
        ..Record::default()
    }
}

#[tokio::test]
async fn fresh_evidence_that_fits_passes_and_each_other_kind_has_its_reason() {
    let store = Store::new();
    store.expect("", "FAIL", "evidence-missing").await;
    store.put("a.json", &rehearsal(ago(5)));
    let digest = &rehearsal(ago(5)).subjects[0].digest["sha256"];
    for (keys, outcome, code) in [
        ("", "PASS", "ok"),
        (
            "require_checks = [\"ledger\"]\n[gate.measurements]\nrecovery_time_seconds = { max = 42, min = 42 }",
            "PASS",
            "ok",
        ),
        ("require_checks = [\"ledger\", \"amcheck\"]", "FAIL", "check-missing"),
        ("measurements = { recovery_time_seconds = { max = 41.9 } }", "FAIL", "measurement"),
        ("measurements = { recovery_time_seconds = { min = 42.1 } }", "FAIL", "measurement"),
        ("measurements = { data_lost_seconds = { max = 60 } }", "FAIL", "measurement-missing"),
        ("subject = \"cluster\"", "PASS", "ok"),
        ("subject = \"other\"", "FAIL", "evidence-unrelated"),
        (&format!("subject = \"cluster\"\ndigest = \"sha256:{digest}\""), "PASS", "ok"),
        (&format!("digest = \"sha256:{}\"", "0".repeat(64)), "FAIL", "evidence-unrelated"),
        (&format!("subject = \"other\"\ndigest = \"sha256:{digest}\""), "FAIL", "evidence-unrelated"),
    ] {
        store.expect(keys, outcome, code).await;
    }
}

#[tokio::test]
async fn the_newest_verified_record_decides() {
    let store = Store::new();
    store.put("old.json", &rehearsal(ago(61)));
    store.expect("", "FAIL", "evidence-too-old").await;
    store.put("new.json", &rehearsal(ago(10)));
    store.expect("", "PASS", "ok").await;
    // A newer one of another kind says nothing.
    store.put(
        "gate.json",
        &Record { kind: "gate-run".to_owned(), outcome: Outcome::Failed, ..rehearsal(ago(1)) },
    );
    store.expect("", "PASS", "ok").await;
    // A newer one that somebody else signed says nothing, and rubbish neither.
    let stranger = Envelope::sign(
        &Record { outcome: Outcome::Failed, ..rehearsal(ago(1)) },
        &SigningKey::generate().expect("randomness"),
    );
    std::fs::write(store.path("stranger.json"), stranger.expect("a sound record").to_json()).expect("a file");
    std::fs::write(store.path("rubbish.json"), b"{").expect("a file");
    store.expect("", "PASS", "ok").await;
    // A newer one that failed decides, though an older one passed.
    for outcome in [Outcome::Failed, Outcome::Error] {
        store.put("failed.json", &Record { outcome, ..rehearsal(ago(5)) });
        store.expect("", "FAIL", "evidence-not-passed").await;
    }
    store.put("failed.json", &rehearsal(ago(-10)));
    store.expect("", "ERROR", "evidence-from-the-future").await;
}

#[tokio::test]
async fn a_check_that_did_not_pass_blocks() {
    let store = Store::new();
    let mut record = rehearsal(ago(1));
    record.checks.push(Check {
        name: "amcheck".to_owned(),
        outcome: Outcome::Error,
        detail: "no amcheck".to_owned(),
    });
    store.put("a.json", &record);
    store.expect("require_checks = [\"amcheck\"]", "FAIL", "check-not-passed").await;
    store.expect("require_checks = [\"ledger\"]", "PASS", "ok").await;
}

#[tokio::test]
async fn what_does_not_verify_is_no_evidence() {
    let store = Store::new();
    store.put("a.json", &rehearsal(ago(1)));
    let whole = std::fs::read_to_string(store.path("a.json")).expect("a file");
    let payload = whole.split("\"payload\":\"").nth(1).expect("a payload");
    let changed = whole.replace(&payload[..40], &payload[1..41]);
    for bytes in [changed.as_bytes(), &whole.as_bytes()[..whole.len() / 2], b"", b"[]"] {
        std::fs::write(store.path("a.json"), bytes).expect("a file");
        store.expect("", "FAIL", "evidence-unverified").await;
    }
    std::fs::write(store.path("key.pem"), "no key").expect("a file");
    store.expect("", "ERROR", "key").await;
    std::fs::remove_file(store.path("key.pem")).expect("a file");
    store.expect("", "ERROR", "key").await;
}

#[tokio::test]
async fn paths_start_at_the_plan_s_directory() {
    let store = Store::new();
    store.put("a.json", &rehearsal(ago(1)));
    let plan = "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"evidence\"\npath = \"a.json\"\nkey = \"key.pem\"\nrecord_kind = \"restore-rehearsal\"\nmax_age = \"1h\"\n";
    std::fs::write(store.path("plan.toml"), plan).expect("a file");
    let plan =
        Plan::load(&store.path("plan.toml"), &ops_gates::ReadOptions::default()).expect("a sound plan");
    run_with(&plan, options(), CancellationToken::new()).await.expect("PASS", "ok");
    let directory = store.directory.path().display();
    run_gate(&format!("kind = \"evidence\"\npath = \"{directory}\"\nkey = \"{directory}/key.pem\"\nrecord_kind = \"r\"\nmax_age = \"1h\""))
        .await
        .expect("ERROR", "path");
}
