//! A collector behind TLS. The other end is OpenSSL, by Python's `ssl`: it decrypts and passes everything on to a
//! collector of these tests.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ops_telemetry::{ErrorKind, Otlp, ShutdownReport};

use crate::collector::{OK, Real, StandIn};
use crate::grpc;
use crate::otlp::{LONG, SHORT, run, spans_and_lines, to_collector};

/// `front.py CERTIFICATE KEY PORT PROTOCOL`: listens, prints its port, and joins each connection that has agreed on the
/// protocol with one to the port.
const FRONT: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.set_alpn_protocols([sys.argv[4]])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def serve(plain):
    try:
        front = context.wrap_socket(plain, server_side=True)
        if front.selected_alpn_protocol() != sys.argv[4]:
            return front.close()
        back = socket.create_connection(("127.0.0.1", int(sys.argv[3])))
        threading.Thread(target=copy, args=(back, front), daemon=True).start()
        copy(front, back)
    except OSError:
        plain.close()

def copy(one, other):
    try:
        while piece := one.recv(1 << 16):
            other.sendall(piece)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass

while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

/// [`Otlp::to`] or [`Otlp::to_grpc`].
type Way = fn(&str) -> Otlp;

/// Certificates of one test, and the processes that use them.
struct Tls {
    home: tempfile::TempDir,
    fronts: Vec<Child>,
}

impl Tls {
    /// Makes an authority, another one, and a certificate of the first for `localhost`. `None` where OpenSSL or Python is
    /// not installed.
    fn new() -> Option<Self> {
        for (program, word) in [("openssl", "version"), ("python3", "--version")] {
            Command::new(program).arg(word).stdout(Stdio::null()).status().ok()?;
        }
        let tls = Self { home: tempfile::tempdir().expect("a folder"), fronts: Vec::new() };
        let openssl = |arguments: &str| {
            let made = Command::new("openssl").args(arguments.split(' ')).current_dir(&tls.home).output();
            let made = made.expect("openssl");
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        };
        let new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for authority in ["ca", "other"] {
            openssl(&format!(
                "req -x509 {new} -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.pem"
            ));
        }
        std::fs::write(tls.path("leaf.ext"), "subjectAltName=DNS:localhost\n").expect("a file");
        openssl(&format!("req -new {new} -subj /CN=localhost -keyout key.pem -out leaf.csr"));
        openssl(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out cert.pem",
        );
        Some(tls)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Puts TLS before a collector and returns the port.
    fn before(&mut self, collector: SocketAddr, protocol: &str) -> u16 {
        let mut front = Command::new("python3")
            .args(["-c", FRONT])
            .args([self.path("cert.pem"), self.path("key.pem")])
            .args([&collector.port().to_string(), protocol])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut line = String::new();
        let out = front.stdout.take().expect("stdout is piped");
        BufReader::new(out).read_line(&mut line).expect("stdout");
        self.fronts.push(front);
        line.trim().parse().expect("a port")
    }

    /// Sends five spans and lines to a port of this machine by a name, trusting the authority of a file.
    fn send(&self, to: Way, host: &str, port: u16, authority: &str) -> ShutdownReport {
        let mut options = to_collector(to(&format!("https://{host}:{port}")));
        let otlp = options.otlp.as_mut().expect("set");
        for collector in [&mut otlp.spans, &mut otlp.logs, &mut otlp.metrics].into_iter().flatten() {
            collector.certificates = Some(self.path(authority));
        }
        run(options, LONG, |telemetry| {
            spans_and_lines(5);
            // What cannot be right later is not worth a minute.
            telemetry.flush(SHORT);
        })
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        for front in &mut self.fronts {
            let _ = front.kill();
            let _ = front.wait();
        }
    }
}

#[test]
fn a_collector_behind_tls_is_verified_and_takes_everything() {
    let Some(mut tls) = Tls::new() else { ops_testkit::skip!("openssl or python3 is not installed") };
    let http = StandIn::start(|_, _| OK);
    let by_grpc = grpc::StandIn::start(|_, _| grpc::OK);
    let count_http = || http.requests("/v1/logs").len();
    let count_grpc = || by_grpc.calls(grpc::LOGS).len();
    let ways: [(Way, SocketAddr, &str, &dyn Fn() -> usize); 2] = [
        (Otlp::to, http.address(), "http/1.1", &count_http),
        (Otlp::to_grpc, by_grpc.address(), "h2", &count_grpc),
    ];
    for (to, collector, protocol, count) in ways {
        let port = tls.before(collector, protocol);
        // Signed by another authority, and another name than the certificate's: not a byte leaves.
        for (host, authority) in [("localhost", "other.pem"), ("127.0.0.1", "ca.pem")] {
            let report = tls.send(to, host, port, authority);
            assert_eq!(
                (report.undelivered.spans, report.undelivered.logs),
                (5, 5),
                "{protocol} {host} {report:?}"
            );
        }
        assert_eq!(count(), 0, "{protocol}");
        let report = tls.send(to, "localhost", port, "ca.pem");
        assert!(report.is_complete, "{protocol} {report:?}");
        assert!(count() > 0, "{protocol}");
    }
}

#[test]
fn a_real_collector_behind_tls_takes_both() {
    let Some(collector) = Real::rotel() else { ops_testkit::skip!("rotel is not installed") };
    let Some(mut tls) = Tls::new() else { ops_testkit::skip!("openssl or python3 is not installed") };
    let ways: [(Way, SocketAddr, &str); 2] =
        [(Otlp::to, collector.address(), "http/1.1"), (Otlp::to_grpc, collector.grpc_address(), "h2")];
    for (to, address, protocol) in ways {
        let port = tls.before(address, protocol);
        let report = tls.send(to, "localhost", port, "ca.pem");
        assert!(report.is_complete, "{protocol} {report:?}");
    }
}

#[test]
fn certificates_that_cannot_be_read_are_refused_at_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("empty.pem"), "").expect("a file");
    for name in ["missing.pem", "empty.pem"] {
        for to in [Otlp::to, Otlp::to_grpc] {
            let mut options = to_collector(to("https://localhost:1"));
            let spans = options.otlp.as_mut().and_then(|otlp| otlp.spans.as_mut()).expect("set");
            spans.certificates = Some(folder.path().join(name));
            let error = ops_telemetry::testing::scoped(options).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::InvalidCollector, "{error}");
        }
    }
}
