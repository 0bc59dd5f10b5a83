//! Object stores and MongoDB: SeaweedFS, and SecantusDB where it is installed.

use crate::mongodb_stand_in;
use crate::server::{Authority, Server, free_port, tls_front};
use crate::stand_in::{Request, http};
use crate::support::{options, run_with};
use ops_gates::{CancellationToken, Plan};
use ops_testkit::or_skip;
use std::collections::HashMap;
use std::process::Command;
use std::sync::Mutex;

async fn run(keys: &str, secret: &str) -> crate::support::Ran {
    let toml = format!("name = \"x\"\n[[gate]]\nid = \"it\"\n{keys}");
    let variable = |_: &str| Some(secret.to_owned());
    let plan = Plan::parse_with(&toml, "x.toml", &variable)
        .unwrap_or_else(|error| panic!("{keys}: {:?}", error.problems()));
    run_with(&plan, options(), CancellationToken::new()).await
}

#[tokio::test]
async fn a_bucket_of_a_real_server_gives_back_what_it_was_given() {
    let server = or_skip!(ops_testkit::S3::start());
    let bucket = |name: &str| {
        format!(
            "kind = \"s3\"\nurl = \"{}\"\nbucket = \"{name}\"\nregion = \"{}\"\naccess_key = \"{}\"\nsecret_key = \"${{env:SECRET}}\"",
            server.endpoint(),
            server.region(),
            server.access_key()
        )
    };
    for (name, keys, outcome, code) in [
        (server.bucket(), "write_canary = true", "PASS", "ok"),
        (server.bucket(), "write_canary = true\nprefix = \"a b/ü+/\"", "PASS", "ok"),
        (server.bucket(), "versioning = true", "FAIL", "versioning"),
        (server.bucket(), "encryption = true", "FAIL", "encryption"),
        ("absent-bucket", "versioning = true", "FAIL", "bucket-missing"),
    ] {
        let ran = run(&format!("{}\n{keys}", bucket(name)), server.secret_key()).await;
        ran.expect(outcome, code);
        assert!(!ran.read("verdict.json").contains(server.secret_key()));
    }
    let keys = format!("{}\nwrite_canary = true", bucket(server.bucket()));
    run(&keys, "another key").await.expect("ERROR", "unauthorized");
    let gone = keys.replace(&server.endpoint(), &format!("http://127.0.0.1:{}", free_port()));
    run(&gone, "x").await.expect("ERROR", "connect");
}

#[tokio::test]
async fn a_stand_in_that_loses_changes_or_keeps_objects_fails() {
    let store = |fault: &'static str| {
        let kept: Mutex<HashMap<String, String>> = Mutex::default();
        http(move |request: &Request| {
            let mut kept = kept.lock().expect("no panic");
            match (request.method.as_str(), request.path.as_str()) {
                ("GET", path) if path.ends_with("?versioning=") => (
                    200,
                    "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>".to_owned(),
                ),
                ("GET", path) if path.ends_with("?encryption=") => {
                    (200, "<Rule><SSEAlgorithm>AES256</SSEAlgorithm></Rule>".to_owned())
                }
                ("PUT", path) if fault != "loses" => {
                    kept.insert(path.to_owned(), request.body.clone());
                    (200, String::new())
                }
                ("DELETE", path) if fault != "keeps" => {
                    kept.remove(path);
                    (204, String::new())
                }
                ("GET", path) => match kept.get(path) {
                    Some(_) if fault == "changes" => (200, "other".to_owned()),
                    Some(body) => (200, body.clone()),
                    None => (404, "<Code>NoSuchKey</Code>".to_owned()),
                },
                _ => (200, String::new()),
            }
        })
    };
    for (fault, outcome, code) in [
        ("none", "PASS", "ok"),
        ("loses", "FAIL", "canary"),
        ("changes", "FAIL", "canary"),
        ("keeps", "FAIL", "canary"),
    ] {
        let keys = format!(
            "kind = \"s3\"\nurl = \"{}\"\nbucket = \"b\"\naccess_key = \"k\"\nsecret_key = \"${{env:SECRET}}\"\nwrite_canary = true\nversioning = true\nencryption = true",
            store(fault)
        );
        run(&keys, "s").await.expect(outcome, code);
    }
}

/// SecantusDB speaks MongoDB's protocol. `OPS_SECANTUSDB` names a Python that has it; no set-up provides one.
struct Secantus {
    python: std::ffi::OsString,
    folder: tempfile::TempDir,
}

impl Secantus {
    fn find() -> Option<Self> {
        let python = std::env::var_os("OPS_SECANTUSDB")?;
        Some(Self { python, folder: tempfile::tempdir().expect("a temporary directory") })
    }

