//! Records on their way to a collector: what arrives, what is counted as lost, and that nobody waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ops_telemetry::metrics::{Buckets, Desc, Exposition, Unit};
use ops_telemetry::testing::scoped;
use ops_telemetry::{
    ErrorKind, Options, Otlp, Protocol, Roots, ShutdownReport, Telemetry, TraceContext, Undelivered,
};
use serde_json::Value;

use crate::collector::{OK, Real, Reply, StandIn};
use crate::parse;
use crate::process::{is_program, program_of, stderr_lines};
use crate::redaction::Word;

pub(crate) const LONG: Duration = Duration::from_secs(60);
pub(crate) const SHORT: Duration = Duration::from_millis(300);

fn to(url: &str) -> Options {
    to_collector(Otlp::to(url))
}

pub(crate) fn to_collector(otlp: Otlp) -> Options {
    let writer = Arc::new(ops_telemetry::testing::Capture::default());
    Options { otlp: Some(otlp), writer, roots: Roots::Own, ..crate::options() }
}

/// Runs `body` with telemetry of its own and shuts it down.
pub(crate) fn run(options: Options, at_most: Duration, body: impl FnOnce(&Telemetry)) -> ShutdownReport {
    let (dispatch, telemetry) = scoped(options).expect("valid options");
    tracing::dispatcher::with_default(&dispatch, || body(&telemetry));
    telemetry.shutdown(at_most)
}

pub(crate) fn spans_and_lines(count: u64) {
    for n in 0..count {
        tracing::info_span!("work", n).in_scope(|| tracing::info!(n, "done"));
    }
}

#[test]
fn everything_arrives_in_batches_on_connections_that_are_kept() {
    let collector = StandIn::start(|_, _| OK);
    let report = run(to(&collector.url()), LONG, |_| spans_and_lines(1000));
    assert!(report.is_complete, "{report:?}");
    for path in ["/v1/traces", "/v1/logs"] {
        let requests = collector.requests(path);
        assert!((2..=1000).contains(&requests.len()), "{path} {}", requests.len());
        assert!(
            requests[0].head.contains("Content-Type: application/x-protobuf\r\n"),
            "{}",
            requests[0].head
        );
    }
    assert!(!collector.requests("/v1/metrics").is_empty());
}

#[test]
fn what_can_be_tried_again_is_and_arrives_once() {
    for first in [
        Reply::Status(503, "Retry-After: 0\r\n", b""),
        Reply::Status(429, "Retry-After: 0\r\n", b""),
        Reply::Status(502, "Retry-After: 0\r\n", b""),
        Reply::Status(504, "Retry-After: 0\r\n", b""),
    ] {
        let collector = StandIn::start(move |number, _| if number == 0 { first } else { OK });
        let report = run(to(&collector.url()), LONG, |_| spans_and_lines(1));
        assert!(report.is_complete, "{first:?} {report:?}");
        let logs = collector.requests("/v1/logs");
        assert_eq!(logs.len(), 2, "{first:?}");
        assert_eq!(logs[0].body, logs[1].body);
    }
}

#[test]
fn a_connection_that_breaks_while_the_service_runs_is_made_again() {
    let collector = StandIn::start(|number, _| if number == 0 { Reply::Close } else { OK });
    let report = run(to(&collector.url()), LONG, |telemetry| {
        spans_and_lines(1);
        assert!(telemetry.flush(LONG));
    });
    assert_eq!((report.undelivered.spans, report.undelivered.logs), (0, 0), "{report:?}");
    assert_eq!(collector.requests("/v1/logs").len(), 2);
}

#[test]
fn a_final_answer_costs_the_records_and_is_counted() {
    for status in [400, 401, 404, 413, 500] {
        let collector = StandIn::start(move |_, _| Reply::Status(status, "", b""));
        let report = run(to(&collector.url()), LONG, |_| spans_and_lines(3));
        assert!(!report.is_complete);
        assert_eq!((report.undelivered.spans, report.undelivered.logs), (3, 3), "{status}");
        assert!(report.undelivered.points > 10, "{report:?}");
        assert_eq!(collector.requests("/v1/logs").len(), 1, "{status}");
    }
}

#[test]
fn a_part_that_is_rejected_is_counted() {
    // partial_success { rejected: 2 }
    let collector = StandIn::start(|_, _| Reply::Status(200, "", &[0x0a, 0x02, 0x08, 0x02]));
    let report = run(to(&collector.url()), LONG, |_| spans_and_lines(3));
    assert_eq!(report.undelivered, Undelivered { spans: 2, logs: 2, points: 2 });
    assert_eq!(collector.requests("/v1/logs").len(), 1);
}

