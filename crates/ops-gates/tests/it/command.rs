//! `kind = "command"` with real programs.

use crate::support::{options, parse, run, run_gate, run_with};
use ops_gates::{CancellationToken, Options, Verdict};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn exit_codes_and_output_decide() {
    let python = "kind = \"command\"\nshell = true\n";
    for (keys, outcome, code) in [
        ("run = [\"true\"]", "PASS", "ok"),
        ("run = [\"false\"]", "FAIL", "exit-code"),
        ("run = [\"exit 3\"]\nexit_codes = [0, 3]", "PASS", "ok"),
        ("run = [\"exit 0\"]\nexit_codes = [3]", "FAIL", "exit-code"),
        ("run = [\"echo all good\"]\nexpect_stdout = \"good\"", "PASS", "ok"),
        ("run = [\"echo all good >&2\"]\nexpect_stdout = \"good\"", "FAIL", "stdout"),
        ("run = [\"echo good; exit 1\"]\nexpect_stdout = \"good\"", "FAIL", "exit-code"),
        ("run = [\"kill -9 $$\"]", "FAIL", "signal"),
        ("run = [\"sleep 60\"]\ntimeout = \"200ms\"", "ERROR", "timeout"),
    ] {
        run_gate(&format!("{python}{keys}")).await.expect(outcome, code);
    }
    run_gate("kind = \"command\"\nrun = [\"no-such-program-here\"]").await.expect("ERROR", "not-started");
    run_gate("kind = \"command\"\nrun = [\"true\"]\ncwd = \"no/such/directory\"")
        .await
        .expect("ERROR", "not-started");
}

#[tokio::test]
async fn a_program_gets_its_arguments_as_they_are_and_a_cleaned_environment() {
    let ran = run_gate("kind = \"command\"\nrun = [\"printf\", \"<%s>\", \"a b\", \"$HOME;`id`\"]\nexpect_stdout = \"<a b><$HOME;`id`>\"").await;
    ran.expect("PASS", "ok");
    let hook = || vec![("TRACEPARENT".to_owned(), "00-aa-bb-01".to_owned())];
    let options = Options { child_environment: Some(Arc::new(hook)), ..options() };
    // Cargo sets this for the tests, and nobody listed it.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    let plan = parse(
        "name = \"x\"\n[[gate]]\nid = \"env\"\nkind = \"command\"\nrun = [\"env\"]\nexpect_stdout = \"TRACEPARENT=00-aa-bb-01\"",
    );
    let ran = run_with(&plan, options, CancellationToken::new()).await;
    ran.expect("PASS", "ok");
    assert!(!ran.read("logs/env.log").contains("CARGO_MANIFEST_DIR"));
    let ran = run_gate("kind = \"command\"\nrun = [\"env\"]\nenv = [\"CARGO_MANIFEST_DIR\"]\nexpect_stdout = \"CARGO_MANIFEST_DIR=/\"").await;
    ran.expect("PASS", "ok");
}

#[tokio::test]
async fn nothing_that_is_written_shows_what_the_masker_hides() {
    let masker =
        |bytes: &mut Vec<u8>| *bytes = String::from_utf8_lossy(bytes).replace("hunter2", "***").into_bytes();
    let options = Options { masker: Some(Arc::new(masker)), ..options() };
    let plan = parse(
        "name = \"x\"\n[[gate]]\nid = \"a\"\nkind = \"command\"\nshell = true\nrun = [\"\"\"i=0; while [ $i -lt 5000 ]; do echo pass hunter2 $i; echo hunter2 >&2; i=$((i+1)); done; exit 1\"\"\"]\n[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"/no/hunter2\"]",
    );
    let ran = run_with(&plan, options, CancellationToken::new()).await;
    assert!(ran.gate("b").reason.as_deref().is_some_and(|reason| reason.contains("***")));
    let mut files = 0;
    for entry in walk(&ran.directory) {
        let text = std::fs::read_to_string(&entry).expect("text");
        assert!(!text.contains("hunter2"), "{}", entry.display());
        files += 1;
    }
    // Nothing of `b` started, so that it has no log.
    assert_eq!(files, 7);
    assert!(ran.gate("b").log.is_none());
    assert_eq!(ran.read("logs/a.log").matches("***").count(), 10_000);
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries =
        std::fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn much_output_is_bounded_in_the_record_and_whole_on_disk() {
    let ran =
        run_gate("kind = \"command\"\nshell = true\nrun = [\"yes 0123456789 | head -c 20000000; exit 1\"]")
            .await;
    let gate = ran.expect("FAIL", "exit-code");
    assert!(
        gate.output
            .as_ref()
            .is_some_and(|output| output.len() < 70_000 && output.contains("only in the log"))
    );
    assert_eq!(std::fs::metadata(ran.directory.join("logs/it.log")).expect("a log").len(), 20_000_000);
}

#[tokio::test]
async fn gates_run_at_once_and_in_the_order_of_their_needs() {
    let gate = |id: &str, needs: &str| {
        format!(
            "[[gate]]\nid = \"{id}\"\nkind = \"command\"\nrun = [\"sleep\", \"0.5\"]\nneeds = [{needs}]\n"
        )
    };
    let plan = format!(
        "name = \"x\"\n{}{}{}{}",
        gate("a", ""),
        gate("b", ""),
        gate("c", ""),
        gate("d", "\"a\", \"b\", \"c\"")
    );
    let start = Instant::now();
    let ran = run(&plan).await;
    assert_eq!(ran.record.verdict, Verdict::Passed, "{}", ran.record.reason);
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_secs(1), "d did not wait: {elapsed:?}");
    assert!(ran.gate("d").started_at > ran.gate("c").started_at);
    assert!(
        ran.gate("b").started_at < ran.gate("a").started_at.map(|at| at + Duration::from_millis(450)),
        "b waited for a"
    );
}

#[tokio::test]
async fn what_needs_a_gate_that_did_not_pass_is_blocked_by_the_root() {
    let ran = run(
        "name = \"x\"\n[[gate]]\nid = \"c\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"b\"]\n[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"a\"]\n[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"false\"]\n[[gate]]\nid = \"free\"\nkind = \"command\"\nrun = [\"true\"]\n",
    )
    .await;
    assert_eq!(ran.record.verdict, Verdict::Blocked);
    assert_eq!(ran.record.blocked_by, ["a", "c", "b"]);
    assert_eq!(ran.record.reason, "gate `a`: exit code 1, expected 0");
    assert_eq!(ran.gate("c").outcome, Some(ops_gates::Outcome::Blocked { by: "a".to_owned() }));
    assert!(
        ran.gate("c").started_at.is_none()
            && ran.gate("free").outcome.as_ref().is_some_and(|it| it.is_pass())
    );
}
