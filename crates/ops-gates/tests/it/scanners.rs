//! `kind = "vulnerabilities"`, `"secret-scan"` and `"migration-lint"` on reports in the shapes of their tools.
//!
//! The reports are short ones that we wrote; `ops-secrets` and `ops-guard` are played by scripts (stand-ins) that write
//! what the programs write.

use crate::support::repository::Repository;
use crate::support::run_gate;
use jiff::{SignedDuration, Timestamp};
use ops_gates::Plan;
use serde_json::{Value, json};

fn ago(hours: i64) -> String {
    (Timestamp::now() - SignedDuration::from_hours(hours)).to_string()
}

async fn vulnerabilities(scanner: &str, report: &Value, keys: &str, outcome: &str, code: &str) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("r.json"), report.to_string()).expect("a file");
    std::fs::write(
        directory.path().join("d.json"),
        json!({ "VulnerabilityDB": { "UpdatedAt": ago(2) } }).to_string(),
    )
    .expect("a file");
    std::fs::write(directory.path().join("old.json"), json!({ "UpdatedAt": ago(200) }).to_string())
        .expect("a file");
    let directory = directory.path().display();
    let keys = keys.replace('@', &directory.to_string());
    let keys = format!(
        "kind = \"vulnerabilities\"\nscanner = \"{scanner}\"\nreport = \"{directory}/r.json\"\nmax_database_age = \"7d\"\n{keys}"
    );
    run_gate(&keys).await.expect(outcome, code);
}

fn audit(found: &[&str], ignored: &[&str], updated: &str, packages: u64) -> Value {
    let list: Vec<Value> = found
        .iter()
        .map(|id| json!({ "advisory": { "id": id, "aliases": ["CVE-2026-1"] }, "package": { "name": "openssl" } }))
        .collect();
    json!({
        "database": { "advisory-count": 800, "last-commit": null, "last-updated": updated },
        "lockfile": { "dependency-count": packages },
        "settings": { "ignore": ignored },
        "vulnerabilities": { "found": !list.is_empty(), "count": list.len(), "list": list },
        "warnings": {},
    })
}

fn ignore(id: &str, days: i64) -> String {
    let until = (Timestamp::now() + SignedDuration::from_hours(24 * days)).strftime("%Y-%m-%d");
    format!(
        "ignore = [{{ id = \"{id}\", owner = \"Ada\", reason = \"not reachable\", until = \"{until}\" }}]"
    )
}

#[tokio::test]
async fn cargo_audit() {
    let id = "RUSTSEC-2026-0001";
    let mut without_database = audit(&[], &[], &ago(1), 90);
    without_database["database"]["advisory-count"] = json!(0);
    for (report, keys, outcome, code) in [
        (audit(&[], &[], &ago(1), 90), String::new(), "PASS", "ok"),
        (audit(&[id], &[], &ago(1), 90), String::new(), "FAIL", "vulnerable"),
        (audit(&[id], &[], &ago(1), 90), ignore(id, 5), "PASS", "ok"),
        (audit(&[id], &[], &ago(1), 90), ignore("CVE-2026-1", 5), "PASS", "ok"),
        (audit(&[id], &[], &ago(1), 90), ignore(id, -1), "FAIL", "vulnerable"),
        (audit(&[id], &[], &ago(1), 90), ignore("RUSTSEC-2026-0002", 5), "FAIL", "vulnerable"),
        // What the tool was told to ignore is answered for here, or counts.
        (audit(&[], &[id], &ago(1), 90), String::new(), "FAIL", "ignored-without-owner"),
        (audit(&[], &[id], &ago(1), 90), ignore(id, 5), "PASS", "ok"),
        (audit(&[], &[], &ago(24 * 8), 90), String::new(), "ERROR", "database-too-old"),
        (audit(&[], &[], &ago(-2), 90), String::new(), "ERROR", "database-age"),
        (audit(&[], &[], "", 90), String::new(), "ERROR", "database-age"),
        (without_database, String::new(), "ERROR", "database-age"),
        (audit(&[], &[], &ago(1), 0), String::new(), "ERROR", "nothing-scanned"),
        (json!({}), String::new(), "ERROR", "not-understood"),
    ] {
        vulnerabilities("cargo-audit", &report, &keys, outcome, code).await;
    }
}