#[test]
fn a_collector_that_never_answers_delays_nobody_and_the_counts_are_exact() {
    let collector = StandIn::start(|_, _| Reply::Stall);
    let mut options = to(&collector.url());
    options.otlp.as_mut().expect("set").capacity = 100_000;
    // Were anything here to wait for an answer, it would wait for ten seconds each time.
    let report = run(options, SHORT, |_| spans_and_lines(10_000));
    assert_eq!((report.undelivered.spans, report.undelivered.logs), (10_000, 10_000));
    assert!(!report.is_complete && report.lines_lost.total() == 0, "{report:?}");
}

#[test]
fn a_collector_that_is_not_there_is_told_at_the_end() {
    let report = run(to("http://127.0.0.1:1"), LONG, |telemetry| {
        spans_and_lines(5);
        assert!(!telemetry.flush(SHORT));
    });
    assert_eq!((report.undelivered.spans, report.undelivered.logs), (5, 5));
}

#[test]
fn what_becomes_of_records_is_a_metric() {
    let collector =
        StandIn::start(|_, path| if path == "/v1/logs" { Reply::Status(400, "", b"") } else { OK });
    let mut page = String::new();
    let _ = run(to(&collector.url()), LONG, |telemetry| {
        spans_and_lines(4);
        telemetry.flush(LONG);
        page = telemetry.metrics().render(Exposition::Prometheus);
    });
    for line in [
        "telemetry_otlp_delivered_total{records=\"spans\"} 4.0\n",
        "telemetry_otlp_delivered_total{records=\"logs\"} 0.0\n",
        "telemetry_otlp_undelivered_total{records=\"logs\"} 4.0\n",
    ] {
        assert!(page.contains(line), "{line} {page}");
    }
}

#[test]
fn a_collector_never_sees_a_secret() {
    let collector = StandIn::start(|_, _| OK);
    let options = Options { redactor: Some(Arc::new(Word("hunter2"))), ..to(&collector.url()) };
    let report = run(options, LONG, |_| {
        let _span = tracing::info_span!("login", how = "by hunter2", password = "other").entered();
        tracing::info!(token = "third", "he said hunter2");
    });
    assert!(report.is_complete);
    for path in ["/v1/traces", "/v1/logs"] {
        let text: String = collector
            .requests(path)
            .iter()
            .map(|sent| String::from_utf8_lossy(&sent.body).into_owned())
            .collect();
        assert!(text.contains("[redacted]"), "{text:?}");
        for secret in ["hunter2", "other", "third"] {
            assert!(!text.contains(secret), "{secret} in {path}: {text:?}");
        }
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in ["localhost:4318", "http://user:pw@c", "http://c\r\nX: y"] {
        let error = scoped(to(url)).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidCollector);
        assert!(!error.to_string().contains("pw"), "{error}");
    }
    let mut options = to("http://127.0.0.1:1");
    let spans = options.otlp.as_mut().and_then(|otlp| otlp.spans.as_mut()).expect("set");
    spans.headers.push(("a".into(), "b\r\nX: y".into()));
    assert_eq!(scoped(options).expect_err("refused").kind(), ErrorKind::InvalidCollector);
}

#[test]
fn a_protocol_that_is_none_is_refused() {
    let mut options = to("http://127.0.0.1:1");
    let spans = options.otlp.as_mut().and_then(|otlp| otlp.spans.as_mut()).expect("set");
    spans.protocol = Protocol::Other("http/json".into());
    let error = scoped(options).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::InvalidCollector);
    assert!(error.to_string().contains("http/json"), "{error}");
    let grpc = scoped(to_collector(Otlp::to_grpc("http://127.0.0.1:1")));
    assert_eq!(grpc.is_ok(), cfg!(feature = "otlp-grpc"));
}

#[test]
fn a_time_to_come_again_that_no_clock_has_is_survived() {
    let reply = Reply::Status(503, "Retry-After: 18446744073709551615\r\n", b"");
    let collector = StandIn::start(move |number, _| if number == 0 { reply } else { OK });
    let report = run(to(&collector.url()), LONG, |telemetry| {
        spans_and_lines(1);
        assert!(telemetry.flush(LONG));
        spans_and_lines(1);
    });
    assert_eq!((report.undelivered.spans, report.undelivered.logs), (1, 1), "{report:?}");
}

