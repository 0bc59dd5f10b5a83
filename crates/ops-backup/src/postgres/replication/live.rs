//! The session against real servers, and against one that is none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ops_testkit::{Postgres, TestUser};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

pub(super) fn settings(text: &str) -> ConnectionSettings {
    ConnectionSettings::parse(text).unwrap()
}

pub(super) fn shown(error: &Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text += &format!(": {inner}");
        cause = inner.source();
    }
    text
}

#[tokio::test]
async fn every_major_is_asked_and_streamed_from() {
    for major in ops_testkit::installed_majors() {
        let Ok(builder) = Postgres::builder().major(major) else { continue };
        let server = builder.setting("wal_level", "replica").start().unwrap();
        let mut session = Replication::connect(&settings(&server.socket_url())).await.unwrap();
        assert_eq!(session.version() / 10_000, major);
        let identity = session.identify().await.unwrap();
        let system = server.psql("SELECT system_identifier FROM pg_control_system()").unwrap();
        assert_eq!((identity.system_identifier.to_string(), identity.timeline), (system, 1));
        let cluster = session.cluster().await.unwrap();
        assert_eq!((cluster.major, cluster.segment_size.bytes()), (major, 16 << 20));
        // The first timeline has no history: a refusal, and the session lives on.
        let error = session.timeline_history(1).await.unwrap_err();
        assert_eq!(
            (error.kind(), sqlstate(&error)),
            (ErrorKind::Postgres, Some("58P01")),
            "{}",
            shown(&error)
        );
        session.create_physical_slot("a \"slot\"", false).await.unwrap_err();
        if major >= 15 {
            assert_eq!(session.read_slot("slot").await.unwrap(), None);
        }
        session.create_physical_slot("slot", true).await.unwrap();
        if major >= 15 {
            let (timeline, lsn) = session.read_slot("slot").await.unwrap().unwrap().restart.unwrap();
            assert!(timeline == 1 && lsn <= session.identify().await.unwrap().lsn, "{lsn}");
        }

        server.psql("CREATE TABLE t AS SELECT generate_series(1, 20000) AS n").unwrap();
        let start = Lsn(identity.lsn.0 / (16 << 20) * (16 << 20));
        let Started::Streaming(mut stream) = session.start_replication(Some("slot"), start, 1).await.unwrap()
        else {
            panic!("timeline 1 has not ended");
        };
        let end: Lsn = server.psql("SELECT pg_current_wal_flush_lsn()").unwrap().parse().unwrap();
        let mut received = Vec::new();
        while start.0 + (received.len() as u64) < end.0 {
            match stream.next().await.unwrap() {
                Streamed::Message(WalMessage::Data { start: at, bytes, .. }) => {
                    assert_eq!(at.0, start.0 + received.len() as u64);
                    received.extend_from_slice(&bytes);
                }
                Streamed::Message(WalMessage::Keepalive { .. }) => {}
                Streamed::End => panic!("the stream ended"),
            }
        }
        let name: String = server.psql(&format!("SELECT pg_walfile_name('{}')", Lsn(start.0 + 1))).unwrap();
        let file = fs::read(server.data_dir().join("pg_wal").join(name)).unwrap();
        let wanted = usize::try_from(end.0 - start.0).unwrap().min(file.len());
        assert!(received[..wanted] == file[..wanted], "what was streamed is not what the server has");

        // The slot keeps what we do not call flushed, and lets go of what we do.
        stream.standby_status(end, end, Lsn(0), true).await.unwrap();
        loop {
            // The answer to a status that asks for one is a keepalive.
            if let Streamed::Message(WalMessage::Keepalive { .. }) = stream.next().await.unwrap() {
                break;
            }
        }
        let restart = server.psql("SELECT restart_lsn FROM pg_replication_slots").unwrap();
        assert_eq!(restart, end.to_string());
        let (mut session, next) = stream.finish().await.unwrap();
        assert_eq!(next, None);
        session.identify().await.unwrap();
    }
}