    fn start(&self, arguments: &[&str]) -> Server {
        Server::start(|port| {
            let mut command = Command::new(&self.python);
            command
                .args(["-m", "secantus", "--host", "127.0.0.1", "--port", &port.to_string()])
                .args(arguments);
            command.arg("--storage-path").arg(self.folder.path());
            command
        })
    }

    /// Makes a user, with the driver that others wrote.
    fn make_user(&self, port: u16, password: &str) {
        let script = format!(
            "import pymongo; c = pymongo.MongoClient('127.0.0.1', {port}, directConnection=True); \
             c.admin.command('createUser', 'app', pwd='{password}', roles=['root'], mechanisms=['SCRAM-SHA-256'])"
        );
        let done = Command::new(&self.python).args(["-c", &script]).output().expect("python");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

/// The stand-in verifies SCRAM as a server does; a rustls of ours in front of it speaks TLS.
#[tokio::test]
async fn a_stand_in_for_mongodb_lets_in_by_scram_with_and_without_tls() {
    let authority = Authority::new(400, 400);
    let plain = mongodb_stand_in::start("app", "pa=ss,word%", || true);
    let secondary = mongodb_stand_in::start("app", "pa=ss,word%", || false);
    let tls = free_port();
    tls_front(&authority, tls, plain);
    let ca = format!("ca_file = \"{}\"", authority.path("ca.pem"));
    let login = "password = \"${env:PASSWORD}\"\nprimary = true\nwrite_canary = true";
    for (url, keys, password, outcome, code) in [
        (format!("app@127.0.0.1:{plain}/butler"), login.to_owned(), "pa=ss,word%", "PASS", "ok"),
        (format!("app@127.0.0.1:{plain}/butler"), login.to_owned(), "another", "ERROR", "refused"),
        (format!("other@127.0.0.1:{plain}/butler"), login.to_owned(), "pa=ss,word%", "ERROR", "refused"),
        (format!("127.0.0.1:{plain}/butler"), String::new(), "x", "ERROR", "refused"),
        (format!("app@127.0.0.1:{secondary}/butler"), login.to_owned(), "pa=ss,word%", "FAIL", "not-primary"),
        (
            format!("app@localhost:{tls}/butler?tls=true"),
            format!("{login}\n{ca}"),
            "pa=ss,word%",
            "PASS",
            "ok",
        ),
        (
            format!("app@localhost:{tls}/butler?tls=true"),
            format!("{login}\n{ca}"),
            "another",
            "ERROR",
            "refused",
        ),
        (format!("app@localhost:{tls}/butler?tls=true"), login.to_owned(), "pa=ss,word%", "ERROR", "tls"),
        (
            format!("app@127.0.0.1:{tls}/butler?tls=true"),
            format!("{login}\n{ca}"),
            "pa=ss,word%",
            "ERROR",
            "tls",
        ),
        (format!("app@localhost:{tls}/butler"), login.to_owned(), "pa=ss,word%", "ERROR", "connection-lost"),
    ] {
        run(&format!("kind = \"mongodb\"\nurl = \"mongodb://{url}\"\n{keys}"), password)
            .await
            .expect(outcome, code);
    }
}

#[tokio::test]
async fn a_real_server_of_mongodbs_protocol_answers() {
    let Some(secantus) = Secantus::find() else { ops_testkit::skip!("SecantusDB is not installed") };
    let server = secantus.start(&[]);
    let url = format!("kind = \"mongodb\"\nurl = \"mongodb://127.0.0.1:{}/butler\"", server.port);
    for (keys, outcome, code) in [
        ("", "PASS", "ok"),
        ("primary = true", "PASS", "ok"),
        ("write_canary = true", "PASS", "ok"),
        ("replica_set = \"secantus\"", "PASS", "ok"),
        ("replica_set = \"rs9\"", "FAIL", "replica-set"),
    ] {
        run(&format!("{url}\n{keys}"), "x").await.expect(outcome, code);
    }
    secantus.make_user(server.port, "pa=ss,word%");
    drop(server);
    let server = secantus.start(&["--auth"]);
    let url = format!("url = \"mongodb://app@127.0.0.1:{}/butler?authSource=admin\"", server.port);
    let gate = format!("kind = \"mongodb\"\n{url}\npassword = \"${{env:PASSWORD}}\"\nwrite_canary = true");
    run(&gate, "pa=ss,word%").await.expect("PASS", "ok");
    run(&gate, "another").await.expect("ERROR", "refused");
    run(&gate.replace("app@", "other@"), "pa=ss,word%").await.expect("ERROR", "refused");
    let anonymous = gate.replace("app@", "").replace("password", "#");
    run(&anonymous, "x").await.expect("ERROR", "refused");
    run(&gate.replace(&server.port.to_string(), &free_port().to_string()), "x")
        .await
        .expect("ERROR", "connect");
}
