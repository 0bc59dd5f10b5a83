//! What the runner decides about gates: attempts, limits, conditions, the time of the whole run.

use crate::support::{options, parse, run, run_with};
use ops_gates::{CancellationToken, Excuse, Outcome, Standing, State, Verdict};

/// A gate that fails by connection until a file has so many lines.
fn flaky(passes_at: u32, retry: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let counter = folder.join("attempts");
    let counter = counter.display();
    format!(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nshell = true\nrun = ['''echo x | tee -a {counter}; test $(wc -l < {counter}) -ge {passes_at}''']\n{retry}\n"
    )
}

#[tokio::test]
async fn a_gate_is_tried_again_for_listed_classes_alone_and_is_then_told_as_flaky() {
    let retry = "retry = { attempts = 3, on = [\"fail\"], base = \"1ms\" }";
    let ran = run(&flaky(3, retry)).await;
    let gate = ran.expect("PASS", "ok");
    assert!(gate.is_flaky() && gate.attempts.len() == 3, "{gate:?}");
    assert!(gate.reason.as_deref().is_some_and(|reason| reason.ends_with("(attempt 3)")), "{gate:?}");
    let logs: Vec<&str> =
        gate.attempts.iter().filter_map(|attempt| Some(attempt.log.as_ref()?.path.as_str())).collect();
    assert_eq!(logs, ["logs/it.log", "logs/it.2.log", "logs/it.3.log"]);
    assert_eq!(ran.read("events.jsonl").matches("gate_retried").count(), 2);
    // One attempt too few, and a class that is not listed.
    run(&flaky(4, retry)).await.expect("FAIL", "exit-code");
    let ran = run(&flaky(2, "retry = { attempts = 3, on = [\"connect\"], base = \"1ms\" }")).await;
    assert!(ran.expect("FAIL", "exit-code").attempts.is_empty());
}