#[tokio::test]
async fn trivy() {
    let report = |severity: &str| {
        json!({
            "SchemaVersion": 2,
            "ArtifactName": "registry.example/shop:1.2",
            "Metadata": { "RepoDigests": ["registry.example/shop@sha256:abc"] },
            "Results": [
                { "Target": "Cargo.lock", "Class": "lang-pkgs", "Vulnerabilities": [
                    { "VulnerabilityID": "CVE-2026-7", "PkgName": "openssl", "Severity": severity } ] },
                { "Target": "app.env", "Class": "secret" },
            ],
        })
    };
    let mut nothing = report("LOW");
    nothing["Results"] = Value::Null;
    let mut only_secrets = report("LOW");
    only_secrets["Results"] = json!([{ "Target": "app.env", "Class": "secret" }]);
    let young = "database = \"@/d.json\"";
    for (report, keys, outcome, code) in [
        (report("HIGH"), young.to_owned(), "PASS", "ok"),
        (report("CRITICAL"), young.to_owned(), "FAIL", "vulnerable"),
        (report("HIGH"), format!("{young}\nseverities = [\"high\", \"critical\"]"), "FAIL", "vulnerable"),
        (report("UNKNOWN"), young.to_owned(), "FAIL", "vulnerable"),
        (report("LOW"), "database = \"@/old.json\"".to_owned(), "ERROR", "database-too-old"),
        (report("LOW"), "database = \"@/r.json\"".to_owned(), "ERROR", "database-age"),
        (report("LOW"), "database = \"@/none.json\"".to_owned(), "ERROR", "file-missing"),
        (report("LOW"), format!("{young}\nartifact = \"sha256:abc\""), "PASS", "ok"),
        (report("LOW"), format!("{young}\nartifact = \"sha256:abd\""), "FAIL", "other-artifact"),
        (nothing, young.to_owned(), "ERROR", "nothing-scanned"),
        (only_secrets, young.to_owned(), "ERROR", "nothing-scanned"),
    ] {
        vulnerabilities("trivy", &report, &keys, outcome, code).await;
    }
}

#[tokio::test]
async fn osv() {
    let report = |score: &str| {
        json!({ "results": [{ "source": { "path": "Cargo.lock" }, "packages": [
            { "package": { "name": "openssl" },
              "vulnerabilities": [{ "id": "GHSA-1" }],
              "groups": [{ "ids": ["GHSA-1"], "aliases": ["CVE-2026-9"], "max_severity": score }] } ] }] })
    };
    let clean = json!({ "results": [{ "source": {}, "packages": [{ "package": { "name": "openssl" } }] }] });
    let mut bare = report("");
    bare["results"][0]["packages"][0]["groups"] = Value::Null;
    let young = format!("database_updated_at = \"{}\"\n", ago(1));
    for (report, keys, outcome, code) in [
        (clean, young.clone(), "PASS", "ok"),
        (report("9.8"), young.clone(), "FAIL", "vulnerable"),
        (report("8.9"), young.clone(), "PASS", "ok"),
        (report(""), young.clone(), "FAIL", "vulnerable"),
        (bare, young.clone(), "FAIL", "vulnerable"),
        (report("9.8"), young.clone() + &ignore("CVE-2026-9", 3), "PASS", "ok"),
        (report("1.0"), format!("database_updated_at = \"{}\"", ago(24 * 8)), "ERROR", "database-too-old"),
        // Without packages it may not have looked at anything.
        (json!({ "results": [] }), young.clone(), "ERROR", "nothing-scanned"),
    ] {
        vulnerabilities("osv", &report, &keys, outcome, code).await;
    }
}

