//! The admin listener over real sockets: what it answers, whom it cuts off, and what a real Prometheus makes of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ops_telemetry::admin::{Admin, Listen, Listener};
use ops_telemetry::metrics::Registry;

fn start(admin: &Admin, change: impl FnOnce(&mut Listen)) -> Listener {
    let mut listen = Listen { addr: (Ipv4Addr::LOCALHOST, 0).into(), ..Listen::default() };
    change(&mut listen);
    Listener::start(admin, listen).expect("a free port")
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a time");
    stream
}

/// Sends `request` and reads until the other side closes.
fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = connect(addr);
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn get(addr: SocketAddr, path: &str, headers: &str) -> (String, String) {
    let answer = ask(addr, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[test]
fn operators_get_answers() {
    let admin = Admin::new(&crate::metrics::registry());
    let listener = start(&admin, |_| {});
    let addr = listener.local_addr();
    assert!(addr.ip().is_loopback());
    let (head, body) = get(addr, "/metrics", "");
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4")
            && body.contains("orders_accepted_total 5\n")
    );
    let (head, body) = get(addr, "/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n");
    assert!(head.contains("application/openmetrics-text") && body.ends_with("# EOF\n"));
    assert!(head.contains(&format!("Content-Length: {}", body.len())));
    assert!(get(addr, "/live", "").0.starts_with("HTTP/1.1 200 "));
    assert!(get(addr, "/ready", "").0.starts_with("HTTP/1.1 503 "));
    admin.check("database").pass();
    let (head, body) = get(addr, "/ready", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("\"database\":{\"status\":\"pass\"}"));
    let answer = ask(addr, "HEAD /live HTTP/1.1\r\n\r\n");
    assert!(answer.contains("Content-Length: 5") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(ask(addr, "POST /live HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
    assert!(ask(addr, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_listener_is_gone_when_it_is_dropped_and_a_taken_port_is_an_error() {
    let admin = Admin::new(&Registry::new());
    let listener = start(&admin, |_| {});
    let addr = listener.local_addr();
    let taken = Listener::start(&admin, Listen { addr, ..Listen::default() }).expect_err("taken");
    assert_eq!(taken.kind(), ops_telemetry::ErrorKind::CannotListen);
    drop(listener);
    // A process that another test is just starting has all our sockets for a moment.
    let end = Instant::now() + Duration::from_secs(30);
    while TcpListener::bind(addr).is_err() {
        assert!(Instant::now() < end, "the port is free again");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Also where it listens on all addresses.
    drop(start(&admin, |listen| listen.addr = (Ipv4Addr::UNSPECIFIED, 0).into()));
}

#[test]
fn who_sends_slowly_is_cut_off_and_holds_nobody_up() {
    let admin = Admin::new(&Registry::new());
    let listener = start(&admin, |listen| {
        listen.deadline = Duration::from_millis(300);
        listen.max_connections = 4;
    });
    let addr = listener.local_addr();
    // A byte now and then: each keeps a timeout for single reads from ever ending.
    let slow = std::thread::spawn(move || {
        let mut stream = connect(addr);
        for byte in std::iter::repeat(b'x') {
            if stream.write_all(&[byte]).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    // Nothing at all.
    let mut silent = connect(addr);
    assert!(get(addr, "/live", "").0.starts_with("HTTP/1.1 200 "));
    let mut end = [0; 1];
    let closed = silent.read(&mut end);
    assert!(matches!(closed, Ok(0)) || closed.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
    slow.join().expect("it was cut off");
}

#[test]
fn too_many_connections_are_told_so_and_places_come_back() {
    let admin = Admin::new(&Registry::new());
    let listener = start(&admin, |listen| {
        listen.deadline = Duration::from_secs(30);
        listen.max_connections = 2;
    });
    let addr = listener.local_addr();
    let held: Vec<TcpStream> = (0..2).map(|_| connect(addr)).collect();
    // Read without a request: the answer comes at once. A place may not be taken yet, so the first may get none.
    let mut refused = String::new();
    connect(addr).read_to_string(&mut refused).expect("an answer");
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop(held);
    let end = Instant::now() + Duration::from_secs(30);
    let mut stream = loop {
        let mut stream = connect(addr);
        // A 503 that was not read yet resets the connection.
        let sent = stream.write_all(b"GET /live HTTP/1.1\r\n\r\n");
        let mut answer = String::new();
        if sent.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 200 ") {
            break stream;
        }
        assert!(Instant::now() < end, "no place came back");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(stream.read(&mut [0]).expect("closed"), 0);
}

/// Ends a server when the test ends, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_prometheus_scrapes_the_page_and_its_exemplars() {
    let admin = Admin::new(&crate::metrics::registry());
    let listener = start(&admin, |_| {});
    let home = std::env::temp_dir().join(format!("ops-telemetry-prometheus-{}", std::process::id()));
    std::fs::create_dir_all(&home).expect("a folder");
    let port =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr()).expect("a port");
    let config = format!(
        "scrape_configs:\n- job_name: ours\n  scrape_interval: 1s\n  static_configs:\n  - targets: ['{}']\n",
        listener.local_addr()
    );
    std::fs::write(home.join("prometheus.yml"), config).expect("written");
    let started = Command::new("prometheus")
        .arg(format!("--config.file={}", home.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", home.join("data").display()))
        .arg(format!("--web.listen-address={port}"))
        .args(["--enable-feature=exemplar-storage", "--log.level=warn"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _server = match started {
        Ok(child) => Server(child),
        Err(error) => {
            ops_testkit::skip!("prometheus does not start: {error}");
        }
    };
    let query = |what: &str| -> Option<String> {
        let mut stream = TcpStream::connect(port).ok()?;
        let request = format!("GET /api/v1/{what} HTTP/1.0\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let find = |what: &str, wanted: &str| {
        let end = Instant::now() + Duration::from_secs(60);
        let mut answer = None;
        while Instant::now() < end {
            answer = query(what);
            if answer.as_ref().is_some_and(|answer| answer.contains(wanted)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what} did not give {wanted} but {answer:?}");
    };
    find("query?query=orders_accepted_total", ",\"5\"]");
    find("query?query=settlement_duration_seconds_count", ",\"3\"]");
    find("query?query=up", ",\"1\"]");
    let exemplars = "query_exemplars?query=orders_accepted_total&start=0&end=9999999999";
    find(exemplars, "\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"");
    find("metadata?metric=settlement_duration_seconds", "\"unit\":\"seconds\"");
    drop(_server);
    std::fs::remove_dir_all(&home).expect("removed");
}
