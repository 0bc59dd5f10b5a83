//! One trace through three programs: a request over HTTP, a record of a Kafka broker, a child process. Each is a process of
//! its own that sends to a real collector, and what the collector has is compared with the lines, byte for byte.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ops_telemetry::http::inject;
use ops_telemetry::propagate::environment::CommandExt;
use ops_telemetry::propagate::{BaggagePolicy, Received, kafka};
use ops_telemetry::{RemoteParent, SpanExt, Telemetry};
use serde_json::Value;

use crate::broker::{self, Broker};
use crate::collector::Real;
use crate::process::{is_program, program_of};
use crate::{Line, parse};

const LONG: Duration = Duration::from_secs(60);
const ROLE: &str = "OPS_TEST_ROLE";
const SHOP: &str = "OPS_TEST_SHOP";
const BROKER: &str = "OPS_TEST_BROKER";
const TEST: &str = "OPS_TEST_PROGRAM";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is set"))
}

fn role(name: &str, test: &str) -> Command {
    let mut command = program_of("chain", test);
    // The client of the broker has much to say of itself.
    command.env(ROLE, name).env("OTEL_SERVICE_NAME", name).env("RUST_LOG", "info,rskafka=warn");
    command
}

/// What each process does.
fn play() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    match variable(ROLE).as_str() {
        "front" => front(),
        "shop" => shop(&telemetry),
        "worker" => worker(),
        "label" => {
            let _span = tracing::info_span!("print label").entered();
            tracing::info!("label printed");
        }
        other => panic!("{other} is no role"),
    }
    let report = telemetry.shutdown(LONG);
    assert!(report.is_complete, "{report:?}");
}

/// Sends a request.
fn front() {
    let _span = tracing::info_span!("order", otel.kind = "client").entered();
    tracing::info!("ordering");
    let answer = request(&variable(SHOP));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    tracing::info!("ordered");
}

fn request(shop: &str) -> String {
    let mut headers = http::HeaderMap::new();
    inject(&mut headers, &BaggagePolicy::default());
    let mut stream = TcpStream::connect(shop).expect("the shop is open");
    let mut request = String::from("POST /orders HTTP/1.1\r\nHost: shop\r\n");
    for (name, value) in &headers {
        request += &format!("{name}: {}\r\n", value.to_str().expect("text"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes()).expect("the shop listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the shop answers");
    answer
}

/// Answers one request after the other until standard input ends, and hands each on as a record.
#[expect(clippy::print_stdout, reason = "the test reads the address there")]
fn shop(telemetry: &Telemetry) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    println!("listening on {address}");
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        let _ = TcpStream::connect(address).and_then(|mut stream| stream.write_all(b"close\r\n"));
    });
    for stream in listener.incoming() {
        let mut reader = BufReader::new(stream.expect("a client"));
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("readable");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
            if lines[0] == "close" {
                return;
            }
        }
        let headers: Vec<(String, Vec<u8>)> = lines[1..]
            .iter()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .collect();
        let parent = Received::extract(&headers).admit(true).parent.expect("the front's trace");
        RemoteParent::from(parent)
            .parent_of(|| tracing::info_span!("POST /orders", otel.kind = "server"))
            .in_scope(|| {
                tracing::info!("order taken");
                produce();
            });
        reader
            .get_mut()
            .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .expect("the client listens");
    }
    let _ = telemetry;
}

/// Hands the order on.
fn produce() {
    let _span = tracing::info_span!("send order", otel.kind = "producer").entered();
    broker::produce(&variable(BROKER), kafka::headers(&BaggagePolicy::default()));
}

/// Takes the records, and starts a program for each.
fn worker() {
    for headers in broker::consume(&variable(BROKER)) {
        let sent = kafka::extract(headers).context.expect("the shop's trace");
        let span = RemoteParent::from(sent)
            .parent_of(|| tracing::info_span!("process order", otel.kind = "consumer"));
        span.add_link(sent);
        let _span = span.entered();
        tracing::info!("order shipped");
        let status = role("label", &variable(TEST)).trace().envs(collectors()).status();
        assert!(status.expect("starts").success());
    }
}

/// What the environment says of the collector, for a child whose environment was cleared of it.
fn collectors() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| name == "OTEL_EXPORTER_OTLP_ENDPOINT")
}

/// A shop that is open, with what it has logged.
struct Shop {
    process: Child,
    address: String,
}

impl Shop {
    fn open(mut command: Command) -> Self {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = pipes.spawn().expect("starts");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address =
            lines.find_map(|line| line.expect("readable").strip_prefix("listening on ").map(str::to_owned));
        // The harness in the process has more to say there.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address: address.expect("an address") }
    }

    fn close(mut self) -> Vec<Line> {
        drop(self.process.stdin.take());
        finish(self.process)
    }
}

/// Waits for a process and returns its lines.
fn finish(process: Child) -> Vec<Line> {
    let output = process.wait_with_output().expect("ends");
    assert!(output.status.success(), "{output:?}");
    crate::process::stderr_lines(&output).iter().map(|line| parse(line)).collect()
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts")
}

