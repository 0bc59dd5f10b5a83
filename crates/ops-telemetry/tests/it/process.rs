//! A process with telemetry of its own. Each test starts this test binary again with only itself, and is the program
//! there that it looks at here.

use std::io::{Read, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ops_telemetry::{ErrorKind, Options, Roots, TraceContext, child_env};

use crate::parse;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const PROGRAM: &str = "OPS_TEST_PROGRAM";

/// Tells whether this process is the program of the calling test.
pub(crate) fn is_program() -> bool {
    std::env::var_os(PROGRAM).is_some()
}

/// Returns the program of a test of this module.
fn program(test: &str) -> Command {
    program_of("process", test)
}

/// Returns the program of `test`, without what the environment says about logs.
pub(crate) fn program_of(module: &str, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", "--nocapture", &format!("{module}::{test}")]);
    command.stdin(Stdio::null()).env("RUST_BACKTRACE", "0").env(PROGRAM, test);
    for name in ["TRACEPARENT", "TRACESTATE", "BAGGAGE", "RUST_LOG", "OPS_LOG", "LOG_LEVEL"] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

pub(crate) fn stderr_lines(output: &Output) -> Vec<String> {
    String::from_utf8(output.stderr.clone()).expect("utf-8").lines().map(str::to_owned).collect()
}

fn says_hello() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    assert_eq!(Some(telemetry.context()), TraceContext::current());
    tracing::info!("hello");
    tracing::debug!("only when asked for");
    // The grandchild writes to the same pipe, after this.
    assert!(telemetry.flush(Duration::from_secs(10)));
    // The span is what the grandchild must be told.
    let _span = tracing::info_span!("call").entered();
    let grandchild =
        Command::new("sh").args(["-c", "echo $TRACEPARENT $BAGGAGE >&2"]).envs(child_env()).status();
    assert!(grandchild.expect("sh runs").success());
    assert_eq!(telemetry.lines_lost(), 0);
    let again = ops_telemetry::init(Options::default()).expect_err("the second one");
    assert_eq!(again.kind(), ErrorKind::AlreadyInitialized);
}

#[test]
fn the_environment_gives_the_trace_and_takes_it_on() {
    if is_program() {
        return says_hello();
    }
    let mut command = program("the_environment_gives_the_trace_and_takes_it_on");
    command.env("TRACEPARENT", PARENT).env("BAGGAGE", "k=v").env("OPS_LOG", "debug").env("RUST_LOG", "off");
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let [hello, debug, told] = &stderr_lines(&output)[..] else { panic!("{output:?}") };
    let hello = parse(hello);
    assert_eq!(hello.get("trace_id"), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hello.get("service.name"), env!("CARGO_PKG_NAME"));
    assert_eq!(hello.get("service.version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(parse(debug).get("level"), "DEBUG");
    let (traceparent, baggage) = told.split_once(' ').expect("two words");
    let told = TraceContext::parse(traceparent).expect("valid");
    assert_eq!(hello.get("trace_id"), told.trace_id.to_string().as_str());
    assert_ne!(hello.get("span_id"), told.span_id.to_string().as_str());
    assert_eq!(baggage, "k=v");
}

#[test]
fn a_malformed_parent_starts_a_new_trace() {
    if is_program() {
        return says_hello();
    }
    let output = program("a_malformed_parent_starts_a_new_trace")
        .env("TRACEPARENT", &PARENT[1..])
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    assert_ne!(parse(&stderr_lines(&output)[0]).get("trace_id"), "0af7651916cd43dd8448eb211c80319c");
}

fn panics() {
    let _telemetry = ops_telemetry::init!(roots: Roots::Process).expect("the first one");
    let _span = tracing::info_span!("work", job = 7).entered();
    let thread =
        std::thread::Builder::new().name("worker".into()).spawn(|| panic!("on a thread")).expect("starts");
    assert!(thread.join().is_err());
    let caught = std::panic::catch_unwind(|| std::panic::panic_any(7));
    assert!(caught.is_err());
    panic!("it broke: {}", "badly\n");
}

#[test]
fn a_panic_is_one_line_and_nothing_else() {
    if is_program() {
        return panics();
    }
    let output = program("a_panic_is_one_line_and_nothing_else").output().expect("runs");
    assert!(!output.status.success());
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let [thread, any, main] = &lines[..] else { panic!("{output:?}") };
    assert_eq!(main.get("message"), "panicked: it broke: badly\n");
    assert_eq!((main.get("level").as_str(), main.get("target").as_str()), (Some("FATAL"), Some("panic")));
    assert_eq!((main.get("job"), main.get("span_id")), (any.get("job"), any.get("span_id")));
    assert!(main.get("location").as_str().expect("text").contains("process.rs:"));
    assert_eq!(
        (thread.get("thread"), thread.get("message")),
        (&"worker".into(), &"panicked: on a thread".into())
    );
    assert_eq!(thread.get("trace_id"), main.get("trace_id"));
    assert!(any.get("message").as_str().expect("text").contains("no text"));
}

#[test]
fn a_panic_with_a_backtrace_is_still_one_line() {
    if is_program() {
        return panics();
    }
    let output = program("a_panic_with_a_backtrace_is_still_one_line")
        .env("RUST_BACKTRACE", "1")
        .output()
        .expect("runs");
    let lines = stderr_lines(&output);
    assert_eq!(lines.len(), 3, "{output:?}");
    assert!(parse(&lines[2]).get("error.stack").as_str().expect("text").contains("process"));
}

#[test]
fn a_panic_is_told_even_when_logs_are_off() {
    if is_program() {
        return panics();
    }
    let output =
        program("a_panic_is_told_even_when_logs_are_off").env("OPS_LOG", "off").output().expect("runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("it broke: badly") && !text.contains("trace_id"), "{text}");
}

#[expect(clippy::print_stdout, reason = "standard error is the closed one")]
fn logs_into_a_closed_pipe() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    // Waits until the reader is gone.
    let _ = std::io::stdin().read(&mut [0]);
    for _ in 0..1000 {
        tracing::info!("into the void");
    }
    let caught = std::panic::catch_unwind(|| panic!("into the void"));
    assert!(caught.is_err());
    assert!(telemetry.flush(Duration::from_secs(10)));
    println!("lost {}", telemetry.lines_lost());
}

#[test]
fn a_reader_that_is_gone_costs_lines_and_not_the_process() {
    if is_program() {
        return logs_into_a_closed_pipe();
    }
    let mut command = program("a_reader_that_is_gone_costs_lines_and_not_the_process");
    let mut child =
        command.stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("starts");
    drop(child.stderr.take());
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("lost 1001"), "{text}");
}

fn logs_from_many_threads() {
    let _telemetry = ops_telemetry::init!().expect("the first one");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for n in 0..200 {
                    tracing::info!(thread, n, text = "x".repeat(200), "line");
                }
            });
        }
    });
}

