//! Errors: one line of what failed, then hints, as snapshots.

use crate::support::{Place, stable};

#[track_caller]
fn check(name: &str, place: &Place, arguments: &[&str], code: i32) {
    let ended = place.run(arguments);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{}", ended.stderr);
    stable(|| insta::assert_snapshot!(name, ended.stderr));
}

const PASSING: &str = "name = \"release\"\n[[gate]]\nid = \"smoke\"\nkind = \"command\"\nrun = [\"true\"]\n";

#[test]
fn a_wrong_command_line() {
    let place = Place::with(PASSING);
    check("usage_none", &place, &[], 64);
    check("usage_unknown", &place, &["rnu"], 64);
    check("usage_verify_without_key", &place, &["verify", "out"], 64);
}

#[test]
fn a_bad_plan() {
    let bad = "name = \"release\"\n[[gate]]\nid = \"web\"\nkind = \"http\"\nurl = \"http://x/${env:UNSET_HERE}\"\nstatsu = 200\n[[gate]]\nid = \"next\"\nkind = \"htp\"\n";
    check("plan_unknown_key", &Place::with(bad), &["run", "release.toml"], 65);
    let unset =
        "name = \"release\"\n[[gate]]\nid = \"web\"\nkind = \"http\"\nurl = \"http://x/${env:UNSET_HERE}\"\n";
    check("plan_unset_variable", &Place::with(unset), &["plan", "release.toml"], 65);
    check("plan_missing", &Place::with(PASSING), &["run", "other.toml"], 65);
}

#[test]
fn a_bad_key_ends_before_anything_runs() {
    let place = Place::with(PASSING);
    std::fs::write(
        place.path("bad.pem"),
        "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n",
    )
    .expect("a file");
    check("key_bad", &place, &["run", "release.toml", "--run-dir", "out", "--signing-key", "bad.pem"], 78);
    check("key_missing", &place, &["run", "release.toml", "--run-dir", "out", "--signing-key", "no.pem"], 78);
    assert!(!place.path("out").exists());
}

#[test]
fn a_directory_that_cannot_be_used() {
    let place = Place::with(PASSING);
    assert_eq!(place.run(&["run", "release.toml", "--run-dir", "out"]).code, Some(0));
    check("directory_used", &place, &["run", "release.toml", "--run-dir", "out"], 73);
    check("directory_is_a_file", &place, &["run", "release.toml", "--run-dir", "release.toml"], 73);
    check(
        "verify_unsigned",
        &{
            place.make_keys();
            place
        },
        &["verify", "out", "--key", "gate.pub.pem"],
        20,
    );
    let place = Place::with(PASSING);
    place.make_keys();
    check("verify_nothing", &place, &["verify", "out", "--key", "gate.pub.pem"], 74);
}
