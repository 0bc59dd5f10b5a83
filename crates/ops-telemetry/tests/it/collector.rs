//! Collectors for tests: a stand-in of our own that answers as it is told, and two real ones that other people wrote.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the stand-in does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply {
    /// Status, headers and body.
    Status(u16, &'static str, &'static [u8]),
    /// Reads it and never answers.
    Stall,
    /// Reads it and closes the connection.
    Close,
}

pub(crate) const OK: Reply = Reply::Status(200, "", b"");

#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A collector that is none: it keeps what it is sent and answers by its script.
pub(crate) struct StandIn {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl StandIn {
    /// `script` is asked with the number of the request on its path, from zero, and the path.
    pub(crate) fn start(script: impl Fn(usize, &str) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (kept, script) = (Arc::clone(&requests), Arc::new(script));
        // Ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, script) = (Arc::clone(&kept), Arc::clone(&script));
                std::thread::spawn(move || serve(stream, &kept, &*script));
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    #[cfg(all(feature = "otlp-grpc", feature = "otlp-tls"))]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests on a path so far.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let requests = self.requests.lock().expect("no panic");
        let start = format!("POST {path} ");
        requests.iter().filter(|request| request.head.starts_with(&start)).cloned().collect()
    }
}

fn serve(stream: TcpStream, kept: &Mutex<Vec<Request>>, script: &(impl Fn(usize, &str) -> Reply + ?Sized)) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).expect("a length");
        let mut body = vec![0; len.parse().expect("a number")];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let path = head.split(' ').nth(1).expect("a path").to_owned();
        let number = {
            let mut kept = kept.lock().expect("no panic");
            kept.push(Request { head, body });
            kept.iter().filter(|request| request.head.split(' ').nth(1) == Some(&path)).count() - 1
        };
        match script(number, &path) {
            Reply::Status(status, headers, body) => {
                let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                let answer = [head.as_bytes(), body].concat();
                if reader.get_mut().write_all(&answer).is_err() {
                    return;
                }
            }
            Reply::Stall => loop {
                std::thread::park();
            },
            Reply::Close => return,
        }
    }
}

/// A real collector in a process of its own. Its output is in a file.
pub(crate) struct Real {
    process: Child,
    port: u16,
    /// Where it takes gRPC, if it does.
    #[cfg_attr(not(feature = "otlp-grpc"), expect(dead_code, reason = "nobody speaks it"))]
    grpc: Option<u16>,
    home: PathBuf,
}

impl Real {
    /// Starts oteltap, which prints each record that arrives as a line of JSON. `None` where it is not installed.
    pub(crate) fn oteltap() -> Option<Self> {
        let package = ops_testkit::tools_dir().join("oteltap");
        package.join("oteltap").is_dir().then_some(())?;
        let port = free_port();
        let mut command = Command::new("python3");
        command.args(["-m", "oteltap", "--port", &port.to_string()]).env("PYTHONPATH", package);
        Some(Self::start(command, port, None))
    }

    /// Starts rotel, which prints each record that arrives for people. `None` where it is not installed.
    pub(crate) fn rotel() -> Option<Self> {
        let agent = ops_testkit::tools_dir().join("rotel/rotel/rotel-agent");
        agent.is_file().then_some(())?;
        let (port, other) = (free_port(), free_port());
        let mut command = Command::new(agent);
        command.args(["start", "--exporter", "blackhole", "--debug-log-verbosity", "detailed"]);
        for records in ["traces", "logs", "metrics"] {
            command.args(["--debug-log", records]);
        }
        command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{port}")]);
        command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{other}")]);
        Some(Self::start(command, port, Some(other)))
    }

    pub(crate) fn start(mut command: Command, port: u16, grpc: Option<u16>) -> Self {
        let home =
            std::env::temp_dir().join(format!("ops-telemetry-collector-{}-{port}", std::process::id()));
        fs::create_dir_all(&home).expect("a folder");
        let output = fs::File::create(home.join("output")).expect("a file");
        command.stdin(Stdio::null()).stdout(output.try_clone().expect("the same file")).stderr(output);
        let process = command.spawn().expect("starts");
        let mut collector = Self { process, port, grpc, home };
        let end = Instant::now() + Duration::from_secs(60);
        let is_there = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        while !is_there(port) || grpc.is_some_and(|port| !is_there(port)) {
            let gone = collector.process.try_wait().expect("is a child");
            assert!(gone.is_none() && Instant::now() < end, "no collector: {gone:?} {}", collector.output());
            std::thread::sleep(Duration::from_millis(20));
        }
        collector
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    #[cfg(feature = "otlp-grpc")]
    pub(crate) fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc_address())
    }

    #[cfg(feature = "otlp-grpc")]
    pub(crate) fn grpc_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.grpc.expect("it takes gRPC")).into()
    }

    #[cfg(all(feature = "otlp-grpc", feature = "otlp-tls"))]
    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub(crate) fn output(&self) -> String {
        fs::read_to_string(self.home.join("output")).expect("a file")
    }

    /// Waits until the output has `wanted`, for it is printed some time after it was taken.
    pub(crate) fn await_output(&self, wanted: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let output = self.output();
            if output.contains(wanted) {
                return output;
            }
            assert!(Instant::now() < end, "{wanted} never came: {output}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[cfg(any(feature = "http", feature = "otlp-grpc"))]
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("is a child");
        self.process.wait().expect("ends");
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.home);
    }
}

pub(crate) fn free_port() -> u16 {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
    socket.expect("a port").port()
}