/// The answer of `BASE_BACKUP`, message by message.
#[tokio::test]
async fn a_long_answer_is_read_as_it_comes() {
    for major in ops_testkit::installed_majors() {
        let Ok(builder) = Postgres::builder().major(major) else { continue };
        let server = builder.start().unwrap();
        let mut session = Replication::connect(&settings(&server.socket_url())).await.unwrap();
        let options = if major >= 15 { "(CHECKPOINT 'fast')" } else { "FAST" };
        session.begin(&format!("BASE_BACKUP {options}")).await.unwrap();
        let (mut bytes, mut sets, mut copies) = (0, 0, 0);
        loop {
            match session.next().await.unwrap() {
                Reply::Columns(_) => sets += 1,
                Reply::CopyOut => copies += 1,
                Reply::Data(data) => bytes += data.len(),
                Reply::Ready => break,
                _ => {}
            }
        }
        assert!(sets == 3 && copies == 1 && bytes > 20_000_000, "{major}: {sets} {copies} {bytes}");
        session.identify().await.unwrap();
    }
}

/// Puts rules in place of `pg_hba.conf`, but lets the harness in by its socket.
pub(super) fn allow(server: &Postgres, rules: &str) {
    let text = format!("local all postgres trust\n{rules}\n");
    fs::write(server.data_dir().join("pg_hba.conf"), text).unwrap();
    reload(server);
}

/// Lets the server read its files again, certificates as well. The postmaster does so soon after it is asked, not at once.
pub(super) fn reload(server: &Postgres) {
    let loaded = || server.psql("SELECT pg_conf_load_time()").unwrap();
    let before = loaded();
    server.psql("SELECT pg_reload_conf()").unwrap();
    while loaded() == before {}
}

/// Makes a certificate for `localhost` with its key beside it, as `openssl req` is told; `None` where there is no OpenSSL.
pub(super) fn make_certificate(place: &Path, how: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (place.join("server.crt"), place.join("server.key"));
    let made = Command::new("openssl")
        .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(how)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .ok()?;
    assert!(made.status.success(), "{how:?}: {}", String::from_utf8_lossy(&made.stderr));
    Some((certificate, key))
}

/// Gives the server a certificate; it is read with the next [`reload`].
pub(super) fn with_tls(server: &Postgres, how: &[&str]) -> Option<PathBuf> {
    let (certificate, key) = make_certificate(server.data_dir(), how)?;
    let owner = TestUser::find().unwrap();
    for file in [&certificate, &key] {
        owner.own(file).unwrap();
    }
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    server.psql("ALTER SYSTEM SET ssl = on").unwrap();
    Some(certificate)
}

async fn outcome(text: &str, password: Option<&str>) -> Result<(), (ErrorKind, String)> {
    let settings = settings(text);
    let settings = match password {
        Some(password) => settings.with_password(password.into()),
        None => settings,
    };
    match Replication::connect(&settings).await {
        Ok(mut session) => {
            session.identify().await.unwrap();
            Ok(())
        }
        Err(error) => {
            let shown = shown(&error);
            assert!(!shown.contains("SENTINEL"), "{shown}");
            Err((error.kind(), shown))
        }
    }
}

