//! A runner that is killed at any time leaves BLOCKED on disk, and never a half-written verdict.

use crate::support::{options, verdict_on_disk};
use ops_gates::{CancellationToken, Options, Plan, Runner};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DIRECTORY: &str = "OPS_GATES_TEST_RUN_DIRECTORY";

/// This test binary, to run one ignored test in a process of its own.
pub(crate) fn this_test_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test binary"));
    command.args(["--exact", "--ignored", "--nocapture", test]);
    command
}

#[test]
#[ignore = "run in a process of its own, and killed, by the next test"]
fn a_run_to_be_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let gates: Vec<String> = (0..40)
        .map(|n| format!("[[gate]]\nid = \"g{n}\"\nkind = \"command\"\nrun = [\"sleep\", \"0.01\"]\n"))
        .collect();
    let plan = Plan::parse(&format!("name = \"x\"\n{}", gates.concat()), "x.toml").expect("a sound plan");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let run = Runner::new(options());
    runtime.block_on(run.run(&plan, directory.as_ref(), CancellationToken::new())).expect("a record");
}

const KILL_AT: &str = "OPS_GATES_TEST_KILL_AT";

#[test]
#[ignore = "run in a process of its own by the next test, and kills itself at an event"]
fn a_run_that_kills_itself() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let at: u64 = std::env::var(KILL_AT).ok().and_then(|at| at.parse().ok()).expect("a number");
    let gates = "[[gate]]\nid = \"a\"\nkind = \"command\"\nrun = [\"true\"]\n[[gate]]\nid = \"b\"\nkind = \"command\"\nrun = [\"sh\", \"-c\", \"exit 1\"]\nrequired = false\nretry = { attempts = 2, on = [\"fail\"], base = \"1ms\" }\n[[gate]]\nid = \"c\"\nkind = \"command\"\nrun = [\"true\"]\nneeds = [\"a\"]\n";
    let plan = Plan::parse(&format!("name = \"x\"\n{gates}"), "x.toml").expect("a sound plan");
    let observer = move |event: &ops_gates::Event| {
        if event.seq == at {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    };
    let options = Options { observer: Some(Arc::new(observer)), ..options() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let runner = Runner::new(options);
    let run = runner.run(&plan, directory.as_ref(), CancellationToken::new());
    runtime.block_on(run).expect("a record");
}

#[test]
fn a_runner_that_is_killed_at_any_event_leaves_blocked() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    // RunStarted, three gates that start and end, one retry, RunEnded.
    for at in 1..=10 {
        let directory = temporary.path().join(at.to_string());
        let mut child = this_test_binary("kill::a_run_that_kills_itself")
            .env(DIRECTORY, &directory)
            .env(KILL_AT, at.to_string())
            .stdout(Stdio::null())
            .spawn()
            .expect("the test binary");
        let ended_well = child.wait().expect("a child").success();
        let expected = if at == 10 { ("PASSED", true) } else { ("BLOCKED", false) };
        let (verdict, reason) = verdict_on_disk(&directory);
        assert_eq!((verdict.as_str(), ended_well), expected, "killed at event {at}: {reason}");
    }
}

#[test]
fn a_killed_runner_leaves_blocked() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let (mut blocked, mut passed) = (0, 0);
    // From before the run directory exists to long after the end.
    for step in 0..40 {
        let directory = temporary.path().join(step.to_string());
        let mut child = this_test_binary("kill::a_run_to_be_killed")
            .env(DIRECTORY, &directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("the test binary");
        if step < 39 {
            std::thread::sleep(Duration::from_millis(step * 8));
            child.kill().expect("a child");
        }
        let ended_well = child.wait().expect("a child").success();
        if !directory.join("verdict.json").exists() {
            continue;
        }
        match verdict_on_disk(&directory) {
            (verdict, reason) if verdict == "BLOCKED" && reason == "in progress" => blocked += 1,
            (verdict, _) if verdict == "PASSED" => {
                passed += 1;
                for name in ["junit.xml", "summary.md", "events.jsonl"] {
                    assert!(directory.join(name).exists(), "PASSED without {name}");
                }
            }
            other => panic!("step {step}: {other:?}, ended well: {ended_well}"),
        }
    }
    assert!(blocked >= 3, "only {blocked} runs were killed under way");
    assert!(passed >= 1, "no run came to its end");
}
