//! Notifications: only on a change of state, by rules, signed, retried, and never with an address in an error.

use ops_gates::history::PastRun;
use ops_gates::notify::{Change, Channel, Message, Rule, Situation, blocked_since, change, deliver, notify};
use ops_gates::{RunRecord, Verdict};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

async fn record(blocked_by: &[&str], minutes: i64) -> RunRecord {
    let ran = crate::support::run_gate("kind = \"command\"\nrun = [\"true\"]").await;
    let mut record = ran.record.clone();
    let start: jiff::Timestamp = "2026-11-21T06:00:00Z".parse().expect("a time");
    record.run_id = format!("run-{minutes}");
    record.started_at = start + jiff::SignedDuration::from_mins(minutes);
    record.finished_at = Some(record.started_at);
    record.blocked_by = blocked_by.iter().map(|id| (*id).to_owned()).collect();
    record.verdict = if blocked_by.is_empty() { Verdict::Passed } else { Verdict::Blocked };
    record.reason = "gate `db`: <!channel> & co\nanother line".to_owned();
    record
}

#[tokio::test]
async fn only_a_change_of_state_is_told() {
    let (good, bad, other) = (record(&[], 0).await, record(&["db"], 1).await, record(&["tls"], 2).await);
    for (before, now, expected) in [
        (None, &good, None),
        (None, &bad, Some(Change::Blocked)),
        (Some(&good), &good, None),
        (Some(&good), &bad, Some(Change::Blocked)),
        (Some(&bad), &bad, None),
        (Some(&bad), &other, Some(Change::OtherGates)),
        (Some(&bad), &good, Some(Change::Passed)),
    ] {
        assert_eq!(change(before, now), expected, "{:?}", before.map(|it| &it.blocked_by));
    }
}

fn rule(toml: &str) -> Rule {
    toml::from_str(toml).expect("a rule")
}

#[tokio::test]
async fn rules_choose_by_gate_plan_and_how_long_it_is_blocked() {
    let (good, bad) = (record(&[], 0).await, record(&["backup-fresh", "db"], 1).await);
    let to = "to = [\"pm\"]\n";
    for (keys, expected) in [
        ("", true),
        ("gates = [\"backup-*\"]", true),
        ("gates = [\"db\"]", true),
        ("gates = [\"d\"]", false),
        ("plans = [\"test\"]", true),
        ("plans = [\"other\"]", false),
        ("on = [\"passed\"]", false),
        ("on = [\"blocked\"]", true),
        ("blocked_for = \"1h\"", false),
    ] {
        let situation = Situation { now: &bad, before: Some(&good), blocked_since: Some(bad.started_at) };
        assert_eq!(rule(&format!("{to}{keys}")).applies(situation).is_some(), expected, "{keys}");
    }
    // A rule about a gate hears of its end as well.
    let situation = Situation { now: &good, before: Some(&bad), blocked_since: None };
    assert_eq!(rule(&format!("{to}gates = [\"db\"]")).applies(situation), Some(Change::Passed));
}

#[tokio::test]
async fn an_escalation_comes_once_when_its_time_is_over() {
    let rule = rule("to = [\"pm\"]\nblocked_for = \"1h\"");
    let mut runs: Vec<PastRun> = Vec::new();
    let mut told = Vec::new();
    for minutes in [0, 20, 40, 61, 80, 130] {
        let now = record(if minutes == 0 { &[] } else { &["db"] }, minutes).await;
        let earlier: Vec<&PastRun> = runs.iter().collect();
        let situation = Situation {
            now: &now,
            before: runs.last().map(|run| &run.record),
            blocked_since: blocked_since(&earlier, &now),
        };
        if rule.applies(situation).is_some() {
            told.push(minutes);
        }
        runs.push(PastRun { directory: std::path::PathBuf::new(), record: now });
    }
    // Blocked since minute 20: the first run at least an hour later is the one at 80.
    assert_eq!(told, [80]);
}