#[tokio::test]
async fn each_way_to_prove_who_we_are() {
    use ErrorKind::{Configuration, Postgres as Refused, Unavailable};
    let server = Postgres::start().unwrap();
    server.psql("CREATE ROLE scram LOGIN REPLICATION PASSWORD 'SENTINEL p%w'").unwrap();
    server
        .psql("SET password_encryption = 'md5'; CREATE ROLE md LOGIN REPLICATION PASSWORD 'SENTINEL p%w'")
        .unwrap();
    server.psql("CREATE ROLE nobody LOGIN PASSWORD 'SENTINEL p%w'").unwrap();
    let certificate = with_tls(&server, &["-newkey", "rsa:2048"]);
    let rule = |way: &str, role: &str| format!("host replication {role} 127.0.0.1/32 {way}\n");
    let rules = [
        rule("scram-sha-256", "scram"),
        rule("md5", "md"),
        rule("trust", "trusted"),
        rule("password", "clear"),
        rule("scram-sha-256", "nobody"),
        rule("reject", "rejected"),
    ];
    server.psql("CREATE ROLE trusted LOGIN REPLICATION; CREATE ROLE clear LOGIN REPLICATION PASSWORD 'SENTINEL p%w'").unwrap();
    allow(&server, &rules.concat());
    let at = |user: &str, more: &str| {
        format!("host=localhost hostaddr=127.0.0.1 port={} user={user} {more}", server.port())
    };
    let right = Some("SENTINEL p%w");
    let plain = "sslmode=disable";
    for (user, more, password, expected) in [
        ("scram", plain, right, Ok(())),
        ("md", plain, right, Ok(())),
        ("trusted", plain, None, Ok(())),
        ("clear", plain, right, Err((Configuration, "it was not sent"))),
        ("scram", plain, Some("SENTINEL"), Err((Refused, "28P01"))),
        ("md", plain, Some("SENTINEL"), Err((Refused, "28P01"))),
        ("scram", plain, None, Err((Configuration, "none is given"))),
        ("nobody", plain, right, Err((Refused, "42501"))),
        ("rejected", plain, None, Err((Refused, "28000"))),
        ("scram", "sslmode=disable channel_binding=require", right, Err((Configuration, "channel_binding"))),
        ("trusted", "sslmode=disable channel_binding=require", None, Err((Configuration, "channel_binding"))),
        ("trusted", "sslmode=disable target_session_attrs=read-write", None, Ok(())),
        (
            "trusted",
            "sslmode=disable target_session_attrs=read-only",
            None,
            Err((Unavailable, "can be written")),
        ),
    ] {
        check(outcome(&at(user, more), password).await, expected, user, more);
    }
    // Several hosts: the first that lets us in.
    let several =
        format!("host=127.0.0.1,127.0.0.1 port={},{} user=trusted sslmode=disable", 1, server.port());
    check(outcome(&several, None).await, Ok(()), "trusted", "several");
    let Some(certificate) = certificate else { ops_testkit::skip!("openssl is not installed") };
    let full = format!("sslmode=verify-full sslrootcert={}", certificate.display());
    for (user, more, password, expected) in [
        ("scram", "sslmode=require", right, Ok(())),
        ("clear", "sslmode=require", right, Ok(())),
        ("scram", "sslmode=prefer", right, Ok(())),
        ("scram", full.as_str(), right, Ok(())),
        ("scram", full.as_str(), Some("SENTINEL"), Err((Refused, "28P01"))),
    ] {
        check(outcome(&at(user, more), password).await, expected, user, more);
    }
    let other = at("scram", &full).replace("host=localhost", "host=elsewhere");
    check(outcome(&other, right).await, Err((Unavailable, "cannot speak TLS")), "scram", "another name");
}

fn check(
    found: Result<(), (ErrorKind, String)>,
    expected: Result<(), (ErrorKind, &str)>,
    user: &str,
    more: &str,
) {
    match (&found, expected) {
        (Ok(()), Ok(())) => {}
        (Err((kind, text)), Err((wanted, part))) if *kind == wanted && text.contains(part) => {}
        _ => panic!("{user} {more}: {found:?}, expected {expected:?}"),
    }
}

/// Answers a connection with these bytes and then with silence.
async fn impostor(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut asked = [0; 8];
                socket.read_exact(&mut asked).await.unwrap();
                socket.write_all(answer).await.unwrap();
                // Held open.
                let _ = socket.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    format!("host=127.0.0.1 port={port} user=u sslmode=disable connect_timeout=1")
}

#[tokio::test]
async fn what_is_no_server_is_left_in_time() {
    for (answer, part) in [
        (&b""[..], "timed out"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak"),
        (b"R\x7f\xff\xff\xff", "does not speak"),
        (b"R\0\0\0\x03", "does not speak"),
        (b"R\0\0\0\x06\0\0", "cut short"),
        (b"E\0\0\0\x15C53300\0Mtoo many\0\0", "53300"),
        (b"Z\0\0\0\x05I", "where none may come"),
    ] {
        let text = impostor(answer).await;
        let error = Replication::connect(&settings(&text)).await.unwrap_err();
        assert!(shown(&error).contains(part), "{answer:?}: {}", shown(&error));
    }
    // A folder without a socket, and a port without a listener.
    for text in ["host=/nonexistent user=u", "host=127.0.0.1 port=1 user=u"] {
        let error = Replication::connect(&settings(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", shown(&error));
    }
}