#[test]
fn an_ignored_vulnerability_has_an_owner_and_an_end() {
    for keys in [
        "ignore = [{ id = \"X\", owner = \"\", reason = \"r\", until = \"2026-12-31\" }]",
        "ignore = [{ id = \"X\", owner = \"Ada\", reason = \"r\", until = \"soon\" }]",
        "ignore = [{ id = \"X\", owner = \"Ada\", reason = \"r\" }]",
        "artifact = \"x\"",
    ] {
        let toml = format!(
            "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"vulnerabilities\"\nscanner = \"cargo-audit\"\nreport = \"r\"\nmax_database_age = \"7d\"\n{keys}"
        );
        Plan::parse(&toml, "p").expect_err(keys);
    }
    let trivy = "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"vulnerabilities\"\nscanner = \"trivy\"\nreport = \"r\"\nmax_database_age = \"7d\"";
    Plan::parse(trivy, "p").expect_err("nothing says how old the database is");
}

fn scan(verdict: &str, objects: u64, findings: &Value, gaps: &Value) -> Value {
    json!({
        "schema": "ops-secrets/scan/v1", "verdict": verdict, "scanned": { "files": 0, "objects": objects, "bytes": objects * 10 },
        "findings": findings, "gaps": gaps, "opaque": [], "excluded": 0, "unused": [],
    })
}

#[tokio::test]
async fn a_scan_of_a_stand_in_for_ops_secrets_is_of_the_released_commit_and_of_something() {
    let repository = Repository::new();
    repository.write("a.txt", "a");
    let first = repository.commit("ada@example.com", "One");
    repository.write("a.txt", "b");
    let commit = repository.commit("ada@example.com", "Two");
    let found = |tier: &str, state: &str| json!([{ "title": "A key", "tier": tier, "state": state, "fingerprint": "f" }]);
    let none = json!([]);
    let gap = json!([{ "place": "x", "reason": "shallow" }]);
    for (report, exit, keys, outcome, code) in [
        (scan("clean", 9, &none, &none), 0, "", "PASS", "ok"),
        (scan("found", 9, &found("certain", "new"), &none), 20, "", "FAIL", "secret-found"),
        (scan("found", 9, &found("certain", "expired"), &none), 20, "", "FAIL", "secret-found"),
        (scan("clean", 9, &found("certain", "suppressed"), &none), 0, "", "PASS", "ok"),
        (scan("clean", 9, &found("likely", "new"), &none), 0, "", "PASS", "ok"),
        (scan("clean", 9, &found("likely", "new"), &none), 0, "strict = true", "FAIL", "secret-found"),
        (scan("unjudged", 9, &none, &gap), 21, "", "INCONCLUSIVE", "not-judged"),
        (scan("nothing", 0, &none, &none), 22, "", "ERROR", "nothing-scanned"),
        (scan("clean", 0, &none, &none), 0, "", "ERROR", "nothing-scanned"),
        (scan("clean", 9, &none, &none), 65, "", "ERROR", "tool"),
        (json!({ "schema": "other" }), 0, "", "ERROR", "not-understood"),
        (scan("dirty", 9, &none, &none), 0, "", "ERROR", "nothing-scanned"),
    ] {
        repository.write(".git/report.json", &report.to_string());
        repository.write(".git/scan.sh", &format!("cat .git/report.json; exit {exit}\n"));
        let keys = format!("kind = \"secret-scan\"\nrun = [\"sh\", \".git/scan.sh\"]\n{keys}");
        repository.run_gate(&commit, &keys).await.expect(outcome, code);
    }
    let keys = "kind = \"secret-scan\"\nrun = [\"sh\", \".git/scan.sh\"]";
    repository.write(".git/scan.sh", "cat .git/report.json\n");
    repository.write(".git/report.json", &scan("clean", 9, &none, &none).to_string());
    repository.run_gate(&first, keys).await.expect("ERROR", "other-commit");
    // What is scanned must still be the commit when the scan is over.
    repository.write(".git/scan.sh", "cat .git/report.json; echo c > a.txt\n");
    repository.run_gate(&commit, keys).await.expect("ERROR", "other-commit");
    repository.run_gate(&commit, keys).await.expect("ERROR", "other-commit");
}

