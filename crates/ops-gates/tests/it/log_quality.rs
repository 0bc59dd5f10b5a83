//! `kind = "log-quality"` over files and the output of programs.

use crate::support::run_gate;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn every_line_counts() {
    let good = format!(r#"{{"level":"INFO","trace_id":"{TRACE}","message":"a"}}"#);
    let nested = format!(r#"{{"level":"info","span":{{"trace_id":"{TRACE}"}},"message":"a"}}"#);
    let zero = r#"{"level":"info","trace_id":"00000000000000000000000000000000"}"#.to_owned();
    let without = r#"{"level":"info","message":"a"}"#.to_owned();
    let plain = "panicked at src/main.rs:3".to_owned();
    let lines = |lines: &[&String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for (text, keys, outcome, code) in [
        (lines(&[&good, &good]), "", "PASS", "ok"),
        // Without its last newline, and with empty lines.
        (format!("\n{good}\n\n{good}"), "min_lines = 2", "PASS", "ok"),
        (String::new(), "", "ERROR", "no-lines"),
        ("\n\n".to_owned(), "", "ERROR", "no-lines"),
        (lines(&[&good]), "min_lines = 2", "ERROR", "few-lines"),
        (lines(&[&good, &plain]), "", "FAIL", "unstructured"),
        (lines(&[&good, &plain]), "max_unstructured_percent = 50\nmin_trace_percent = 50", "PASS", "ok"),
        (lines(&[&good, &"[1]".to_owned()]), "", "FAIL", "unstructured"),
        (lines(&[&good, &without]), "", "FAIL", "trace-id"),
        (lines(&[&good, &without]), "min_trace_percent = 50", "PASS", "ok"),
        (lines(&[&good, &zero]), "", "FAIL", "trace-id"),
        (lines(&[&nested]), "trace_id_field = \"span.trace_id\"", "PASS", "ok"),
        (lines(&[&good]), "levels = [\"info\", \"warn\"]", "PASS", "ok"),
        (lines(&[&good]), "levels = [\"warn\"]", "FAIL", "level"),
        (lines(&[&good]), "required_fields = [\"message\"]", "PASS", "ok"),
        (lines(&[&good]), "required_fields = [\"service\"]", "FAIL", "fields"),
        (lines(&[&good]), &format!("expect_trace_id = \"{TRACE}\""), "PASS", "ok"),
        (
            lines(&[&good]),
            "expect_trace_id = \"aaf92f3577b34da6a3ce929d0e0e4736\"",
            "FAIL",
            "trace-not-found",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("app.log");
        std::fs::write(&file, &text).expect("a file");
        let ran = run_gate(&format!("kind = \"log-quality\"\nfile = \"{}\"\n{keys}", file.display())).await;
        println!("{text:?} {keys}");
        ran.expect(outcome, code);
    }
}

#[tokio::test]
async fn bad_lines_are_quoted_in_the_log_of_the_gate() {
    let run = "kind = \"log-quality\"\nrun = [\"printf\", '{\"trace_id\":\"x\"}\\nthread main panicked\\n']";
    let ran = run_gate(run).await;
    let gate = ran.expect("FAIL", "unstructured");
    assert!(
        gate.reason
            .as_deref()
            .is_some_and(|reason| reason.contains("1 of 2 lines") && reason.contains("line 1"))
    );
    assert!(ran.read("logs/it.log").contains("line 2, no JSON object: thread main panicked"));
    run_gate("kind = \"log-quality\"\nrun = [\"false\"]").await.expect("ERROR", "program");
    run_gate("kind = \"log-quality\"\nfile = \"/no/such/file\"").await.expect("ERROR", "file");
    run_gate("kind = \"log-quality\"\nfile = \"/dev/zero\"").await.expect("ERROR", "file");
}
