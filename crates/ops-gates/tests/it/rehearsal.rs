//! `kind = "rehearsal"` and `kind = "drill-record"` on records that were signed here.

use crate::support::{run, signed::Store};
use jiff::{SignedDuration, Timestamp};
use ops_core::evidence::{Check, Outcome, Record, Subject};
use ops_gates::Plan;

fn ago(days: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * days)
}

fn check(name: &str, outcome: Outcome) -> Check {
    Check { name: name.to_owned(), outcome, detail: String::new() }
}

/// What `ops-backup rehearse` signs of a cluster.
fn rehearsal(finished_at: Timestamp, cluster: &str) -> Record {
    let steps = ["restore", "pg_verifybackup", "start", "replay", "promote", "ledger"];
    Record {
        kind: "restore-rehearsal".to_owned(),
        outcome: Outcome::Passed,
        tool: "ops-backup 0.1.0".to_owned(),
        started_at: finished_at,
        finished_at,
        subjects: vec![
            Subject::of_bytes("backup/20261121T020000Z-1a2b", b"manifest"),
            Subject::of_bytes(format!("postgresql/{cluster}"), cluster.as_bytes()),
        ],
        checks: steps.map(|name| check(name, Outcome::Passed)).into(),
        measurements: [
            ("recovery_time_seconds", 42.0),
            ("data_lost_seconds", 30.0),
            ("data_lost_bytes", 16.0),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        attributes: [("backup", "20261121T020000Z-1a2b"), ("system_identifier", cluster)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..Record::default()
    }
}

async fn judged(store: &Store, kind: &str, keys: &str, objectives: &str, outcome: &str, code: &str) {
    let directory = store.directory();
    let toml = format!(
        "name = \"test\"\n[objectives]\n{objectives}\n[[gate]]\nid = \"it\"\nkind = \"{kind}\"\npath = \"{directory}/*.json\"\nkey = \"{directory}/key.pem\"\n{keys}\n"
    );
    run(&toml).await.expect(outcome, code);
}

const OBJECTIVES: &str = "rto = \"5m\"\nrpo = \"1m\"";
const CLUSTER: &str = "system_identifier = \"7400000000000000001\"\nmax_age = \"92d\"\n";

#[tokio::test]
async fn a_rehearsal_is_judged_by_the_objectives() {
    let store = Store::new();
    let record = |change: &dyn Fn(&mut Record)| {
        let mut record = rehearsal(ago(10), "7400000000000000001");
        change(&mut record);
        record
    };
    let without = |name: &'static str| {
        move |record: &mut Record| {
            record.measurements.remove(name);
        }
    };
    let cases: Vec<(Record, &str, &str, &str)> = vec![
        (record(&|_| {}), "", "PASS", "ok"),
        (
            record(&|_| {}),
            "require_checks = [\"ledger\", \"pg_verifybackup\"]\nmax_data_lost_bytes = 16",
            "PASS",
            "ok",
        ),
        (record(&|_| {}), "require_checks = [\"pg_amcheck\"]", "FAIL", "check-missing"),
        (record(&|_| {}), "max_data_lost_bytes = 0", "FAIL", "data-lost"),
        (record(&|_| {}), "backup = \"20261121T020000Z-1a2b\"", "PASS", "ok"),
        (record(&|_| {}), "backup = \"20261122T020000Z-1a2b\"", "FAIL", "other-backup"),
        (record(&|it| it.finished_at = ago(93)), "", "FAIL", "evidence-too-old"),
        (record(&|it| it.finished_at = ago(-1)), "", "ERROR", "evidence-from-the-future"),
        (record(&|it| it.outcome = Outcome::Failed), "", "FAIL", "evidence-not-passed"),
        (record(&|it| it.outcome = Outcome::Error), "", "FAIL", "evidence-not-passed"),
        (
            record(&|it| *it.measurements.get_mut("recovery_time_seconds").expect("measured") = 300.1),
            "",
            "FAIL",
            "rto",
        ),
        (
            record(&|it| *it.measurements.get_mut("data_lost_seconds").expect("measured") = 60.1),
            "",
            "FAIL",
            "rpo",
        ),
        (record(&without("recovery_time_seconds")), "", "FAIL", "rto-not-measured"),
        (record(&without("data_lost_seconds")), "", "ERROR", "rpo-not-measured"),
        (record(&without("data_lost_bytes")), "max_data_lost_bytes = 0", "ERROR", "rpo-not-measured"),
        (record(&|it| it.checks.retain(|check| check.name != "promote")), "", "FAIL", "check-missing"),
        (record(&|it| it.checks.push(check("replay", Outcome::Failed))), "", "FAIL", "check-not-passed"),
        (record(&|it| drop(it.attributes.remove("backup"))), "", "FAIL", "backup-not-named"),
        (record(&|it| drop(it.subjects.remove(0))), "", "FAIL", "backup-not-named"),
        (record(&|it| drop(it.subjects.remove(1))), "", "FAIL", "evidence-unrelated"),
        (rehearsal(ago(1), "7400000000000000002"), "", "FAIL", "evidence-unrelated"),
    ];
    for (record, keys, outcome, code) in cases {
        store.put("a.json", &record);
        judged(&store, "rehearsal", &format!("{CLUSTER}{keys}"), OBJECTIVES, outcome, code).await;
    }
}

#[tokio::test]
async fn a_newer_rehearsal_of_another_cluster_says_nothing() {
    let store = Store::new();
    store.put("own.json", &rehearsal(ago(10), "7400000000000000001"));
    store.put("other.json", &Record { outcome: Outcome::Failed, ..rehearsal(ago(1), "7400000000000000002") });
    judged(&store, "rehearsal", CLUSTER, OBJECTIVES, "PASS", "ok").await;
    store.put("newer.json", &Record { outcome: Outcome::Failed, ..rehearsal(ago(1), "7400000000000000001") });
    judged(&store, "rehearsal", CLUSTER, OBJECTIVES, "FAIL", "evidence-not-passed").await;
    store.forge("own.json", &rehearsal(ago(0), "7400000000000000001"));
    judged(&store, "rehearsal", CLUSTER, OBJECTIVES, "FAIL", "evidence-not-passed").await;
}

#[test]
fn objectives_have_no_silent_default() {
    for (kind, keys, objectives, problems) in [
        ("rehearsal", CLUSTER, "rto = \"5m\"", 1),
        ("rehearsal", CLUSTER, "", 2),
        ("drill-record", "drill = \"kafka\"\nmax_age = \"7d\"", "rpo = \"5m\"", 1),
    ] {
        let toml = format!(
            "name = \"test\"\n[objectives]\n{objectives}\n[[gate]]\nid = \"it\"\nkind = \"{kind}\"\npath = \"e\"\nkey = \"k\"\n{keys}\n"
        );
        let error = Plan::parse(&toml, "p").expect_err(&toml);
        assert_eq!(error.problems().len(), problems, "{:?}", error.problems());
    }
}

#[tokio::test]
async fn a_drill_whose_fault_was_not_seen_proves_nothing() {
    let store = Store::new();
    let drill = |change: &dyn Fn(&mut Record)| {
        let steps = ["steady-state", "impact-seen", "rolled-back", "recovered", "within-rto"];
        let mut record = Record {
            kind: "chaos-drill".to_owned(),
            outcome: Outcome::Passed,
            finished_at: ago(3),
            subjects: vec![Subject::of_bytes("drill.toml", b"drill")],
            attributes: [("drill".to_owned(), "kafka-outage".to_owned())].into(),
            checks: steps.map(|name| check(name, Outcome::Passed)).into(),
            measurements: [("recovery_time_seconds".to_owned(), 12.0)].into(),
            ..Record::default()
        };
        change(&mut record);
        record
    };
    let step = |at: usize, outcome: Outcome| move |it: &mut Record| it.checks[at].outcome = outcome;
    for (record, outcome, code) in [
        (drill(&|_| {}), "PASS", "ok"),
        (drill(&|it| it.finished_at = ago(8)), "FAIL", "evidence-too-old"),
        (drill(&|it| drop(it.checks.remove(1))), "FAIL", "check-missing"),
        (drill(&step(1, Outcome::Error)), "FAIL", "check-not-passed"),
        (drill(&step(2, Outcome::Failed)), "FAIL", "check-not-passed"),
        (drill(&|it| it.measurements.clear()), "FAIL", "rto-not-measured"),
        (
            drill(&|it| *it.measurements.get_mut("recovery_time_seconds").expect("measured") = 301.0),
            "FAIL",
            "rto",
        ),
        (
            drill(&|it| *it.attributes.get_mut("drill").expect("named") = "redis-outage".to_owned()),
            "FAIL",
            "evidence-unrelated",
        ),
    ] {
        store.put("a.json", &record);
        let keys = "drill = \"kafka-outage\"\nmax_age = \"7d\"";
        judged(&store, "drill-record", keys, OBJECTIVES, outcome, code).await;
    }
}