#[tokio::test]
async fn attempts_end_with_the_time_of_all() {
    let keys = "timeout = { attempt = \"200ms\", total = \"300ms\" }\nretry = { attempts = 50, on = [\"timeout\"], base = \"1ms\" }";
    let toml = format!(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nrun = [\"sleep\", \"9\"]\n{keys}\n"
    );
    let ran = run(&toml).await;
    let gate = ran.expect("ERROR", "timeout");
    assert!((2..=6).contains(&gate.attempts.len()), "{gate:?}");
}

/// A plan of gates that note when they run, in a folder of their own.
fn noting(folder: &std::path::Path, gates: &[(&str, &str)]) -> String {
    let folder = folder.display();
    let gate = |(id, keys): &(&str, &str)| {
        format!(
            "[[gate]]\nid = \"{id}\"\nkind = \"command\"\nshell = true\nrun = ['''touch {folder}/{id}; sleep 0.05; ls {folder} | tr '\\n' ' '; rm {folder}/{id}''']\n{keys}\n"
        )
    };
    let gates: String = gates.iter().map(gate).collect();
    format!("name = \"x\"\n[groups]\none = {{ max = 1 }}\n{gates}")
}

#[tokio::test]
async fn a_group_and_an_exclusive_gate_are_kept_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let gates = [
        ("a", "group = \"one\""),
        ("b", "group = \"one\""),
        ("c", "group = \"one\""),
        ("d", ""),
        ("e", "exclusive = true"),
        ("f", ""),
    ];
    let ran = run(&noting(folder.path(), &gates)).await;
    assert_eq!(ran.record.verdict, Verdict::Passed, "{}", ran.record.reason);
    for (id, _) in gates {
        let log = ran.read(&format!("logs/{id}.log"));
        let beside: Vec<&str> = log.split_whitespace().filter(|other| *other != id).collect();
        match id {
            "a" | "b" | "c" => {
                assert!(!beside.iter().any(|other| "abc".contains(other)), "{id} beside {log}")
            }
            "e" => assert!(beside.is_empty(), "e beside {log}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_condition_excuses_with_evidence_and_is_an_error_where_it_cannot_be_judged() {
    for (when, outcome, code, verdict) in [
        ("{ path_exists = \"/proc/self\" }", "PASS", "ok", Verdict::Passed),
        ("{ path_exists = \"/no/such\" }", "SKIP", "not-applicable", Verdict::Passed),
        ("{ path_exists = \"/no/such\", not = true }", "PASS", "ok", Verdict::Passed),
        ("{ path_exists = \"/etc/passwd/x\", not = true }", "ERROR", "when", Verdict::Blocked),
        ("{ variable = \"PATH\", equals = \"no\" }", "SKIP", "not-applicable", Verdict::Passed),
        ("{ command = [\"true\"] }", "PASS", "ok", Verdict::Passed),
        ("{ command = [\"false\"] }", "SKIP", "not-applicable", Verdict::Passed),
        ("{ command = [\"sh\", \"-c\", \"exit 2\"] }", "ERROR", "when", Verdict::Blocked),
        ("{ command = [\"/no/such\"] }", "ERROR", "not-started", Verdict::Blocked),
        ("{ paths_changed = [\"*\"], since = \"no-such-revision\" }", "ERROR", "when", Verdict::Blocked),
    ] {
        let toml = format!(
            "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nrun = [\"true\"]\nwhen = {when}\n[[gate]]\nid = \"proof\"\nkind = \"command\"\nrun = [\"true\"]\n[[gate]]\nid = \"behind\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"it\"]\n"
        );
        let ran = run(&toml).await;
        let gate = ran.expect(outcome, code);
        assert_eq!(ran.record.verdict, verdict, "{when}: {}", ran.record.reason);
        let excused = matches!(gate.excuse, Some(Excuse::NotApplicable { .. }));
        assert_eq!(excused, outcome == "SKIP", "{when}");
        let behind = if verdict == Verdict::Passed { "PASS" } else { "BLOCKED" };
        assert_eq!(ran.gate("behind").outcome.as_ref().map(Outcome::word), Some(behind), "{when}");
    }
}

#[tokio::test]
async fn where_nothing_applies_nothing_is_proven() {
    let toml = "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nrun = [\"true\"]\nwhen = { path_exists = \"/no/such\" }\n";
    let ran = run(toml).await;
    assert_eq!((ran.record.verdict, ran.record.standing()), (Verdict::Blocked, Standing::NothingRan));
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_blocked() {
    let toml = "name = \"x\"\ntimeout = \"150ms\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nrun = [\"sleep\", \"9\"]\n";
    let ran = run(toml).await;
    ran.expect("CANCELLED", "cancelled");
    assert_eq!((ran.record.verdict, ran.record.state), (Verdict::Blocked, State::Interrupted));
    assert_eq!(ran.record.reason, "the run did not end within 150ms");
}

#[tokio::test]
async fn a_result_reaches_the_gates_that_need_it() {
    let toml = "name = \"x\"\n[[gate]]\nid = \"first\"\nkind = \"probe\"\n[[gate]]\nid = \"it\"\nkind = \"command\"\nneeds = [\"first\"]\nrun = [\"echo\", \"got ${gate:first.answer} ${gate:first.size_bytes}\"]\nexpect_stdout = \"got forty-two 42\"\n";
    let kinds = ops_gates::Kinds::standard().with::<Probe>("probe");
    let read = ops_gates::ReadOptions { kinds, ..Default::default() };
    let plan = ops_gates::Plan::parse_as(toml, "x.toml", &|_| None, &read).expect("a sound plan");
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    assert_eq!(ran.record.verdict, Verdict::Passed, "{}", ran.record.reason);
    // A field that was not given is an error of the gate that asks for it.
    let plan = toml.replace("first.answer", "first.other");
    let plan = ops_gates::Plan::parse_as(&plan, "x.toml", &|_| None, &read).expect("a sound plan");
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    assert_eq!(ran.gate("it").code.as_deref(), Some("reference"));
}

/// A kind of this test.
#[derive(Debug, serde::Serialize, serde::Deserialize, ops_gates::schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Probe {}

impl ops_gates::Gate for Probe {
    fn check<'a>(
        &'a self,
        _: &'a ops_gates::Context<'a>,
    ) -> futures_util::future::BoxFuture<'a, ops_gates::Finding> {
        Box::pin(async {
            ops_gates::Finding::pass("there").output("answer", "forty-two").measured("size_bytes", 42.0)
        })
    }
}

/// A kind that breaks the contract.
#[derive(Debug, serde::Serialize, serde::Deserialize, ops_gates::schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Broken {
    panics: bool,
}

impl ops_gates::Gate for Broken {
    fn check<'a>(
        &'a self,
        _: &'a ops_gates::Context<'a>,
    ) -> futures_util::future::BoxFuture<'a, ops_gates::Finding> {
        Box::pin(async {
            assert!(!self.panics, "as told");
            ops_gates::Finding::new(Outcome::Skip, "lazy", "nothing to do")
        })
    }
}

#[tokio::test]
async fn a_kind_cannot_excuse_itself_and_its_panic_is_an_error() {
    let read = ops_gates::ReadOptions {
        kinds: ops_gates::Kinds::standard().with::<Broken>("broken"),
        ..Default::default()
    };
    for (panics, code) in [(true, "panic"), (false, "skipped")] {
        let toml = format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"broken\"\npanics = {panics}\n");
        let plan = ops_gates::Plan::parse_as(&toml, "x.toml", &|_| None, &read).expect("a sound plan");
        run_with(&plan, options(), CancellationToken::new()).await.expect("ERROR", code);
    }
}

#[tokio::test]
async fn what_most_waits_for_starts_first() {
    let gates = "[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"true\"]\n[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"true\"]\n[[gate]]\nid = \"c\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"b\"]\n";
    let plan = parse(&format!("name = \"x\"\n{gates}"));
    let options = ops_gates::Options { jobs: 1, ..options() };
    let ran = run_with(&plan, options, CancellationToken::new()).await;
    let started: Vec<String> = ran
        .read("events.jsonl")
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|event| event["event"] == "gate_started")
        .filter_map(|event| event["gate"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(started, ["b", "a", "c"]);
}
