//! `kind = "benchmark"`: programs that write their own figure, real ones, and files of samples.

use crate::support::{parse, run_gate};
use ops_gates::Plan;

#[tokio::test]
async fn only_what_is_shown_passes() {
    let programs = |candidate: &str, keys: &str| {
        format!(
            "kind = \"benchmark\"\nbaseline = [\"echo\", \"took\", \"100\"]\ncandidate = [\"sh\", \"-c\", \"{candidate}\"]\nmeasure = \"stdout\"\nmax_slowdown_percent = 10\n{keys}"
        )
    };
    let few = "pairs = { first = 6, most = 12 }";
    for (candidate, keys, outcome, code) in [
        ("echo 101", few, "PASS", "ok"),
        ("echo 130", few, "FAIL", "slower"),
        ("echo 101", "better = \"more\"\npairs = { first = 6, most = 12 }", "PASS", "ok"),
        ("echo 70", "better = \"more\"\npairs = { first = 6, most = 12 }", "FAIL", "slower"),
        ("echo 50", few, "PASS", "ok"),
        // Twice as slow every other time: nobody knows.
        (
            "if [ -e x$PPID ]; then rm x$PPID; echo 80; else touch x$PPID; echo 300; fi",
            few,
            "INCONCLUSIVE",
            "not-shown",
        ),
        ("echo done", few, "ERROR", "no-number"),
        ("echo 0", few, "ERROR", "not-positive"),
        ("echo 100; exit 1", few, "ERROR", "program"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let keys = format!("{keys}\ncwd = \"{}\"", folder.path().display());
        run_gate(&programs(candidate, &keys)).await.expect(outcome, code);
    }
    let ran = run_gate(
        "kind = \"benchmark\"\nbaseline = [\"sleep\", \"0.01\"]\ncandidate = [\"sleep\", \"0.2\"]\nmax_slowdown_percent = 50\npairs = { first = 6, most = 6 }",
    )
    .await;
    let gate = ran.expect("FAIL", "slower");
    assert!(gate.measurements["slowdown_lower_percent"] > 50.0, "{gate:?}");
}

#[tokio::test]
async fn samples_of_files_are_compared_only_within_one_environment() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, cpu: &str, samples: &str| {
        let text = format!("{{\"environment\": {cpu}, \"samples\": [{samples}]}}");
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    let cpu = "{\"cpu\": \"a\"}";
    let row = |value: &str| [value; 10].join(", ");
    file("base", cpu, &row("1.0"));
    file("same", cpu, &row("1.01"));
    file("slow", cpu, &row("1.5"));
    file("short", cpu, "1.0, 1.0, 1.0, 1.0");
    file("other", "{\"cpu\": \"b\"}", &row("1.0"));
    file("more", "{\"cpu\": \"a\", \"cores\": \"4\"}", &row("1.0"));
    file("nowhere", "{}", &row("1.0"));
    file("empty", cpu, "");
    file("negative", cpu, &row("-1"));
    std::fs::write(folder.path().join("rubbish"), "[1, 2]").expect("a file");
    for (baseline, candidate, outcome, code) in [
        ("base", "same", "PASS", "ok"),
        ("base", "slow", "FAIL", "slower"),
        ("slow", "base", "PASS", "ok"),
        ("short", "short", "INCONCLUSIVE", "not-shown"),
        ("base", "short", "ERROR", "no-pairs"),
        ("base", "other", "ERROR", "environment-differs"),
        ("base", "more", "ERROR", "environment-differs"),
        ("nowhere", "nowhere", "ERROR", "no-environment"),
        ("empty", "empty", "ERROR", "no-samples"),
        ("base", "negative", "ERROR", "not-positive"),
        ("base", "rubbish", "ERROR", "samples"),
        ("base", "absent", "ERROR", "file"),
    ] {
        let at = |name: &str| folder.path().join(name).display().to_string();
        let keys = format!(
            "kind = \"benchmark\"\nbaseline_file = \"{}\"\ncandidate_file = \"{}\"\nmax_slowdown_percent = 10",
            at(baseline),
            at(candidate)
        );
        let ran = run_gate(&keys).await;
        println!("{baseline} {candidate}");
        ran.expect(outcome, code);
    }
}

#[test]
fn a_comparison_that_could_show_nothing_is_refused() {
    let gate = |keys: &str| {
        let plan = format!(
            "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"benchmark\"\nmax_slowdown_percent = 10\n{keys}"
        );
        Plan::parse(&plan, "x.toml").err().map(|error| error.problems()[0].message.clone())
    };
    for (keys, part) in [
        ("baseline = [\"true\"]\ncandidate = [\"true\"]", "are the same"),
        ("baseline = [\"true\"]", "`candidate` names no program"),
        ("baseline_file = \"a\"", "give `baseline`"),
        ("baseline = [\"a\"]\ncandidate = [\"b\"]\npairs = { first = 3, most = 4 }", "at least 6"),
        ("baseline = [\"a\"]\ncandidate = [\"b\"]\nerror_percent = 50", "at most 20"),
    ] {
        assert!(gate(keys).is_some_and(|message| message.contains(part)), "{keys}: {:?}", gate(keys));
    }
    parse(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"benchmark\"\nbaseline = [\"a\"]\ncandidate = [\"b\"]\nmax_slowdown_percent = { env = \"SLOWDOWN\", default = 5, ceiling = 10 }",
    );
}
