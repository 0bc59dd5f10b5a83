//! `approve`: what is signed, and what is refused before anything is.

use crate::support::Place;
use std::fs;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let fixed = [
        "approve",
        "--subject",
        "shop",
        "--reason",
        "read",
        "--for",
        "2d",
        "--approver",
        "Ada",
        "--key",
        "gate.pem",
    ];
    fixed.iter().chain(more).copied().collect()
}

#[test]
fn a_decision_is_signed_into_a_new_file_and_never_over_another() {
    let place = Place::with("");
    place.make_keys();
    let yes = arguments(&["--commit", COMMIT, "--environment", "production", "--output", "yes.json"]);
    let ended = place.run(&yes);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = format!("approved gitCommit:{COMMIT} for production, for 2d, signed by Ada: yes.json\n");
    assert_eq!(ended.stdout, expected);
    let envelope: serde_json::Value = serde_json::from_str(&place.read("yes.json")).expect("an envelope");
    assert_eq!(envelope["signatures"].as_array().map(Vec::len), Some(1));
    assert_eq!(place.run(&yes).code, Some(73));
    let no = arguments(&["--commit", COMMIT, "--reject", "--output", "no.json", "--format", "json"]);
    let ended = place.run(&no);
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(
        (told["schema"].as_str(), told["decision"].as_str()),
        (Some("ops-gate/approve/v1"), Some("rejected"))
    );
}

#[test]
fn what_names_no_commit_is_refused() {
    let place = Place::with("");
    place.make_keys();
    for (more, code) in [
        (vec!["--commit", "0123456", "--output", "a.json"], 64),
        (vec!["--commit", "HEAD", "--output", "a.json"], 64),
        (vec!["--digest", "sha256:abc", "--output", "a.json"], 64),
        (vec!["--output", "a.json"], 64),
        (vec!["--commit", COMMIT, "--reject", "--incident", "INC-1", "--output", "a.json"], 64),
        (vec!["--commit", COMMIT, "--key", "none.pem", "--output", "a.json"], 64),
    ] {
        let ended = place.run(&arguments(&more));
        assert_eq!(ended.code, Some(code), "{more:?}: {}", ended.stderr);
        assert!(fs::metadata(place.path("a.json")).is_err(), "{more:?} left a file");
    }
}