#[test]
fn one_trace_goes_through_http_kafka_and_a_child() {
    const NAME: &str = "one_trace_goes_through_http_kafka_and_a_child";
    if is_program() {
        return play();
    }
    let Some(collector) = Real::oteltap() else { ops_testkit::skip!("oteltap is not installed") };
    let Some(broker) = Broker::start() else { ops_testkit::skip!("the broker tansu is not installed") };
    let set = |name: &str| {
        let mut command = role(name, NAME);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).env(BROKER, &broker.address);
        command
    };
    let shop = Shop::open(set("shop"));
    let mut front = set("front");
    front.env(SHOP, &shop.address);
    let mut lines = finish(start(front));
    lines.extend(shop.close());
    // The worker's child writes to the same pipe.
    lines.extend(finish(start(set("worker"))));
    let messages: Vec<&str> = lines.iter().filter_map(|line| line.get("message").as_str()).collect();
    assert_eq!(messages, ["ordering", "ordered", "order taken", "order shipped", "label printed"]);

    // Whoever was started with a trace is a span of it too.
    let names = ["order", "POST /orders", "send order", "process order", "process", "print label"];
    for wanted in names.iter().chain(&messages) {
        collector.await_output(&format!("\"{wanted}\""));
    }
    let text = collector.output();
    let records: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let text_of = |record: &Value, key: &str| record[key].as_str().unwrap_or_default().to_owned();
    let spans: BTreeMap<String, &Value> = records
        .iter()
        .filter(|record| record.get("kind").is_some() && record["traceId"] == *lines[0].get("trace_id"))
        .map(|record| (text_of(record, "name"), record))
        .collect();
    assert_eq!(spans.len(), names.len(), "{spans:?}");
    let traces: BTreeSet<String> = lines
        .iter()
        .map(|line| line.get("trace_id").as_str().expect("text").to_owned())
        .chain(spans.values().map(|span| text_of(span, "traceId")))
        .collect();
    assert_eq!(traces.len(), 1, "{traces:?}");
    for pair in names.windows(2) {
        let (above, below) = (spans[pair[0]], spans[pair[1]]);
        assert_eq!(above["spanId"], below["parentSpanId"], "{pair:?}");
    }
    assert_eq!(spans["process order"]["links"][0]["spanId"], spans["send order"]["spanId"]);
    // Each line is a record with the same ids, and belongs to a span that is there.
    let known: BTreeSet<String> = spans.values().map(|span| text_of(span, "spanId")).collect();
    for line in &lines {
        let record = records.iter().find(|record| record["body"]["stringValue"] == *line.get("message"));
        let record = record.expect("every line is there");
        assert_eq!(&record["traceId"], line.get("trace_id"));
        assert_eq!(&record["spanId"], line.get("span_id"));
        assert!(known.contains(&text_of(record, "spanId")));
    }
}

const REQUESTS: u64 = 20;

/// A service whose collector goes away: each word on standard input is a request.
#[expect(clippy::print_stdout, reason = "the test reads the answers there")]
fn serves_without_a_collector() {
    let telemetry = ops_telemetry::init!().expect("the first one");
    println!("listening on nothing");
    for line in std::io::stdin().lines() {
        let word = line.expect("readable");
        tracing::info_span!("request").in_scope(|| tracing::info!("{word}"));
        if word == "flush" {
            assert!(telemetry.flush(LONG));
        }
        println!("answered {word}");
    }
    let report = telemetry.shutdown(LONG);
    println!("undelivered {} {} {}", report.undelivered.spans, report.undelivered.logs, report.is_complete);
}

#[test]
fn a_collector_that_dies_half_way_delays_no_request_and_what_it_missed_is_told() {
    const NAME: &str = "a_collector_that_dies_half_way_delays_no_request_and_what_it_missed_is_told";
    if is_program() {
        return serves_without_a_collector();
    }
    let Some(mut collector) = Real::rotel() else { ops_testkit::skip!("rotel is not installed") };
    let mut command = program_of("chain", NAME);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut stdin = process.stdin.take().expect("piped");
    let mut answers = BufReader::new(process.stdout.take().expect("piped")).lines();
    let mut ask = |word: &str| {
        writeln!(stdin, "{word}").expect("the service listens");
        let answer = format!("answered {word}");
        // A request that waited for the collector would never be answered.
        assert!(answers.any(|line| line.expect("readable") == answer));
    };
    ask("flush");
    collector.await_output("flush");
    collector.kill();
    (0..REQUESTS).for_each(|n| ask(&format!("request {n}")));
    drop(stdin);
    let told =
        answers.find_map(|line| line.expect("readable").strip_prefix("undelivered ").map(str::to_owned));
    assert_eq!(told.expect("a report"), format!("{REQUESTS} {REQUESTS} false"));
    let lines = finish(process);
    assert_eq!(lines.iter().filter(|line| line.find("records").is_none()).count() as u64, REQUESTS + 1);
}