#[test]
fn headers_are_sent() {
    let collector = StandIn::start(|_, _| OK);
    let mut options = to(&collector.url());
    let spans = options.otlp.as_mut().and_then(|otlp| otlp.spans.as_mut()).expect("set");
    spans.headers.push(("authorization".into(), "Bearer x".into()));
    let _ = run(options, LONG, |_| spans_and_lines(1));
    assert!(collector.requests("/v1/traces")[0].head.contains("authorization: Bearer x\r\n"));
    assert!(!collector.requests("/v1/logs")[0].head.contains("authorization"));
}

pub(crate) fn works() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    let orders = telemetry.metrics().counter(Desc::new("orders_total", "Orders.")).expect("valid");
    let took = Desc::new("settlement_duration_seconds", "How long it took.").unit(Unit::Seconds);
    let took = telemetry.metrics().histogram(took, Buckets::seconds()).expect("valid");
    {
        let _outer = tracing::info_span!(
            "outer",
            otel.kind = "server",
            otel.name = "GET /",
            http.response.status_code = 503,
            n = -7,
            text = "a\"\n\u{e9}",
            ratio = 1.5,
            is_new = true,
            large = u64::MAX
        )
        .entered();
        tracing::info_span!("inner").in_scope(|| {
            orders.add_with(2, TraceContext::current());
            took.observe(0.2);
            tracing::warn!(k = "v", "inside");
            log::error!(target: "third::party", "from the log crate");
        });
    }
    let report = telemetry.shutdown(LONG);
    assert!(report.is_complete, "{report:?}");
}

/// The value of an attribute as oteltap shows it.
fn attribute<'a>(record: &'a Value, name: &str) -> &'a Value {
    let attributes = record["attributes"].as_array().expect("attributes");
    &attributes.iter().find(|pair| pair["key"] == name).unwrap_or_else(|| panic!("no {name} in {record}"))["value"]
}

#[test]
fn a_real_collector_reads_what_the_lines_say() {
    if is_program() {
        return works();
    }
    let Some(collector) = Real::oteltap() else { ops_testkit::skip!("oteltap is not installed") };
    let output = program_of("otlp", "a_real_collector_reads_what_the_lines_say")
        .env("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .env("TRACESTATE", "v=1,w=2")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let [warning, error] = &lines[..] else { panic!("{output:?}") };
    for wanted in ["\"inside\"", "from the log crate", "\"GET /\"", "orders_total"] {
        collector.await_output(wanted);
    }
    let text = collector.output();
    let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let log =
        |message: &str| records.iter().find(|found| found["body"]["stringValue"] == *message).expect("a log");
    let span = |name: &str| records.iter().find(|found| found["name"] == *name).expect("a span");
    for (line, message) in [(warning, "inside"), (error, "from the log crate")] {
        let log = log(message);
        assert_eq!((&log["traceId"], &log["spanId"]), (line.get("trace_id"), line.get("span_id")));
        assert_eq!(attribute(log, "n")["intValue"], "-7");
    }
    assert_eq!(
        (&log("inside")["severityNumber"], &log("from the log crate")["severityNumber"]),
        (&13.into(), &17.into())
    );
    let (outer, inner) = (span("GET /"), span("inner"));
    assert_eq!((&inner["traceId"], &inner["spanId"]), (warning.get("trace_id"), warning.get("span_id")));
    assert_eq!(inner["parentSpanId"], outer["spanId"]);
    let process = span("process");
    assert_eq!(outer["parentSpanId"], process["spanId"]);
    assert_eq!(process["parentSpanId"], "b7ad6b7169203331");
    for one in [process, outer, inner] {
        assert_eq!(one["traceState"], "v=1,w=2");
    }
    assert_eq!((&outer["kind"], &outer["status"]["code"]), (&2.into(), &2.into()));
    assert_eq!(attribute(outer, "text")["stringValue"], "a\"\n\u{e9}");
    assert_eq!(attribute(outer, "ratio")["doubleValue"], 1.5);
    assert_eq!(attribute(outer, "is_new")["boolValue"], true);
    assert_eq!(attribute(outer, "large")["stringValue"], u64::MAX.to_string());
    let nanoseconds =
        |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).expect("a time");
    assert!(nanoseconds(&outer["startTimeUnixNano"]) <= nanoseconds(&inner["startTimeUnixNano"]));
    assert!(nanoseconds(&outer["endTimeUnixNano"]) >= nanoseconds(&inner["endTimeUnixNano"]));
    let orders = &span("orders_total")["sum"];
    assert_eq!((&orders["isMonotonic"], &orders["aggregationTemporality"]), (&true.into(), &2.into()));
    assert_eq!(orders["dataPoints"][0]["asInt"], 2);
    assert_eq!(orders["dataPoints"][0]["exemplars"][0]["traceId"], *warning.get("trace_id"));
    let took = &span("settlement_duration_seconds");
    assert_eq!(took["unit"], "s");
    let point = &took["histogram"]["dataPoints"][0];
    assert_eq!((&point["count"], &point["sum"]), (&"1".into(), &0.2.into()));
    assert_eq!(point["bucketCounts"].as_array().map(Vec::len), Some(15));
}

