//! Help and answers, as snapshots; a change of one is a change for users.

use crate::support::{Place, stable};

const BLOCKED: &str = r#"
name = "release"

[subject]
name = "shop"
digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

[[gate]]
id = "smoke"
kind = "command"
run = ["echo", "12 tests passed"]
expect_stdout = "tests passed"
timeout = "10s"

[[gate]]
id = "lint"
kind = "command"
shell = true
run = ["printf 'a \\033[31mred\\033[0m word\\n'; exit 3"]
required = false

[[gate]]
id = "rehearsed"
kind = "evidence"
path = "evidence/*.json"
key = "gate.pub.pem"
record_kind = "restore-rehearsal"
max_age = "7d"
needs = ["smoke"]

[gate.measurements]
recovery_time_seconds = { max = 300 }

[[gate]]
id = "restored"
kind = "postgres"
url = "postgresql://app@127.0.0.1:1/shop"
query = "SELECT sum(amount) FROM ledger"
expect = "42"
needs = ["rehearsed"]
"#;

const PASSING: &str = "name = \"release\"\n[[gate]]\nid = \"smoke\"\nkind = \"command\"\nrun = [\"true\"]\n";

#[test]
fn help() {
    let place = Place::with("");
    insta::assert_snapshot!("help", place.run(&["--help"]).stdout);
    insta::assert_snapshot!("help_run", place.run(&["run", "--help"]).stdout);
    insta::assert_snapshot!("help_verify", place.run(&["verify", "--help"]).stdout);
}

#[test]
fn the_plan_as_text_and_json() {
    let place = Place::with(BLOCKED);
    let text = place.run(&["plan", "release.toml"]);
    let json = place.run(&["plan", "release.toml", "--format", "json"]);
    assert_eq!((text.code, json.code), (Some(0), Some(0)), "{}", text.stderr);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    stable(|| {
        insta::assert_snapshot!("plan", text.stdout);
        insta::assert_json_snapshot!("plan_json", json);
    });
}

#[test]
fn a_blocked_run_as_text_and_json() {
    let place = Place::with(BLOCKED);
    place.make_keys();
    let text = place.run(&["run", "release.toml", "--run-dir", "one"]);
    let json = place.run(&["run", "release.toml", "--run-dir", "two", "--format", "json"]);
    assert_eq!((text.code, json.code), (Some(20), Some(20)), "{}", text.stderr);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    stable(|| {
        insta::assert_snapshot!("run_blocked", text.stdout);
        insta::assert_json_snapshot!("run_blocked_json", json);
    });
}

#[test]
fn a_signed_run_verifies_and_a_changed_one_does_not() {
    let place = Place::with(PASSING);
    place.make_keys();
    let ran = place.run(&["run", "release.toml", "--run-dir", "out", "--signing-key", "gate.pem"]);
    let verified = place.run(&["verify", "out", "--key", "gate.pub.pem"]);
    assert_eq!((ran.code, verified.code), (Some(0), Some(0)), "{}{}", ran.stderr, verified.stderr);
    let json = place.run(&["verify", "out", "--key", "gate.pub.pem", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).expect("one JSON document");
    std::fs::write(
        place.path("out/verdict.json"),
        place.read("out/verdict.json").replace("\"smoke\"", "\"smog\""),
    )
    .expect("a file");
    let changed = place.run(&["verify", "out", "--key", "gate.pub.pem"]);
    assert_eq!((changed.code, changed.stdout.as_str()), (Some(20), ""));
    stable(|| {
        insta::assert_snapshot!("run_passed", ran.stdout);
        insta::assert_snapshot!("verify", verified.stdout);
        insta::assert_json_snapshot!("verify_json", json);
        insta::assert_snapshot!("verify_changed", changed.stderr);
    });
}

#[test]
fn the_settings_with_where_they_came_from() {
    let place = Place::with(PASSING);
    std::fs::write(place.path("ops.toml"), "[gate]\njobs = 3\n[backup]\nrepo = \"elsewhere\"\n")
        .expect("a file");
    let shown = place
        .command(&["--show-config"])
        .env("OPS_GATE_GRACE_SECONDS", "5")
        .output()
        .expect("the command runs");
    let shown = crate::support::Ended::of(shown);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    let directory = place.path("");
    let directory = std::fs::canonicalize(&directory).expect("a directory").display().to_string();
    let text = shown.stdout.replace(&directory, "[dir]");
    insta::assert_snapshot!("show_config", text);
}

#[test]
fn each_end_has_its_exit_code() {
    let gate = |id: &str, run: &str, more: &str| {
        format!("[[gate]]\nid = \"{id}\"\nkind = \"command\"\nrun = [{run}]\n{more}\n")
    };
    for (gates, code) in [
        (gate("a", "\"true\"", ""), 0),
        (gate("a", "\"true\"", "") + &gate("b", "\"false\"", "required = false"), 0),
        (gate("a", "\"false\"", ""), 20),
        (gate("a", "\"sleep\", \"9\"", "timeout = \"100ms\""), 21),
        (gate("a", "\"/no/such/program\"", ""), 21),
        (gate("a", "\"sleep\", \"9\"", "timeout = \"100ms\"") + &gate("b", "\"false\"", ""), 20),
        (
            gate("a", "\"sleep\", \"9\"", "timeout = \"100ms\"")
                + &gate("b", "\"false\"", "required = false"),
            21,
        ),
        (gate("a", "", ""), 65),
        (String::new(), 65),
    ] {
        let place = Place::with(&format!("name = \"x\"\n{gates}"));
        let ended = place.run(&["run", "release.toml"]);
        assert_eq!(ended.code, Some(code), "{gates}{}{}", ended.stdout, ended.stderr);
    }
}

#[test]
fn every_variable_of_the_example_says_what_it_is_for() {
    let place = Place::with(PASSING);
    let shown = place.command(&["--env-example"]).output().expect("the command runs");
    for entry in crate::support::Ended::of(shown).stdout.split("\n\n").skip(1) {
        assert!(entry.lines().filter(|line| line.starts_with("# ")).count() > 1, "{entry}");
    }
}
