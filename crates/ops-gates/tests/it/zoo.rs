//! The process zoo: programs that do not want to end. Each runs a hundred times, ten at once; none may survive or hang.

use crate::support::{options, run_with};
use ops_gates::{CancellationToken, Options, Outcome, Plan};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const RUNS: usize = 100;

/// A number of seconds that no other process sleeps for, so that survivors can be found by it.
fn unique_sleep() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("9{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed) + 1)
}

/// The processes whose arguments hold the text.
fn survivors(token: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("proc").filter_map(Result::ok);
    let pids =
        entries.filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()));
    pids.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(token))
        .collect()
}

/// The plan of one animal, `SLEEP` replaced in its script.
fn plan(script: &str, sleep: &str, timeout: &str) -> Plan {
    let script = script.replace("SLEEP", sleep);
    let gates: Vec<String> = (0..RUNS)
        .map(|n| format!("[[gate]]\nid = \"g{n}\"\nkind = \"command\"\nshell = true\ntimeout = \"{timeout}\"\nrun = ['''{script}''']\n"))
        .collect();
    Plan::parse(&format!("name = \"zoo\"\n{}", gates.concat()), "zoo.toml").expect("a sound plan")
}

pub(crate) async fn check_with(
    script: &str,
    timeout: &str,
    options: Options,
    expected: fn(&Outcome) -> bool,
) {
    let sleep = unique_sleep();
    let start = Instant::now();
    let ran = run_with(&plan(script, &sleep, timeout), options, CancellationToken::new()).await;
    for gate in &ran.record.gates {
        assert!(
            gate.outcome.as_ref().is_some_and(expected),
            "{}: {:?} {:?}",
            gate.id,
            gate.outcome,
            gate.reason
        );
    }
    assert_eq!(survivors(&sleep), Vec::<String>::new(), "{script}");
    // Nothing hangs: ten at once, each within its second, on a machine that does other things too.
    assert!(start.elapsed() < Duration::from_secs(180), "{script} took {:?}", start.elapsed());
}

fn timed_out(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Error { error: ops_gates::Fault::Timeout })
}

#[tokio::test]
async fn a_session_of_its_own_does_not_survive_the_timeout() {
    check_with("setsid sleep SLEEP & wait", "500ms", options(), timed_out).await;
}

#[tokio::test]
async fn a_double_fork_does_not_survive_the_timeout() {
    check_with("(setsid sh -c 'setsid sleep SLEEP & exit 0' &) ; sleep SLEEP", "500ms", options(), timed_out)
        .await;
}

#[tokio::test]
async fn ignoring_sigterm_does_not_help() {
    let script = "trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM; sleep SLEEP; sleep SLEEP' & while :; do sleep 0.05; done # SLEEP";
    check_with(script, "500ms", options(), timed_out).await;
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_neither_hangs_the_run_nor_survives() {
    check_with("sleep SLEEP & setsid sleep SLEEP & echo started", "20s", options(), Outcome::is_pass).await;
}

#[tokio::test]
async fn a_stopped_process_does_not_survive() {
    check_with("(sleep 0.1; kill -STOP $$) & sleep SLEEP; sleep SLEEP", "500ms", options(), timed_out).await;
}

#[tokio::test]
async fn a_program_that_keeps_forking_does_not_survive() {
    check_with("while :; do (setsid sleep SLEEP &) ; sleep 0.05; done", "500ms", options(), timed_out).await;
}

#[tokio::test]
async fn a_process_that_hid_its_environment_while_its_parent_lived_is_ended() {
    check_with("env -i setsid sleep SLEEP & wait", "500ms", options(), timed_out).await;
}

#[test]
#[ignore = "run in a process of its own by the next test"]
fn in_a_process_that_adopts_orphans() {
    let script = "(env -i setsid sh -c 'env -i setsid sleep SLEEP & exit 0' &) ; sleep 0.3";
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let options = Options { adopt_orphans: true, ..options() };
    runtime.block_on(check_with(script, "20s", options, Outcome::is_pass));
}

#[test]
fn a_daemon_that_hid_everything_is_ended_with_the_run() {
    let out = crate::kill::this_test_binary("zoo::in_a_process_that_adopts_orphans")
        .output()
        .expect("the test binary");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    assert!(String::from_utf8_lossy(&out.stdout).contains("1 passed"), "the inner test did not run");
}

#[tokio::test]
async fn a_cancelled_run_ends_soon_and_leaves_no_process() {
    let sleep = unique_sleep();
    let plan = plan("trap '' TERM; setsid sleep SLEEP & while :; do sleep 0.05; done # SLEEP", &sleep, "1h");
    let cancel = CancellationToken::new();
    let later = cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        later.cancel();
    });
    let start = Instant::now();
    let ran = run_with(&plan, options(), cancel).await;
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    assert!(ran.record.gates.iter().all(|gate| gate.outcome == Some(Outcome::Cancelled)));
    assert_eq!(
        (ran.record.state, ran.record.reason.as_str()),
        (ops_gates::State::Interrupted, "interrupted")
    );
    assert_eq!(survivors(&sleep), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_run_leaves_blocked_and_no_process() {
    let sleep = unique_sleep();
    let plan = plan("trap '' TERM; setsid sleep SLEEP & while :; do sleep 0.05; done # SLEEP", &sleep, "1h");
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("run");
    let runner = ops_gates::Runner::new(options());
    let run = runner.run(&plan, &directory, CancellationToken::new());
    assert!(tokio::time::timeout(Duration::from_millis(700), run).await.is_err());
    assert_eq!(survivors(&sleep), Vec::<String>::new());
    assert_eq!(crate::support::verdict_on_disk(&directory), ("BLOCKED".to_owned(), "in progress".to_owned()));
}
