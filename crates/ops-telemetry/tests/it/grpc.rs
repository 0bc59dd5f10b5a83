//! Records on their way to a collector that takes gRPC: a stand-in on the server side of h2 that answers as it is told, and
//! a real one.

use std::collections::{BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use ops_telemetry::{ErrorKind, Otlp, Undelivered};

use crate::collector::Real;
use crate::otlp::{LONG, SHORT, run, spans_and_lines, to_collector, works};
use crate::parse;
use crate::process::{is_program, program_of, stderr_lines};

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// `Status { details: [Any of RetryInfo { retry_delay: 0 s }] }`
const RETRY_NOW: &str = "GjAKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5SZXRyeUluZm8SBAoCCAA=";

/// What the stand-in does with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// A message, then the trailers of a success.
    Taken(&'static [u8]),
    /// A code and details, without a message.
    Code(u16, &'static str),
    /// Reads it and never answers.
    Stall,
    /// Reads it and closes the connection.
    Close,
    /// Answers, and says that the connection is over.
    Last,
}

pub(crate) const OK: Reply = Reply::Taken(b"");

#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) headers: HeaderMap,
    pub(crate) message: Vec<u8>,
    /// Which connection it came on.
    connection: usize,
}

type Calls = Arc<Mutex<HashMap<String, Vec<Call>>>>;

/// A collector that is none: it keeps what it is sent and answers by its script.
pub(crate) struct StandIn {
    address: SocketAddr,
    calls: Calls,
}

impl StandIn {
    /// `script` is asked with the number of the call on its path, from zero, and the path.
    pub(crate) fn start(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let calls = Calls::default();
        let (kept, script) = (Arc::clone(&calls), Arc::new(script));
        // Each connection has a thread, which ends with the test process.
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                    runtime.expect("starts").block_on(async {
                        stream.set_nonblocking(true).expect("a socket");
                        let stream = tokio::net::TcpStream::from_std(stream).expect("a socket");
                        // A client that breaks off is no failure of the test.
                        let _ = serve(stream, number, &kept, &*script).await;
                    });
                });
            }
        });
        Self { address, calls }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[cfg(feature = "otlp-tls")]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn calls(&self, path: &str) -> Vec<Call> {
        self.calls.lock().expect("no panic").get(path).cloned().unwrap_or_default()
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    connection: usize,
    kept: &Mutex<HashMap<String, Vec<Call>>>,
    script: &(impl Fn(usize, &str) -> Reply + ?Sized),
) -> Result<(), h2::Error> {
    let mut requests = h2::server::handshake(stream).await?;
    while let Some(request) = requests.accept().await {
        let (request, answer) = request?;
        let path = request.uri().path().to_owned();
        let (head, mut body) = request.into_parts();
        // The body comes only while the connection is turned.
        let message = tokio::select! {
            biased;
            message = read(&mut body) => message?,
            _ = std::future::poll_fn(|cx| requests.poll_closed(cx)) => return Ok(()),
        };
        assert_eq!(message[0], 0, "not compressed");
        assert_eq!(message[1..5], u32::try_from(message.len() - 5).expect("short").to_be_bytes());
        let number = {
            let mut kept = kept.lock().expect("no panic");
            let calls = kept.entry(path.clone()).or_default();
            calls.push(Call { headers: head.headers, message: message[5..].to_vec(), connection });
            calls.len() - 1
        };
        match script(number, &path) {
            Reply::Taken(message) => taken(answer, message)?,
            Reply::Code(code, details) => refused(answer, code, details)?,
            Reply::Stall => std::future::pending().await,
            Reply::Close => return Ok(()),
            Reply::Last => {
                taken(answer, b"")?;
                requests.graceful_shutdown();
            }
        }
    }
    Ok(())
}

async fn read(body: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        message.extend_from_slice(&piece);
    }
    Ok(message)
}