#[test]
fn lines_of_many_threads_do_not_mix() {
    if is_program() {
        return logs_from_many_threads();
    }
    let output = program("lines_of_many_threads_do_not_mix").output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines = stderr_lines(&output);
    assert_eq!(lines.len(), 1600);
    lines.iter().for_each(|line| assert_eq!(parse(line).get("text").as_str().map(str::len), Some(200)));
}

fn logs_inside_a_log() {
    struct Chatty;
    impl std::fmt::Debug for Chatty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            tracing::info!("inner");
            f.write_str("chatty")
        }
    }
    let _telemetry = ops_telemetry::init!().expect("the first one");
    let _span = tracing::info_span!("s", a = ?Chatty).entered();
    tracing::info!(b = ?Chatty, "outer");
}

#[test]
fn a_value_that_logs_gives_lines_of_its_own() {
    if is_program() {
        return logs_inside_a_log();
    }
    let output = program("a_value_that_logs_gives_lines_of_its_own").output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let messages: Vec<_> =
        stderr_lines(&output).iter().map(|line| parse(line).get("message").to_string()).collect();
    assert_eq!(messages, ["\"inner\"", "\"inner\"", "\"outer\""]);
}

#[expect(clippy::exit, reason = "it is what is tested")]
fn ends_without_a_word(by_exit: bool) {
    let _telemetry = ops_telemetry::init!().expect("the first one");
    (0..1000).for_each(|n| tracing::info!(n, "not flushed"));
    if by_exit {
        std::process::exit(0);
    }
}

#[test]
fn lines_are_out_when_the_program_returns() {
    if is_program() {
        return ends_without_a_word(false);
    }
    let output = program("lines_are_out_when_the_program_returns").output().expect("runs");
    assert_eq!(stderr_lines(&output).len(), 1000);
}

#[test]
fn lines_are_out_when_the_program_calls_exit() {
    if is_program() {
        return ends_without_a_word(true);
    }
    let output = program("lines_are_out_when_the_program_calls_exit").output().expect("runs");
    assert_eq!(stderr_lines(&output).len(), 1000);
}

fn aborts() {
    let _telemetry = ops_telemetry::init!().expect("the first one");
    (0..100).for_each(|n| tracing::info!(n, "before"));
    tracing::error!("the last words");
    std::process::abort();
}

#[test]
fn an_error_is_out_before_the_program_can_crash() {
    if is_program() {
        return aborts();
    }
    let output = program("an_error_is_out_before_the_program_can_crash").output().expect("runs");
    let lines = stderr_lines(&output);
    assert_eq!(lines.len(), 101, "and what came before it");
    assert_eq!(parse(&lines[100]).get("message"), "the last words");
}