/// Answers each request with the next status, and keeps what was sent.
async fn server_stand_in(statuses: &'static [u16]) -> (u16, Arc<Mutex<Vec<(String, String)>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        for status in statuses {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                stream.read_line(&mut head).await.expect("a line");
            }
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.and_then(|length| length.parse().ok()).unwrap_or(0)];
            stream.read_exact(&mut body).await.expect("a body");
            kept.lock().expect("a lock").push((head, String::from_utf8(body).expect("UTF-8")));
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.expect("an answer");
        }
    });
    (port, seen)
}

fn channel(keys: &str) -> Channel {
    toml::from_str(&format!("name = \"ops\"\n{keys}")).expect("a channel")
}

async fn message() -> Message {
    let now = record(&["db"], 1).await;
    Message::new(Change::Blocked, Situation { now: &now, before: None, blocked_since: Some(now.started_at) })
}

#[tokio::test]
async fn slack_gets_a_text_that_calls_nobody() {
    let (port, seen) = server_stand_in(&[200]).await;
    let sent =
        deliver(&channel(&format!("slack = \"http://127.0.0.1:{port}/T0/secret\"")), &message().await).await;
    assert_eq!(sent, Ok(()));
    let (head, body) = seen.lock().expect("a lock").remove(0);
    let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let text = json["text"].as_str().expect("a text");
    assert!(head.contains("content-type: application/json"), "{head}");
    assert!(
        text.starts_with("test is BLOCKED: gate `db`: &lt;!channel&gt; &amp; co another line\n- db"),
        "{text}"
    );
    assert!(text.contains("\nblocked since 2026-11-21 06:01 UTC\n"), "{text}");
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_again() {
    let (port, seen) = server_stand_in(&[503, 429, 200]).await;
    let keys = format!("[webhook]\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret = \"hunter2hunter2\"");
    assert_eq!(deliver(&channel(&keys), &message().await).await, Ok(()));
    let seen = seen.lock().expect("a lock");
    assert_eq!(seen.len(), 3);
    let (head, body) = &seen[2];
    let header =
        |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).expect("a header").to_owned();
    // openssl is the referee of the signature.
    let mut openssl = std::process::Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", "hunter2hunter2"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("openssl");
    let signed = format!("{}.{body}", header("x-ops-timestamp: "));
    std::io::Write::write_all(&mut openssl.stdin.take().expect("stdin"), signed.as_bytes())
        .expect("openssl reads");
    let told = String::from_utf8(openssl.wait_with_output().expect("openssl").stdout).expect("UTF-8");
    let hex = told.trim().rsplit(' ').next().expect("a digest");
    assert_eq!(header("x-ops-signature: "), format!("sha256={hex}"));
    assert!(body.contains("\"schema\":\"ops-gates/notification/v1\""), "{body}");
}

#[tokio::test]
async fn a_refusal_is_not_repeated_and_tells_no_address() {
    let (port, seen) = server_stand_in(&[403, 403]).await;
    let channel = channel(&format!("slack = \"http://127.0.0.1:{port}/T0/hunter2hunter2\""));
    let failed = deliver(&channel, &message().await).await.expect_err("refused");
    assert_eq!((failed.temporary, seen.lock().expect("a lock").len()), (false, 1));
    assert_eq!(failed.to_string(), "notification by `ops` was not delivered: it answered 403");
    let closed =
        deliver(&self::channel("slack = \"http://127.0.0.1:1/hunter2hunter2\""), &message().await).await;
    let closed = closed.expect_err("nobody listens").to_string();
    assert!(!closed.contains("hunter2"), "{closed}");
    assert!(!format!("{channel:?}").contains("hunter2"), "{channel:?}");
}

#[tokio::test]
async fn each_channel_is_told_once_and_what_failed_is_told() {
    let (port, seen) = server_stand_in(&[200]).await;
    let channels = [channel(&format!("slack = \"http://127.0.0.1:{port}/\""))];
    let rules = [rule("to = [\"ops\", \"nobody\"]"), rule("to = [\"ops\"]\ngates = [\"db\"]")];
    let now = record(&["db"], 1).await;
    let failed = notify(&channels, &rules, Situation { now: &now, before: None, blocked_since: None }).await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].to_string(), "notification by `nobody` was not delivered: no channel has this name");
    assert_eq!(seen.lock().expect("a lock").len(), 1);
}