fn taken(mut answer: SendResponse<Bytes>, message: &[u8]) -> Result<(), h2::Error> {
    let head = Response::builder().header("content-type", "application/grpc").body(()).expect("valid");
    let mut body = answer.send_response(head, false)?;
    let len = u32::try_from(message.len()).expect("short").to_be_bytes();
    body.send_data([&[0], &len[..], message].concat().into(), false)?;
    let trailers = [(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))];
    body.send_trailers(trailers.into_iter().collect())
}

fn refused(mut answer: SendResponse<Bytes>, code: u16, details: &str) -> Result<(), h2::Error> {
    let head = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", code)
        .header("grpc-message", "not%20now")
        .header("grpc-status-details-bin", details);
    answer.send_response(head.body(()).expect("valid"), true).map(drop)
}

fn to(url: &str) -> ops_telemetry::Options {
    to_collector(Otlp::to_grpc(url))
}

#[test]
fn everything_arrives_on_connections_that_are_kept() {
    let collector = StandIn::start(|_, _| OK);
    let mut options = to(&collector.url());
    let spans = options.otlp.as_mut().and_then(|otlp| otlp.spans.as_mut()).expect("set");
    spans.headers.push(("Authorization".into(), "Bearer x".into()));
    let report = run(options, LONG, |_| spans_and_lines(1000));
    assert!(report.is_complete, "{report:?}");
    for path in [TRACES, LOGS] {
        let calls = collector.calls(path);
        assert!((2..=1000).contains(&calls.len()), "{path} {}", calls.len());
        assert_eq!(calls.iter().map(|call| call.connection).collect::<BTreeSet<_>>().len(), 1);
        let header = |name: &str| calls[0].headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(header("content-type"), Some("application/grpc"));
        assert_eq!(header("te"), Some("trailers"));
        assert_eq!(header("authorization"), (path == TRACES).then_some("Bearer x"));
        let timeout = header("grpc-timeout").and_then(|text| text.strip_suffix('m')?.parse::<u64>().ok());
        assert!(timeout.is_some_and(|left| (1..=10_000).contains(&left)), "{timeout:?}");
    }
    assert!(!collector.calls(METRICS).is_empty());
}

#[test]
fn a_message_larger_than_any_window_arrives_whole() {
    let collector = StandIn::start(|_, _| OK);
    let report = run(to(&collector.url()), LONG, |_| {
        let text = "x".repeat(7_000);
        (0..200).for_each(|n| tracing::info!(n, text, "large"));
    });
    assert!(report.is_complete, "{report:?}");
    let longest = collector.calls(LOGS).iter().map(|call| call.message.len()).max();
    assert!(longest > Some(1 << 18), "{longest:?}");
}

#[test]
fn what_can_be_tried_again_is_and_arrives_once() {
    // UNAVAILABLE and RESOURCE_EXHAUSTED, both with a time to come again.
    for code in [14, 8] {
        let collector =
            StandIn::start(move |number, _| if number == 0 { Reply::Code(code, RETRY_NOW) } else { OK });
        let report = run(to(&collector.url()), LONG, |_| spans_and_lines(1));
        assert!(report.is_complete, "{code} {report:?}");
        let logs = collector.calls(LOGS);
        assert_eq!(logs.len(), 2, "{code}");
        assert_eq!(logs[0].message, logs[1].message);
    }
}

#[test]
fn a_final_answer_costs_the_records_and_is_counted() {
    // INVALID_ARGUMENT, UNIMPLEMENTED, UNAUTHENTICATED, and RESOURCE_EXHAUSTED from who does not say when.
    for code in [3, 12, 16, 8] {
        let collector = StandIn::start(move |_, _| Reply::Code(code, ""));
        let report = run(to(&collector.url()), LONG, |_| spans_and_lines(3));
        assert_eq!((report.undelivered.spans, report.undelivered.logs), (3, 3), "{code}");
        assert!(!report.is_complete && report.undelivered.points > 10, "{report:?}");
        assert_eq!(collector.calls(LOGS).len(), 1, "{code}");
    }
}

