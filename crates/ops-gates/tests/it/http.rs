//! `kind = "http"` against a small server of our own (a stand-in), and against the TLS server of `openssl`.

use crate::support::run_gate;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A stand-in for an HTTP service: answers each path in its own way, for as long as the test process lives.
fn server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    format!("http://{address}")
}

fn answer(mut stream: TcpStream) -> Option<()> {
    let mut request = Vec::new();
    for line in BufReader::new(stream.try_clone().ok()?).lines() {
        match line.ok()? {
            line if line.is_empty() => break,
            line => request.push(line),
        }
    }
    let path = request.first()?.split(' ').nth(1)?.to_owned();
    let ok = |headers: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let response = match path.as_str() {
        "/ok" => ok("content-type: application/json\r\n", "{\"database\":\"ok\"}"),
        "/deep" => ok("", "{\"queue\":{\"length\":7,\"names\":[\"a\",\"b\"]},\"ready\":true}"),
        "/failing" => ok("", "{\"database\":\"failing\"}"),
        "/echo" => ok("", &request.join("\n").to_lowercase()),
        "/moved" => {
            "HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        }
        "/loop" => "HTTP/1.1 302 Found\r\nlocation: /loop\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_owned(),
        "/broken" => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\nconnection: close\r\n\r\nshort".to_owned(),
        "/rubbish" => "this is not HTTP\r\n\r\n".to_owned(),
        "/endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").ok()?;
            loop {
                stream.write_all(&[b'x'; 65536]).ok()?;
            }
        }
        "/silent" => {
            std::thread::sleep(Duration::from_secs(60));
            String::new()
        }
        _ => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    };
    stream.write_all(response.as_bytes()).ok()
}

#[tokio::test]
async fn status_headers_and_body_decide() {
    let server = server();
    for (path, keys, outcome, code) in [
        ("/ok", "", "PASS", "ok"),
        ("/ok", "body_contains = '\"database\":\"ok\"'", "PASS", "ok"),
        // Grafana answers 200 while its database fails.
        ("/failing", "body_contains = '\"database\":\"ok\"'", "FAIL", "body"),
        ("/ok", "expect_headers = { content-type = \"json\" }", "PASS", "ok"),
        ("/ok", "expect_headers = { content-type = \"html\" }", "FAIL", "header"),
        ("/failing", "expect_headers = { content-type = \"json\" }", "FAIL", "header"),
        ("/ok", "json = { \"/database\" = \"ok\" }", "PASS", "ok"),
        ("/failing", "json = { \"/database\" = \"ok\" }", "FAIL", "json"),
        ("/deep", "json = { \"/queue/names/1\" = \"b\", \"/ready\" = \"true\" }", "PASS", "ok"),
        ("/deep", "json = { \"/queue/names/2\" = \"c\" }", "FAIL", "json-missing"),
        ("/echo", "json = { \"/database\" = \"ok\" }", "ERROR", "not-json"),
        ("/deep", "json_limits = { \"/queue/length\" = { max = 7, min = 7 } }", "PASS", "ok"),
        ("/deep", "json_limits = { \"/queue/length\" = { max = 6 } }", "FAIL", "json-limit"),
        ("/deep", "json_limits = { \"/queue/length\" = { min = 8 } }", "FAIL", "json-limit"),
        ("/deep", "json_limits = { \"/ready\" = { max = 6 } }", "ERROR", "json-number"),
        ("/ok", "max_body_bytes = 17", "PASS", "ok"),
        ("/ok", "max_body_bytes = 16", "FAIL", "body-too-long"),
        ("/endless", "json = { \"/a\" = \"b\" }", "ERROR", "body-too-long"),
        ("/ok", "every_address = true", "PASS", "ok"),
        ("/failing", "every_address = true\njson = { \"/database\" = \"ok\" }", "FAIL", "json"),
        ("/ok", "max_seconds = 60", "PASS", "ok"),
        ("/ok", "max_seconds = 0.000001", "FAIL", "too-slow"),
        ("/echo", "method = \"POST\"\nbody = \"{}\"\nbody_contains = \"post /echo\"", "PASS", "ok"),
        ("/absent", "status = [200, 404]", "PASS", "ok"),
        ("/absent", "status = [200, 204]", "FAIL", "status"),
        ("/absent", "", "FAIL", "status"),
        ("/absent", "status = 404", "PASS", "ok"),
        ("/moved", "", "FAIL", "status"),
        ("/moved", "status = 302", "PASS", "ok"),
        ("/moved", "redirects = 1", "PASS", "ok"),
        ("/loop", "redirects = 3", "ERROR", "redirects"),
        ("/echo", "headers = { x-key = \"v 1\" }\nbody_contains = \"x-key: v 1\"", "PASS", "ok"),
        ("/broken", "body_contains = \"long\"", "ERROR", "transport"),
        ("/rubbish", "", "ERROR", "transport"),
        ("/endless", "body_contains = \"y\"", "FAIL", "body"),
        ("/silent", "timeout = \"300ms\"", "ERROR", "timeout"),
    ] {
        run_gate(&format!("kind = \"http\"\nurl = \"{server}{path}\"\n{keys}")).await.expect(outcome, code);
    }
}

#[tokio::test]
async fn a_refused_connection_is_an_error_that_does_not_show_the_address_as_resolved() {
    // Bound and dropped at once: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let toml = format!(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"http\"\nurl = \"http://user:${{env:API_TOKEN}}@127.0.0.1:{port}/?k=${{env:API_TOKEN}}\""
    );
    let plan =
        ops_gates::Plan::parse_with(&toml, "x", &|_| Some("hunter2".to_owned())).expect("a sound plan");
    let ran =
        crate::support::run_with(&plan, crate::support::options(), ops_gates::CancellationToken::new()).await;
    let gate = ran.expect("ERROR", "connect");
    assert!(gate.reason.as_deref().is_some_and(|reason| reason.contains("${env:API_TOKEN}")), "{gate:?}");
    assert!(!ran.read("verdict.json").contains("hunter2"));
}

/// The TLS server of the `openssl` command, ended with the test.
struct TlsServer(Child);

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn https_is_verified_with_the_given_authority() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let openssl = |arguments: &str| {
        let made = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&directory)
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    std::fs::write(path("leaf.ext"), "subjectAltName=DNS:localhost\n").expect("a file");
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem");
    openssl("req -new -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out leaf.csr");
    openssl(
        "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile leaf.ext -out cert.pem",
    );
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let mut child = Command::new("openssl")
        .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-www"])
        .args(["-cert", &path("cert.pem"), "-key", &path("key.pem")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl");
    let mut out = child.stdout.take().expect("stdout is piped");
    let _server = TlsServer(child);
    // It says ACCEPT once it listens.
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("ACCEPT") {
        let mut byte = [0];
        assert_eq!(out.read(&mut byte).expect("stdout"), 1, "openssl ended");
        seen.push(byte[0]);
    }
    let url = format!("kind = \"http\"\nurl = \"https://localhost:{port}/\"");
    run_gate(&format!("{url}\nca_file = \"{}\"", path("ca.pem"))).await.expect("PASS", "ok");
    run_gate(&url).await.expect("ERROR", "connect");
    run_gate(&format!("{url}\nca_file = \"{}\"", path("no.pem"))).await.expect("ERROR", "ca-file");
    let other = url.replace("localhost", "127.0.0.1");
    run_gate(&format!("{other}\nca_file = \"{}\"", path("ca.pem"))).await.expect("ERROR", "connect");
}
