//! `ops-gate mitigate`: shown first, done as allowed, taken back, and told when it is overdue.

use crate::support::Place;

const POLICY: &str = "schema = \"ops-gates/mitigations/v1\"\nname = \"prod\"\n[[mitigation]]\nname = \"checkout-off\"\nmax_duration = \"2h\"\nflag = { file = \"checkout\", on = \"off\", off = \"on\" }\n";

#[test]
fn a_mitigation_is_shown_done_listed_and_taken_back() {
    let place = Place::with("");
    std::fs::write(place.path("mitigations.toml"), POLICY).expect("a file");
    std::fs::write(place.path("checkout"), "on\n").expect("a file");
    let allowed = place.run(&["mitigate", "plan", "mitigations.toml"]);
    assert_eq!(
        (allowed.code, allowed.stdout.as_str()),
        (Some(0), "policy prod allows:\n  checkout-off: set checkout from `on` to `off`; for at most 2h\n")
    );
    assert_eq!(place.run(&["mitigate", "list"]).code, Some(22));
    let run =
        ["mitigate", "run", "checkout-off", "--policy", "mitigations.toml", "--reason", "errors", "--for"];
    let shown = place.run(&[&run[..], &["1s"]].concat());
    assert_eq!((shown.code, place.read("checkout").as_str()), (Some(0), "on\n"), "{}", shown.stderr);
    assert!(shown.stdout.contains("nothing was done"), "{}", shown.stdout);
    assert!(!place.path("ops-gate-mitigations").exists());
    assert_eq!(place.run(&[&run[..], &["3h"]].concat()).code, Some(20));
    let done = place.run(&[&run[..], &["1ms", "--apply", "--format", "json"]].concat());
    assert_eq!((done.code, place.read("checkout").as_str()), (Some(0), "off\n"), "{}", done.stderr);
    let json: serde_json::Value = serde_json::from_str(&done.stdout).expect("one JSON document");
    assert_eq!((json["phase"].as_str(), json["changed"].as_bool()), (Some("applied"), Some(true)));
    let overdue = place.run(&["mitigate", "list"]);
    assert!(
        overdue.code == Some(20) && overdue.stdout.starts_with("in place OVERDUE since"),
        "{}",
        overdue.stdout
    );
    let directory = json["directory"].as_str().expect("a directory");
    let undone = place.run(&["mitigate", "undo", directory]);
    assert_eq!(
        (undone.code, undone.stdout.as_str(), place.read("checkout").as_str()),
        (Some(0), "checkout-off: taken back\n", "on\n"),
        "{}",
        undone.stderr
    );
    assert_eq!(place.run(&["mitigate", "list"]).code, Some(0));
    assert_eq!(place.run(&["mitigate", "undo", "nowhere"]).code, Some(65));
}
