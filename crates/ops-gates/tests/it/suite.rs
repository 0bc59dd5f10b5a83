//! `kind = "suite"`: programs that write reports, and reports that are there already.

use crate::support::run_gate;
use ops_gates::Plan;

const GOOD: &str =
    r#"<testsuites><testsuite tests="2"><testcase name="a"/><testcase name="b"/></testsuite></testsuites>"#;

#[tokio::test]
async fn the_report_and_the_exit_code_must_agree() {
    let failed = GOOD.replace("<testcase name=\"b\"/>", "<testcase name=\"b\"><failure/></testcase>");
    let skipped = GOOD.replace("<testcase name=\"b\"/>", "<testcase name=\"b\"><skipped/></testcase>");
    let flaky = GOOD.replace("<testcase name=\"b\"/>", "<testcase name=\"b\"><flakyFailure/></testcase>");
    let cut = &GOOD[..60];
    for (text, script, keys, outcome, code) in [
        (GOOD, "cp in out.xml", "", "PASS", "ok"),
        (GOOD, "cp in out.xml; exit 3", "", "FAIL", "exit-code"),
        (GOOD, "cp in out.xml", "min_tests = 3", "ERROR", "few-tests"),
        (&failed, "cp in out.xml; exit 1", "", "FAIL", "tests-failed"),
        // A runner that says that all is well.
        (&failed, "cp in out.xml", "", "FAIL", "tests-failed"),
        (&skipped, "cp in out.xml", "", "FAIL", "skipped"),
        (&skipped, "cp in out.xml", "max_skipped = 1", "PASS", "ok"),
        (&flaky, "cp in out.xml", "", "FAIL", "flaky"),
        (&flaky, "cp in out.xml", "max_flaky = 1", "PASS", "ok"),
        ("<testsuites/>", "cp in out.xml", "", "ERROR", "no-tests"),
        ("<testsuites/>", "cp in out.xml; exit 4", "", "ERROR", "no-tests"),
        (cut, "cp in out.xml", "", "ERROR", "report"),
        ("", "cp in out.xml", "", "ERROR", "report"),
        (GOOD, "true", "", "ERROR", "no-report"),
        // The report of yesterday, beside a runner that did nothing; and the same bytes written again.
        (GOOD, "true", "junit = \"old.xml\"", "ERROR", "stale-report"),
        (GOOD, "cp in new && mv new old.xml", "junit = \"old.xml\"", "PASS", "ok"),
        (GOOD, "cp in 1.xml; cp in 2.xml", "junit = \"[12].xml\"\nmin_tests = 4", "PASS", "ok"),
        // One of two was not written again.
        (GOOD, "cp in out.xml", "junit = \"o*.xml\"", "ERROR", "stale-report"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(folder.path().join("in"), text).expect("a file");
        std::fs::write(folder.path().join("old.xml"), GOOD).expect("a file");
        let at = folder.path().display();
        let junit = if keys.contains("junit") {
            keys.replace("junit = \"", &format!("junit = \"{at}/"))
        } else {
            format!("junit = \"{at}/out.xml\"\n{keys}")
        };
        let gate = format!("kind = \"suite\"\nrun = [\"sh\", \"-c\", \"{script}\"]\ncwd = \"{at}\"\n{junit}");
        let ran = run_gate(&gate).await;
        println!("{script} {keys} {text}: {:?}", ran.record.gates[0].reason);
        ran.expect(outcome, code);
    }
}

#[tokio::test]
async fn tap_is_read_from_the_output() {
    for (output, outcome, code) in [
        ("1..2\\nok 1\\nok 2\\n", "PASS", "ok"),
        ("1..2\\nok 1\\n", "ERROR", "report"),
        ("1..1\\nnot ok 1 - broken\\n", "FAIL", "tests-failed"),
        ("1..0 # SKIP nothing\\n", "ERROR", "no-tests"),
        ("all good\\n", "ERROR", "report"),
    ] {
        run_gate(&format!("kind = \"suite\"\nrun = [\"printf\", '{output}']\ntap = true"))
            .await
            .expect(outcome, code);
    }
}

#[tokio::test]
async fn an_earlier_report_must_be_young() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("out.xml");
    std::fs::write(&file, GOOD).expect("a file");
    let gate = format!("kind = \"suite\"\njunit = \"{}\"\nmax_age = \"1h\"", file.display());
    run_gate(&gate).await.expect("PASS", "ok");
    let hours = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    std::fs::File::options()
        .write(true)
        .open(&file)
        .and_then(|file| file.set_modified(hours))
        .expect("a file");
    run_gate(&gate).await.expect("ERROR", "stale-report");
}

#[test]
fn a_suite_that_could_pass_without_tests_is_refused() {
    let gate = |keys: &str| {
        let plan = format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"suite\"\n{keys}");
        Plan::parse(&plan, "x.toml").err().map(|error| error.problems()[0].message.clone())
    };
    for (keys, part) in [
        ("run = [\"a\"]", "either `junit"),
        ("run = [\"a\"]\njunit = \"a\"\ntap = true", "either `junit"),
        ("junit = \"a\"", "`max_age`"),
        ("run = [\"a\"]\ntap = true\nmin_tests = 0", "tests nothing"),
    ] {
        assert!(gate(keys).is_some_and(|message| message.contains(part)), "{keys}: {:?}", gate(keys));
    }
}