#[tokio::test]
async fn sarif_names_its_commit_and_shows_its_work() {
    let commit = "1".repeat(40);
    let run = |change: &dyn Fn(&mut Value)| {
        let mut run = json!({
            "tool": { "driver": { "name": "gitleaks" } },
            "versionControlProvenance": [{ "repositoryUri": "https://git.example/shop", "revisionId": commit }],
            "invocations": [{ "executionSuccessful": true }],
            "artifacts": [{ "location": { "uri": "a.txt" } }],
            "results": [],
        });
        change(&mut run);
        json!({ "version": "2.1.0", "runs": [run] })
    };
    let result = |level: &'static str, suppression: Value| {
        move |it: &mut Value| {
            it["results"] = json!([{ "ruleId": "aws", "level": level, "suppressions": suppression }]);
        }
    };
    // As a scanner writes it that gives no level, or gives one to its rules.
    let found = |rule: Value, more: Value| {
        move |it: &mut Value| {
            it["tool"]["driver"]["rules"] = json!([{ "id": "other" }, rule]);
            it["results"] = json!([{ "ruleId": "aws", "message": { "text": "a key" } }]);
            it["results"][0].as_object_mut().expect("it").extend(more.as_object().expect("it").clone());
        }
    };
    let quiet = json!({ "id": "aws", "defaultConfiguration": { "level": "note" } });
    let loud = json!({ "id": "aws", "defaultConfiguration": { "level": "error" } });
    let because = json!([{ "kind": "external", "justification": "an example" }]);
    for (report, keys, outcome, code) in [
        (run(&|_| {}), "", "PASS", "ok"),
        (run(&result("error", Value::Null)), "", "FAIL", "secret-found"),
        (run(&result("warning", Value::Null)), "", "PASS", "ok"),
        (run(&result("warning", Value::Null)), "strict = true", "FAIL", "secret-found"),
        (run(&result("error", because)), "", "PASS", "ok"),
        (run(&result("error", json!([{ "kind": "inSource" }]))), "", "FAIL", "secret-found"),
        (
            run(&result(
                "error",
                json!([{ "kind": "external", "justification": "x", "status": "rejected" }]),
            )),
            "",
            "FAIL",
            "secret-found",
        ),
        (run(&found(json!({ "id": "aws" }), json!({}))), "", "FAIL", "secret-found"),
        (run(&found(quiet.clone(), json!({}))), "", "PASS", "ok"),
        (run(&found(quiet.clone(), json!({ "ruleIndex": 1 }))), "", "PASS", "ok"),
        (run(&found(quiet.clone(), json!({ "ruleIndex": 0 }))), "", "FAIL", "secret-found"),
        (run(&found(quiet.clone(), json!({}))), "strict = true", "FAIL", "secret-found"),
        (run(&found(quiet, json!({ "level": "error" }))), "", "FAIL", "secret-found"),
        (run(&found(loud.clone(), json!({}))), "", "FAIL", "secret-found"),
        (run(&found(loud.clone(), json!({ "level": "warning" }))), "", "PASS", "ok"),
        (run(&found(loud.clone(), json!({ "baselineState": "absent" }))), "", "PASS", "ok"),
        (run(&found(loud.clone(), json!({ "baselineState": "unchanged" }))), "", "FAIL", "secret-found"),
        (run(&found(loud, json!({ "kind": "pass" }))), "", "PASS", "ok"),
        (run(&|it| it["versionControlProvenance"] = Value::Null), "", "FAIL", "other-commit"),
        (
            run(&|it| it["versionControlProvenance"][0]["revisionId"] = json!("2".repeat(40))),
            "",
            "FAIL",
            "other-commit",
        ),
        (run(&|it| it["invocations"] = json!([])), "", "ERROR", "tool"),
        (run(&|it| it["invocations"][0]["executionSuccessful"] = json!(false)), "", "ERROR", "tool"),
        (run(&|it| it["results"] = Value::Null), "", "ERROR", "nothing-scanned"),
        (run(&|it| it["artifacts"] = json!([])), "", "ERROR", "nothing-scanned"),
        (json!({ "runs": [] }), "", "ERROR", "nothing-scanned"),
    ] {
        let repository = Repository::new();
        repository.write(".git/r.sarif", &report.to_string());
        let keys = format!("kind = \"secret-scan\"\nsarif = \".git/r.sarif\"\n{keys}");
        repository.run_gate(&commit, &keys).await.expect(outcome, code);
    }
}