#[test]
fn another_real_collector_reads_the_same_ids() {
    if is_program() {
        return works();
    }
    let Some(collector) = Real::rotel() else { ops_testkit::skip!("rotel is not installed") };
    let output = program_of("otlp", "another_real_collector_reads_the_same_ids")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let ids: BTreeSet<&str> = lines.iter().filter_map(|line| line.get("trace_id").as_str()).collect();
    let [trace] = ids.into_iter().collect::<Vec<_>>()[..] else { panic!("{output:?}") };
    for wanted in ["GET /", "inside", "from the log crate", "orders_total", trace] {
        collector.await_output(wanted);
    }
    let text = collector.output();
    assert!(text.contains("deployment.environment.name: Str(test)"), "{text}");
    for line in &lines {
        assert!(text.contains(line.get("span_id").as_str().expect("text")), "{text}");
    }
}

fn forks() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    spans_and_lines(1);
    assert!(telemetry.flush(LONG));
    match fork::fork().expect("forks") {
        fork::Fork::Child => {
            spans_and_lines(2);
            let undelivered = telemetry.shutdown(LONG).undelivered;
            let is_told = (undelivered.spans, undelivered.logs) == (2, 2);
            tracing::info!(is_told, "child");
            assert!(telemetry.flush(Duration::ZERO) || is_told);
            std::process::abort();
        }
        fork::Fork::Parent(child) => {
            let _ = fork::waitpid(child);
            spans_and_lines(1);
            assert!(telemetry.shutdown(LONG).is_complete);
        }
    }
}

#[test]
fn a_forked_child_says_that_nothing_is_delivered() {
    if is_program() {
        return forks();
    }
    let collector = StandIn::start(|_, _| OK);
    let output = program_of("otlp", "a_forked_child_says_that_nothing_is_delivered")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let child = lines.iter().find(|line| line.get("message") == "child").expect("the child's line");
    assert_eq!(child.get("is_told"), true);
}

fn exits() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    spans_and_lines(3);
    drop(telemetry);
}

#[test]
fn a_program_that_forgets_the_shutdown_delivers_at_its_end() {
    if is_program() {
        return exits();
    }
    let collector = StandIn::start(|_, _| OK);
    let output = program_of("otlp", "a_program_that_forgets_the_shutdown_delivers_at_its_end")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(collector.requests("/v1/logs").len(), 1);
    assert_eq!(collector.requests("/v1/traces").len(), 1);
}

fn outlives_an_outage() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    spans_and_lines(1);
    telemetry.flush(LONG);
    spans_and_lines(1);
    let _ = telemetry.shutdown(LONG);
}

#[test]
fn an_outage_is_said_once_and_so_is_its_end() {
    if is_program() {
        return outlives_an_outage();
    }
    let collector = StandIn::start(|number, path| match (number, path) {
        (0 | 1, "/v1/logs") => Reply::Status(503, "Retry-After: 0\r\n", b""),
        _ => OK,
    });
    let output = program_of("otlp", "an_outage_is_said_once_and_so_is_its_end")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output()
        .expect("runs");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let of = |message: &str| lines.iter().filter(|line| line.get("message") == message).count();
    assert_eq!(of("collector does not take what is sent"), 1, "{output:?}");
    assert_eq!(of("collector takes what is sent again"), 1, "{output:?}");
    // It is a line, and no record: or a collector that is away would keep itself busy.
    let sent: Vec<u8> = collector.requests("/v1/logs").into_iter().flat_map(|request| request.body).collect();
    assert!(!String::from_utf8_lossy(&sent).contains("collector"));
}
