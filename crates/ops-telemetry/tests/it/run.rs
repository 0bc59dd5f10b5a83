//! A service on tokio, from start to exit code. Each test starts this test binary again with only itself.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ops_telemetry::{Options, Service};

use crate::parse;
use crate::process::{is_program, program_of};

/// Starts the program of `test`, and returns it once it says that it is ready, with the rest of its lines.
fn start(test: &str) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child =
        program_of("run", test).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("reads");
    assert_eq!(parse(line.trim_end()).get("message"), "ready");
    (child, lines)
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

fn end(mut child: Child, mut lines: impl Read) -> (Option<i32>, Vec<crate::Line>) {
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("reads");
    (child.wait().expect("ends").code(), text.lines().map(parse).collect())
}

/// Becomes the service, and ends the process with its exit code.
#[expect(clippy::exit, reason = "the test harness would take another code")]
fn serve<T: ops_telemetry::Outcome>(grace: Duration, work: impl AsyncFnOnce(ops_telemetry::Running) -> T) {
    let service = Service { grace, ..Service::new("orders", "1.0") };
    let code = service.run(async |running| {
        tracing::info!("ready");
        work(running).await
    });
    // `ExitCode` cannot be asked for its number, but it shows it.
    let shown = format!("{code:?}");
    let digits: String = shown.chars().filter(char::is_ascii_digit).collect();
    std::process::exit(digits.parse().expect("a number"));
}

#[test]
fn a_service_that_waits_for_the_signal_ends_in_order() {
    if is_program() {
        return serve(Duration::from_secs(60), async |running| {
            running.stopped().await;
            tracing::info!("stopped in order");
        });
    }
    let (child, lines) = start("a_service_that_waits_for_the_signal_ends_in_order");
    send(&child, "TERM");
    let (code, lines) = end(child, lines);
    let messages: Vec<_> = lines.iter().map(|line| line.get("message").as_str()).collect();
    assert_eq!((code, messages), (Some(0), vec![Some("stopping"), Some("stopped in order")]));
}

#[test]
fn a_service_that_does_not_wait_is_dropped() {
    if is_program() {
        return serve(Duration::from_secs(60), async |_| std::future::pending::<()>().await);
    }
    for (signal, expected) in [("TERM", 143), ("INT", 130)] {
        let (child, lines) = start("a_service_that_does_not_wait_is_dropped");
        send(&child, signal);
        assert_eq!(end(child, lines).0, Some(expected));
    }
}

#[test]
fn a_service_that_does_not_stop_in_time_is_dropped() {
    if is_program() {
        return serve(Duration::from_millis(10), async |running| {
            running.stopped().await;
            std::future::pending::<()>().await;
        });
    }
    let (child, lines) = start("a_service_that_does_not_stop_in_time_is_dropped");
    send(&child, "TERM");
    let (code, lines) = end(child, lines);
    assert_eq!(code, Some(143));
    assert_eq!(lines.last().expect("a line").get("level"), "WARN");
}

#[test]
fn a_failure_is_one_line_and_one() {
    if is_program() {
        return serve(Duration::ZERO, async |_| Err::<(), _>(std::io::Error::other("disk is gone")));
    }
    let (child, lines) = start("a_failure_is_one_line_and_one");
    let (code, lines) = end(child, lines);
    assert_eq!((code, lines.len()), (Some(1), 1));
    assert_eq!((lines[0].get("error"), lines[0].get("level")), (&"disk is gone".into(), &"ERROR".into()));
}

#[test]
fn a_panic_of_the_work_is_told_and_counted_as_a_bug() {
    if is_program() {
        return serve(Duration::ZERO, async |_| -> () { panic!("it broke") });
    }
    let (child, lines) = start("a_panic_of_the_work_is_told_and_counted_as_a_bug");
    let (code, lines) = end(child, lines);
    assert_eq!((code, lines.len()), (Some(70), 1));
    assert_eq!(lines[0].get("level"), "FATAL");
}

#[test]
fn a_signal_makes_it_verbose() {
    if is_program() {
        return serve(Duration::ZERO, async |running| {
            while running.telemetry().level().filter != "debug" {
                tokio::task::yield_now().await;
            }
            tracing::debug!("seen now");
        });
    }
    let (child, lines) = start("a_signal_makes_it_verbose");
    send(&child, "USR1");
    let (code, lines) = end(child, lines);
    assert_eq!(code, Some(0));
    assert!(lines.iter().any(|line| line.get("message") == "seen now"));
}

#[test]
fn the_flush_needs_no_runtime_and_blocks_none() {
    // A current-thread runtime is where exporters that use it come to a halt.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    let (dispatch, telemetry) = ops_telemetry::testing::scoped(Options {
        writer: std::sync::Arc::new(ops_telemetry::testing::Capture::default()),
        ..Options::default()
    })
    .expect("valid options");
    let report = runtime.block_on(async {
        tracing::dispatcher::with_default(&dispatch, || tracing::info!("last words"));
        telemetry.shutdown(Duration::from_secs(30))
    });
    assert!(report.is_complete && report.lines_lost.total() == 0, "{report:?}");
}
