//! `kind = "latency"` against a small server of our own (a stand-in) and real programs. No limit is near any real time.

use crate::support::run_gate;
use ops_gates::Plan;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// A stand-in that answers `/ok`, and `/every/N` with a 500 each Nth time; for as long as the test process lives.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut count = 0;
        for stream in listener.incoming().flatten() {
            count += 1;
            answer(stream, count);
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream, count: u32) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut path, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if path.is_empty() {
            path = line.split(' ').nth(1)?.to_owned();
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let bad = path
        .strip_prefix("/every/")
        .and_then(|n| n.parse::<u32>().ok())
        .is_some_and(|n| count.is_multiple_of(n));
    let status = if bad { "500 No" } else { "200 OK" };
    let head =
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len() + 3);
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(b"ok:").ok()?;
    stream.write_all(&body).ok()
}

#[tokio::test]
async fn the_bound_of_the_percentile_decides() {
    let url = server();
    for (path, keys, outcome, code) in [
        ("/ok", "max_seconds = 60", "PASS", "ok"),
        ("/ok", "max_seconds = 0.0000001", "FAIL", "too-slow"),
        (
            "/ok",
            "max_seconds = 60\nmethod = \"POST\"\nbody = '{\"tool\":1}'\nbody_contains = '{\"tool\":1}'",
            "PASS",
            "ok",
        ),
        ("/ok", "max_seconds = 60\nbody_contains = \"absent\"", "ERROR", "no-success"),
        ("/ok", "max_seconds = 60\nstatus = 201", "ERROR", "no-success"),
        // One of 59 failed, and took for ever: its time may be that of the percentile.
        ("/every/40", "max_seconds = 60", "INCONCLUSIVE", "not-shown"),
        ("/every/40", "max_seconds = 60\nsamples = 124", "INCONCLUSIVE", "not-shown"),
        ("/every/70", "max_seconds = 60\nsamples = 124", "PASS", "ok"),
        // A fifth of all: faster is not better.
        ("/every/5", "max_seconds = 60", "FAIL", "too-slow"),
        ("/every/5", "max_seconds = 60\npercentile = 50\nsamples = 100", "PASS", "ok"),
        (
            "/every/5",
            "max_seconds = 60\npercentile = 50\nsamples = 100\nmax_error_percent = 5",
            "FAIL",
            "errors",
        ),
        ("/ok", "max_seconds = 60\nmax_error_percent = 5", "PASS", "ok"),
        ("/ok", "max_seconds = 60\nmax_error_percent = 0.1", "INCONCLUSIVE", "errors-not-shown"),
    ] {
        let ran = run_gate(&format!("kind = \"latency\"\nurl = \"{url}{path}\"\n{keys}")).await;
        println!("{path} {keys}: {:?}", ran.record.gates[0].reason);
        ran.expect(outcome, code);
    }
}

#[tokio::test]
async fn a_refused_port_is_no_fast_service() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let ran =
        run_gate(&format!("kind = \"latency\"\nurl = \"http://127.0.0.1:{port}/\"\nmax_seconds = 60")).await;
    let gate = ran.expect("ERROR", "no-success");
    assert_eq!(gate.outcome, Some(ops_gates::Outcome::Error { error: ops_gates::Fault::Connect }));
    assert!(gate.measurements.is_empty(), "{gate:?}");
}

#[tokio::test]
async fn programs_are_timed_and_their_failures_count() {
    for (keys, outcome, code) in [
        ("run = [\"true\"]\nmax_seconds = 60\npercentile = 50", "PASS", "ok"),
        ("run = [\"true\"]\nmax_seconds = 0.0000001\npercentile = 50", "FAIL", "too-slow"),
        ("run = [\"false\"]\nmax_seconds = 60", "ERROR", "no-success"),
        (
            "run = [\"sleep\", \"60\"]\nmax_seconds = 60\npercentile = 50\nsample_timeout = \"20ms\"",
            "ERROR",
            "no-success",
        ),
        ("run = [\"no-such-program-here\"]\nmax_seconds = 60", "ERROR", "not-started"),
    ] {
        run_gate(&format!("kind = \"latency\"\n{keys}")).await.expect(outcome, code);
    }
    let ran = run_gate("kind = \"latency\"\nrun = [\"true\"]\nmax_seconds = 60\npercentile = 50").await;
    let gate = ran.expect("PASS", "ok");
    assert!((gate.measurements["samples"] - 5.0).abs() < 0.1, "{gate:?}");
}

#[test]
fn rows_of_the_requirements_can_be_written_and_samples_that_show_nothing_not() {
    let gate = |keys: &str, value: Option<&str>| {
        let plan =
            format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"latency\"\nurl = \"http://mcp/\"\n{keys}");
        let variable = |_: &str| value.map(str::to_owned);
        Plan::parse_with(&plan, "x.toml", &variable)
            .map(|_| ())
            .map_err(|error| error.problems()[0].message.clone())
    };
    for (name, seconds) in [
        ("MCP_DISCOVERY_LATENCY_SEC", 1.5),
        ("MCP_CALCULATOR_LATENCY_P95_SEC", 1.2),
        ("MCP_TOKEN_LATENCY_SMALL_SEC", 1.1),
        ("MCP_TOKEN_LATENCY_MEDIUM_SEC", 1.3),
        ("MCP_TOKEN_LATENCY_LARGE_SEC", 1.6),
        ("MCP_MODEL_LISTING_LATENCY_SEC", 1.2),
    ] {
        let keys = format!("max_seconds = {{ env = \"{name}\", default = {seconds}, ceiling = {seconds} }}");
        assert_eq!(gate(&keys, None), Ok(()));
        assert_eq!(gate(&keys, Some("1.0")), Ok(()));
        assert!(gate(&keys, Some("9")).is_err_and(|message| message.contains("ceiling")));
    }
    assert_eq!(gate("max_seconds = 0.5\nmax_error_percent = 0.1\nsamples = 2995", None), Ok(()));
    for (keys, part) in [
        ("max_seconds = 1\nsamples = 58", "at least 59"),
        ("max_seconds = 1\npercentile = 99\nsamples = 100", "at least 299"),
        ("max_seconds = 1\npercentile = 100", "between 0 and 100"),
        ("max_seconds = 1\nrun = [\"true\"]", "either `url` or `run`"),
        ("max_seconds = 1\nmethod = \"post\"", "capitals"),
        ("", "max_seconds"),
    ] {
        assert!(
            gate(keys, None).is_err_and(|message| message.contains(part)),
            "{keys}: {:?}",
            gate(keys, None)
        );
    }
}