fn panics_in_json() {
    let redactor = std::sync::Arc::new(Hidden);
    let _telemetry = ops_telemetry::init!(redactor: Some(redactor)).expect("the first one");
    log::warn!(target: "third::party", "before");
    panic!("the key is hunter2");
}

struct Hidden;

impl ops_telemetry::Redactor for Hidden {
    fn redact(&self, line: &mut Vec<u8>) {
        let text = String::from_utf8(std::mem::take(line)).expect("utf-8");
        *line = text.replace("hunter2", "[redacted]").into_bytes();
    }
}

#[test]
fn a_panic_has_its_stack_and_no_secret() {
    if is_program() {
        return panics_in_json();
    }
    let output = program("a_panic_has_its_stack_and_no_secret").output().expect("runs");
    let lines = stderr_lines(&output);
    let [record, fatal] = &lines[..] else { panic!("{output:?}") };
    assert_eq!(parse(record).get("target"), "third::party");
    let fatal = parse(fatal);
    assert_eq!(fatal.get("message"), "panicked: the key is [redacted]");
    let stack = fatal.get("error.stack").as_str().expect("text");
    let first = stack.lines().next().expect("a frame");
    assert!(first.contains("panics_in_json"), "the stack begins where the panic did: {stack}");
    assert!(stack.len() <= 6 * 1024);
}

fn panics_in_a_chain() {
    std::panic::set_hook(Box::new(|_| {
        let _ = writeln!(std::io::stderr(), "the hook before");
    }));
    let hook = ops_telemetry::PanicHook::Chain;
    let _telemetry = ops_telemetry::init!(panic_hook: hook).expect("the first one");
    struct Breaks;
    impl std::fmt::Debug for Breaks {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("while a value is shown")
        }
    }
    let caught = std::panic::catch_unwind(|| tracing::info!(value = ?Breaks, "never written"));
    assert!(caught.is_err());
    tracing::info!("alive");
}

#[test]
fn a_value_that_panics_costs_its_line_and_the_hooks_are_chained() {
    if is_program() {
        return panics_in_a_chain();
    }
    let output =
        program("a_value_that_panics_costs_its_line_and_the_hooks_are_chained").output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines = stderr_lines(&output);
    let [fatal, hook, alive] = &lines[..] else { panic!("{output:?}") };
    assert_eq!(parse(fatal).get("message"), "panicked: while a value is shown");
    assert_eq!(hook, "the hook before");
    assert_eq!(parse(alive).get("message"), "alive");
}

fn changes_the_level() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    let log = |message: &str| {
        tracing::debug!("{message}");
        log::debug!("{message} too");
    };
    log("before");
    telemetry.set_level("debug", Some(Duration::from_secs(600))).expect("valid");
    log("while it holds");
    // The time is up at once; nobody asks for the level, so the next event must find out.
    telemetry.set_level("debug", Some(Duration::ZERO)).expect("valid");
    log("after");
    assert_eq!(log::max_level(), log::LevelFilter::Info);
    telemetry.set_level("off", Some(Duration::from_secs(600))).expect("valid");
    tracing::error!("silenced");
    telemetry.set_level("debug", None).expect("valid");
    log("for good");
    assert!(telemetry.set_level("loud", None).is_err());
    log("still");
}

#[test]
fn the_level_changes_while_the_program_runs() {
    if is_program() {
        return changes_the_level();
    }
    let output = program("the_level_changes_while_the_program_runs").output().expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line).get("message").clone()).collect();
    let expected = ["while it holds", "while it holds too", "for good", "for good too", "still", "still too"];
    assert_eq!(lines, expected);
}

fn forks() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    tracing::info!("parent before");
    assert!(telemetry.flush(Duration::from_secs(10)));
    let log = |who: &str| {
        for n in 0..200 {
            tracing::info_span!("root").in_scope(|| tracing::info!(n, "{who}"));
        }
        assert!(telemetry.flush(Duration::from_secs(10)));
    };
    match fork::fork().expect("forks") {
        fork::Fork::Child => {
            log("child");
            // Without the destructors of the test harness, which belong to the parent.
            std::process::abort();
        }
        fork::Fork::Parent(_) => log("parent"),
    }
}

#[test]
fn a_forked_child_writes_for_itself_and_has_ids_of_its_own() {
    if is_program() {
        return forks();
    }
    let output = program("a_forked_child_writes_for_itself_and_has_ids_of_its_own").output().expect("runs");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let of = |who: &str| lines.iter().filter(|line| line.get("message") == who).collect::<Vec<_>>();
    let (parent, child) = (of("parent"), of("child"));
    assert_eq!((parent.len(), child.len(), lines.len()), (200, 200, 401));
    let mut traces: Vec<_> =
        parent.iter().chain(&child).map(|line| line.get("trace_id").to_string()).collect();
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 400, "no trace belongs to both");
}