/// A stand-in for `ops-guard check`: one verdict a file, by what stands in the file.
const GUARD: &str = r#"
for file; do
  effect=$(sed -n 's/^-- effect //p' "$file"); verdict=$(sed -n 's/^-- verdict //p' "$file")
  [ -n "$effect" ] && printf '{"schema":"ops-guard/check/v1","file":"%s","index":0,"line":1,"verdict":"%s","effects":["%s"],"rule":"r","reason":"because"}\n' "$file" "${verdict:-allow}" "$effect"
done
exit 0
"#;

#[tokio::test]
async fn migrations_as_a_stand_in_for_ops_guard_sees_them_go_forward() {
    for (name, sql, keys, outcome, code) in [
        ("m/0003.sql", "-- effect schema_add", "", "PASS", "ok"),
        ("m/0003.sql", "-- effect schema_drop", "", "FAIL", "contracts"),
        ("m/0003.sql", "-- effect schema_drop\n-- verdict deny", "contract = true", "PASS", "ok"),
        ("m/0003.sql", "-- effect schema_change\n-- verdict deny", "", "FAIL", "refused"),
        ("m/0003.sql", "-- effect schema_change\n-- verdict approve", "contract = true", "FAIL", "refused"),
        ("m/0003.sql", "-- effect dynamic_code", "", "INCONCLUSIVE", "unknown-effect"),
        ("m/0003.sql", "-- nothing", "", "ERROR", "no-statement"),
        ("m/0001a.sql", "-- effect schema_add", "", "FAIL", "out-of-order"),
        ("m/0002.sql", "-- effect schema_add", "", "FAIL", "not-forward"),
        ("m/0003.down.sql", "-- effect schema_add", "", "FAIL", "not-forward"),
        ("readme.md", "words", "", "PASS", "ok"),
        ("readme.md", "words", "paths = [\"n/*.sql\"]", "ERROR", "no-migrations"),
    ] {
        let repository = Repository::new();
        repository.write("m/0001.sql", "-- effect schema_add\n");
        repository.write("m/0002.sql", "-- effect schema_add\n-- before\n");
        let base = repository.commit("ada@example.com", "Base");
        repository.write(name, &format!("{sql}\n"));
        let commit = repository.commit("ada@example.com", "Change");
        repository.write(".git/guard.sh", GUARD);
        let paths = if keys.contains("paths") { "" } else { "paths = [\"m/*.sql\"]\n" };
        let keys = format!(
            "kind = \"migration-lint\"\nbase = \"{base}\"\nrun = [\"sh\", \".git/guard.sh\"]\n{paths}{keys}"
        );
        repository.run_gate(&commit, &keys).await.expect(outcome, code);
    }
    let repository = Repository::new();
    repository.write("m/0001.sql", "-- effect schema_add\n");
    let base = repository.commit("ada@example.com", "Base");
    repository.git(&["rm", "--quiet", "m/0001.sql"]);
    repository.write("m/0002.sql", "-- effect schema_add\n");
    let commit = repository.commit("ada@example.com", "Squashed");
    let keys = format!("kind = \"migration-lint\"\nbase = \"{base}\"\npaths = [\"m/*.sql\"]");
    repository.run_gate(&commit, &keys).await.expect("FAIL", "not-forward");
}
