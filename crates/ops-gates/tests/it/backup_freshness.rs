//! `kind = "backup-freshness"` on listings in the shape of `ops-backup list --format json`.

use crate::support::run;
use jiff::{SignedDuration, Timestamp};
use ops_gates::Plan;
use serde_json::{Value, json};

const CLUSTER: &str = "7400000000000000001";

fn ago(minutes: i64) -> Value {
    json!((Timestamp::now() - SignedDuration::from_mins(minutes)).to_string())
}

fn backup(id: &str, hours: i64, bytes: u64) -> Value {
    let ended = ago(hours * 60);
    json!({
        "id": id, "started_at": ended, "finished_at": ended, "raw_bytes": bytes, "bad_pages": 0, "recoverable": true,
        "damaged": null, "verified": null, "source": { "engine": "postgres", "stop_time": ended },
    })
}

/// Four backups, one a night, of which the last is two hours old; WAL until a minute ago.
fn listing() -> Value {
    let backups: Vec<Value> = [("a", 74, 1000), ("b", 50, 1010), ("c", 26, 1020), ("d", 2, 1030)]
        .map(|(id, hours, bytes)| backup(id, hours, bytes))
        .into();
    json!({
        "schema": "ops-backup/list/v2",
        "clusters": [{
            "cluster": { "system_identifier": CLUSTER, "major": 17 },
            "backups": backups,
            "wal": [{ "timeline": 1, "missing": 0 }],
            "windows": [{ "timeline": 1, "backup": "a", "until": ago(1), "until_lsn": "0/5000000" }],
        }],
        "trees": [{ "name": "uploads", "backups": [backup("t", 2, 500)] }],
        "damaged_records": {},
    })
}

fn plan(place: &str, keys: &str) -> String {
    format!(
        "name = \"x\"\n[objectives]\nrpo = \"5m\"\n[[gate]]\nid = \"it\"\nkind = \"backup-freshness\"\n{place}\n{keys}\n"
    )
}

async fn expect(listing: &Value, keys: &str, outcome: &str, code: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("list.json");
    std::fs::write(&path, listing.to_string()).expect("a file");
    let cluster =
        if keys.contains("tree") { String::new() } else { format!("system_identifier = \"{CLUSTER}\"\n") };
    let keys = format!("{cluster}{keys}");
    for place in
        [format!("file = \"{}\"", path.display()), format!("run = [\"cat\", \"{}\"]", path.display())]
    {
        let ran = run(&plan(&place, &keys)).await;
        let gate = ran.expect(outcome, code);
        assert!(outcome != "PASS" || gate.measurements["recovery_point_age_seconds"] >= 60.0, "{gate:?}");
    }
}

#[tokio::test]
async fn the_recovery_point_counts_and_no_file() {
    let changed = |pointer: &str, value: Value| {
        let mut listing = listing();
        *listing.pointer_mut(pointer).expect(pointer) = value;
        listing
    };
    let cluster = "/clusters/0";
    for (listing, keys, outcome, code) in [
        (listing(), "", "PASS", "ok"),
        (listing(), "max_backup_age = \"26h\"\nmax_size_change_percent = 20", "PASS", "ok"),
        (listing(), "max_backup_age = \"1h\"", "FAIL", "backup-too-old"),
        (listing(), "max_size_change_percent = 1", "FAIL", "backup-size"),
        (
            changed("/clusters/0/backups/3/raw_bytes", json!(10)),
            "max_size_change_percent = 50",
            "FAIL",
            "backup-size",
        ),
        (
            changed("/clusters/0/backups/0/damaged", ago(1)),
            "max_size_change_percent = 50",
            "FAIL",
            "nothing-recoverable",
        ),
        (
            changed("/clusters/0/backups/1/damaged", ago(1)),
            "max_size_change_percent = 50",
            "INCONCLUSIVE",
            "too-few-backups",
        ),
        (listing(), "max_verified_age = \"1d\"", "FAIL", "backup-not-verified"),
        (changed("/clusters/0/backups/3/verified", ago(60)), "max_verified_age = \"1d\"", "PASS", "ok"),
        (
            changed("/clusters/0/backups/3/bad_pages", json!(1)),
            "max_backup_age = \"3h\"",
            "FAIL",
            "backup-too-old",
        ),
        (changed("/clusters/0/windows/0/until", ago(6)), "", "FAIL", "rpo"),
        (changed("/clusters/0/windows/0/until", ago(-10)), "", "ERROR", "recovery-point-from-the-future"),
        (changed("/clusters/0/windows/0/until", Value::Null), "", "ERROR", "no-recovery-time"),
        (changed("/clusters/0/windows", json!([])), "", "FAIL", "nothing-recoverable"),
        (changed("/clusters/0/wal/0/missing", json!(2)), "", "FAIL", "wal-missing"),
        // The cluster was promoted, and nothing of its new timeline can be recovered.
        (changed("/clusters/0/wal/0/timeline", json!(2)), "", "FAIL", "nothing-recoverable"),
        (changed(&format!("{cluster}/cluster/system_identifier"), json!("7")), "", "FAIL", "no-backup"),
        (changed("/damaged_records", json!({ "7": "truncated" })), "", "ERROR", "damaged-record"),
        (changed("/schema", json!("ops-backup/list/v1")), "", "ERROR", "not-understood"),
        (json!([]), "", "ERROR", "not-understood"),
        (listing(), "tree = \"uploads\"", "FAIL", "rpo"),
        (changed("/trees/0/backups/0/started_at", ago(4)), "tree = \"uploads\"", "PASS", "ok"),
        (listing(), "tree = \"other\"", "FAIL", "no-backup"),
    ] {
        expect(&listing, keys, outcome, code).await;
    }
}

#[tokio::test]
async fn a_lister_that_fails_is_an_error() {
    let cluster = format!("system_identifier = \"{CLUSTER}\"");
    run(&plan("run = [\"false\"]", &cluster)).await.expect("ERROR", "tool");
    run(&plan("run = [\"true\"]", &cluster)).await.expect("ERROR", "not-understood");
    run(&plan("file = \"none.json\"", &cluster)).await.expect("ERROR", "file-missing");
}

#[test]
fn the_rpo_has_no_silent_default() {
    let cluster = format!("system_identifier = \"{CLUSTER}\"");
    for toml in [
        plan("file = \"x\"", &cluster).replace("rpo = \"5m\"", ""),
        plan("", &cluster),
        plan("file = \"x\"\nrun = [\"x\"]", &cluster),
        plan("file = \"x\"", ""),
        plan("file = \"x\"", &format!("{cluster}\ntree = \"x\"")),
    ] {
        Plan::parse(&toml, "p").expect_err(&toml);
    }
}
