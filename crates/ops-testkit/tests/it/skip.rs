//! A skipped test is seen, counted, and refused where everything is required.

use std::env;
use std::fs;
use std::process::{Command, Output};

const SKIPPER: &str = "OPS_TESTKIT_SKIPPER";
const TEST: &str = "skip::a_skip_is_visible_counted_and_can_be_refused";

/// Runs this very test once more in a child process, where it is skipped.
#[test]
fn a_skip_is_visible_counted_and_can_be_refused() {
    if env::var_os(SKIPPER).is_some() {
        ops_testkit::skip!("there is {}", "a reason");
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("skips");
    let run = |require_all: &str| -> Output {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", TEST]).env(SKIPPER, "1").env("OPS_TEST_SKIP_LOG", &log);
        child.env("OPS_TEST_REQUIRE_ALL", require_all).output().unwrap()
    };
    let line = format!("SKIPPED: it::{TEST}: there is a reason\n");
    for round in 1..=2 {
        let output = run("0");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
        assert_eq!(fs::read_to_string(&log).unwrap(), line.repeat(round));
    }
    assert!(!run("1").status.success());
    assert_eq!(fs::read_to_string(&log).unwrap(), line.repeat(2), "a failure is not a skip");
}