#[test]
fn a_part_that_is_rejected_is_counted() {
    // partial_success { rejected: 2 }
    let collector = StandIn::start(|_, _| Reply::Taken(&[0x0a, 0x02, 0x08, 0x02]));
    let report = run(to(&collector.url()), LONG, |_| spans_and_lines(3));
    assert_eq!(report.undelivered, Undelivered { spans: 2, logs: 2, points: 2 });
    assert_eq!(collector.calls(LOGS).len(), 1);
}

#[test]
fn a_connection_that_breaks_or_is_given_up_is_made_again() {
    for end in [Reply::Close, Reply::Last] {
        let collector = StandIn::start(move |number, _| if number == 0 { end } else { OK });
        let report = run(to(&collector.url()), LONG, |telemetry| {
            spans_and_lines(1);
            assert!(telemetry.flush(LONG));
            spans_and_lines(1);
        });
        assert_eq!((report.undelivered.spans, report.undelivered.logs), (0, 0), "{end:?} {report:?}");
        let calls = collector.calls(LOGS);
        let expected = if matches!(end, Reply::Close) { 3 } else { 2 };
        assert_eq!(calls.len(), expected, "{end:?}");
        assert_ne!(calls[0].connection, calls[1].connection, "{end:?}");
    }
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
fn what_is_no_collector_is_told_at_the_end() {
    let nobody = "http://127.0.0.1:1".to_owned();
    // Takes connections and never speaks; and one that speaks the HTTP of the last century.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let silent_url = format!("http://{}", silent.local_addr().expect("bound"));
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let other_url = format!("http://{}", other.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in other.incoming().flatten() {
            let _ = std::io::Write::write_all(
                &mut stream,
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
            );
        }
    });
    for url in [nobody, silent_url, other_url] {
        let report = run(to(&url), SHORT, |telemetry| {
            spans_and_lines(5);
            assert!(!telemetry.flush(SHORT));
        });
        assert_eq!((report.undelivered.spans, report.undelivered.logs), (5, 5), "{url}");
    }
}

#[test]
fn an_address_that_is_none_is_refused() {
    for url in ["localhost:4317", "http://user:pw@c", "http://c:4317/v1/traces", "http://a b"] {
        let refused = ops_telemetry::testing::scoped(to(url)).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::InvalidCollector);
        assert!(!refused.to_string().contains("pw"), "{refused}");
    }
    let mut options = to("http://127.0.0.1:1");
    let spans = options.otlp.as_mut().and_then(|otlp| otlp.spans.as_mut()).expect("set");
    spans.headers.push(("a".into(), "b\r\nX: y".into()));
    let refused = ops_telemetry::testing::scoped(options).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::InvalidCollector);
}

/// The exporters of others stop for ten seconds here, and lose everything.
#[test]
fn a_runtime_of_one_thread_is_no_obstacle() {
    let collector = StandIn::start(|_, _| OK);
    let options = to(&collector.url());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
    let report = runtime.block_on(async { run(options, LONG, |_| spans_and_lines(10)) });
    assert!(report.is_complete, "{report:?}");
    assert!(!collector.calls(LOGS).is_empty());
}

#[test]
fn a_real_collector_takes_it_and_its_death_is_counted() {
    if is_program() {
        return works();
    }
    let Some(mut collector) = Real::rotel() else { ops_testkit::skip!("rotel is not installed") };
    let output = program_of("grpc", "a_real_collector_takes_it_and_its_death_is_counted")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.grpc_url())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<_> = stderr_lines(&output).iter().map(|line| parse(line)).collect();
    let trace = lines[0].get("trace_id").as_str().expect("text");
    for wanted in ["GET /", "inside", "from the log crate", "orders_total", trace] {
        collector.await_output(wanted);
    }
    let text = collector.output();
    for line in &lines {
        assert!(text.contains(line.get("span_id").as_str().expect("text")), "{text}");
    }
    let mut options = to(&collector.grpc_url());
    options.otlp.as_mut().expect("set").metrics = None;
    let report = run(options, Duration::from_secs(2), |telemetry| {
        spans_and_lines(7);
        assert!(telemetry.flush(LONG));
        collector.kill();
        spans_and_lines(11);
    });
    assert_eq!(report.undelivered, Undelivered { spans: 11, logs: 11, points: 0 });
}