/// A mail server of Python's aiosmtpd with STARTTLS and a login: a stand-in for a real one. It prints what arrives.
const SMTP_STAND_IN: &str = r#"
import asyncio, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, SMTP
class Handler:
    async def handle_DATA(self, server, session, envelope):
        print(envelope.mail_from, envelope.rcpt_tos, session.authenticated, flush=True)
        import email, email.policy
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        print(mail["subject"], "|", mail.get_content().replace("\n", "|"), flush=True)
        return "250 OK"
def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"ops", b"hunter2hunter2"), handled=False)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
class Tls(Controller):
    def factory(self):
        return SMTP(self.handler, require_starttls=True, auth_required=True, authenticator=login, tls_context=context)
class Plain(Controller):
    def factory(self):
        return SMTP(self.handler)
controller = (Tls if sys.argv[4] == "tls" else Plain)(Handler(), hostname="127.0.0.1", port=int(sys.argv[3]))
controller.start()
print("ready", flush=True)
sys.stdin.read()
controller.stop()
"#;

#[tokio::test]
async fn a_mail_goes_over_starttls_to_a_stand_in() {
    let has = std::process::Command::new("python3").args(["-c", "import aiosmtpd"]).output();
    if !has.is_ok_and(|has| has.status.success()) {
        ops_testkit::skip!("python has no aiosmtpd");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let made = std::process::Command::new("openssl")
        .args("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE".split(' '))
        .current_dir(folder.path())
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for mode in ["tls", "plain"] {
        let port = ops_testkit::free_port().expect("a port");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let mut server = tokio::process::Command::new("python3")
            .args(["-c", SMTP_STAND_IN])
            .args([&cert, &key])
            .args([port.to_string().as_str(), mode])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("a server");
        let mut lines = BufReader::new(server.stdout.take().expect("stdout")).lines();
        assert_eq!(lines.next_line().await.expect("a line").as_deref(), Some("ready"));
        let email = |more: &str| {
            channel(&format!(
                "[email]\nhost = \"localhost\"\nport = {port}\nfrom = \"gate@example.org\"\nto = [\"pm@example.org\", \"lead@example.org\"]\nuser = \"ops\"\n{more}"
            ))
        };
        let trusted = format!("ca_file = \"{}\"\n", cert.display());
        if mode == "plain" {
            // A server without STARTTLS gets neither a password nor a message.
            let refused =
                deliver(&email(&format!("{trusted}password = \"hunter2hunter2\"")), &message().await).await;
            assert!(refused.expect_err("no encryption").reason.contains("does not offer STARTTLS"));
            assert_eq!(deliver(&email("tls = \"none\""), &message().await).await, Ok(()));
            continue;
        }
        let sent =
            deliver(&email(&format!("{trusted}password = \"hunter2hunter2\"")), &message().await).await;
        assert_eq!(sent, Ok(()));
        let envelope = lines.next_line().await.expect("a line").expect("a mail");
        assert_eq!(envelope, "gate@example.org ['pm@example.org', 'lead@example.org'] True");
        let mail = lines.next_line().await.expect("a line").expect("a mail");
        assert!(mail.starts_with("test is BLOCKED | test is BLOCKED: gate `db`: <!channel>"), "{mail}");
        let wrong = deliver(&email(&format!("{trusted}password = \"wrongwrong\"")), &message().await).await;
        assert_eq!(wrong.expect_err("a wrong password").reason, "AUTH was answered 535");
        // The system's authorities do not know the certificate.
        let stranger = deliver(&email("password = \"hunter2hunter2\""), &message().await).await;
        assert!(stranger.expect_err("unknown").reason.contains("no encrypted connection"));
    }
}

#[tokio::test]
async fn an_address_that_would_add_a_line_is_refused() {
    for to in ["pm@example.org>\\r\\nDATA", "pm", "@example.org", "pm @example.org", "a@b,c@d"] {
        let keys =
            format!("[email]\nhost = \"127.0.0.1\"\nport = 1\nfrom = \"gate@example.org\"\nto = [\"{to}\"]");
        let failed = deliver(&channel(&keys), &message().await).await.expect_err(to);
        assert!(failed.reason.contains("is no mail address"), "{failed}");
    }
}
