//! `kind = "redis"` against real servers, and against stand-ins for the states that a real one is in for moments only.

use crate::server::{Authority, free_port};
use crate::stand_in::serve;
use crate::support::{Ran, options, run_gate, run_with};
use ops_gates::{CancellationToken, Plan};
use ops_testkit::{Redis, or_skip};
use std::io::{BufRead as _, BufReader, Write as _};

async fn run(server: &Redis, keys: &str) -> Ran {
    let toml = format!(
        "name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\n{keys}",
        server.port()
    );
    let variable = |name: &str| match name {
        "REDIS_PASSWORD" => Some(server.password().to_owned()),
        "WRONG" => Some("not the password".to_owned()),
        "URL" => Some(server.url()),
        _ => None,
    };
    let plan = Plan::parse_with(&toml, "x.toml", &variable).unwrap_or_else(|error| panic!("{keys}: {error}"));
    let ran = run_with(&plan, options(), CancellationToken::new()).await;
    assert!(!ran.read("verdict.json").contains(server.password()), "{keys}");
    ran
}

#[tokio::test]
async fn a_server_tells_what_it_is_and_takes_a_write() {
    let server = or_skip!(Redis::start());
    for (keys, outcome, code) in [
        ("role = \"primary\"", "PASS", "ok"),
        ("role = \"replica\"", "FAIL", "role"),
        ("write_canary = true", "PASS", "ok"),
        ("persistence = true", "PASS", "ok"),
        ("min_replicas = 1", "FAIL", "replicas"),
        ("max_lag_seconds = 10", "FAIL", "replicas"),
        ("max_memory_percent = 90", "ERROR", "no-maxmemory"),
    ] {
        let keys = format!("password = \"${{env:REDIS_PASSWORD}}\"\n{keys}");
        run(&server, &keys).await.expect(outcome, code);
    }
    assert_eq!(server.command(&["DBSIZE"]).expect("a number"), "0", "a canary was left");
    run(&server, "").await.expect("ERROR", "noauth");
    run(&server, "password = \"${env:WRONG}\"").await.expect("ERROR", "refused");
    server.command(&["CONFIG", "SET", "maxmemory", "1gb"]).expect("a limit");
    let memory =
        |limit: &str| format!("password = \"${{env:REDIS_PASSWORD}}\"\nmax_memory_percent = {limit}");
    run(&server, &memory("50")).await.expect("PASS", "ok");
    run(&server, &memory("0.001")).await.expect("FAIL", "memory");
    // Full: it answers PING all the same.
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).expect("a limit");
    let canary = "password = \"${env:REDIS_PASSWORD}\"\nwrite_canary = true";
    run(&server, canary).await.expect("FAIL", "no-writes");
}

#[tokio::test]
async fn a_replica_is_judged_by_its_link() {
    let primary = or_skip!(Redis::start());
    let port = primary.port().to_string();
    let auth = primary.password().to_owned();
    let replica = Redis::builder()
        .setting("replica-read-only", "yes")
        .setting("masterauth", auth)
        .setting("repl-ping-replica-period", "1")
        .start()
        .expect("a server");
    // Nobody is there yet: the link is down.
    replica.command(&["REPLICAOF", "127.0.0.1", &free_port().to_string()]).expect("a command");
    let password = "password = \"${env:REDIS_PASSWORD}\"";
    run(&replica, password).await.expect("FAIL", "master-link");
    replica.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]).expect("a setting");
    run(&replica, password).await.expect("ERROR", "masterdown");
    replica.command(&["CONFIG", "SET", "replica-serve-stale-data", "yes"]).expect("a setting");
    replica.command(&["REPLICAOF", "127.0.0.1", &port]).expect("a command");
    while !replica.command(&["INFO", "replication"]).expect("a text").contains("master_link_status:up") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    while !primary.command(&["INFO", "replication"]).expect("a text").contains("state=online") {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    run(&replica, &format!("{password}\nrole = \"replica\"\nmax_lag_seconds = 60"))
        .await
        .expect("PASS", "ok");
    run(&replica, &format!("{password}\nwrite_canary = true")).await.expect("FAIL", "read-only");
    run(&primary, &format!("{password}\nmin_replicas = 1\nmax_lag_seconds = 60")).await.expect("PASS", "ok");
    run(&primary, &format!("{password}\nmin_replicas = 2")).await.expect("FAIL", "replicas");
}

#[tokio::test]
async fn tls_is_verified() {
    let authority = Authority::new(400, 400);
    let port = free_port();
    let server = or_skip!(
        Redis::builder()
            .setting("tls-port", port.to_string())
            .setting("tls-cert-file", readable(&authority, "chain.pem"))
            .setting("tls-key-file", readable(&authority, "key.pem"))
            .setting("tls-ca-cert-file", readable(&authority, "ca.pem"))
            .setting("tls-auth-clients", "no")
            .start()
    );
    let toml = |host: &str| {
        format!(
            "url = \"rediss://{host}:{port}\"\npassword = \"${{env:REDIS_PASSWORD}}\"\nca_file = \"{}\"",
            authority.path("ca.pem")
        )
    };
    let run = async |keys: String| {
        let toml = format!("name = \"x\"\n[[gate]]\nid = \"it\"\nkind = \"redis\"\n{keys}");
        let plan = Plan::parse_with(&toml, "x", &|_| Some(server.password().to_owned())).expect("a plan");
        run_with(&plan, options(), CancellationToken::new()).await
    };
    run(toml("localhost")).await.expect("PASS", "ok");
    // The certificate is for `localhost`.
    run(toml("127.0.0.1")).await.expect("ERROR", "tls");
    let plain = toml("localhost").replace("rediss://", "redis://");
    run(plain).await.expect("ERROR", "connection-lost");
}

/// The server runs as another user, who must be able to read its certificates.
fn readable(authority: &Authority, name: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    for (path, mode) in [(authority.folder().to_path_buf(), 0o755), (authority.path(name).into(), 0o644)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("a mode");
    }
    authority.path(name)
}

/// Answers each command with the same line.
fn stand_in(line: &'static str) -> u16 {
    serve(move |mut stream| {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        loop {
            let words: usize = lines.next()?.ok()?.strip_prefix('*')?.parse().ok()?;
            for _ in 0..2 * words {
                lines.next()?.ok()?;
            }
            stream.write_all(line.as_bytes()).ok()?;
        }
    })
}

#[tokio::test]
async fn what_a_stand_in_says_for_moments_is_understood() {
    for (line, code) in [
        ("-LOADING Redis is loading the dataset in memory\r\n", "loading"),
        ("-MASTERDOWN Link with MASTER is down\r\n", "masterdown"),
        ("-NOAUTH Authentication required.\r\n", "noauth"),
        ("-NOPERM this user has no permissions\r\n", "refused"),
        ("-ERR something\r\n", "command"),
        ("+OK\r\n", "protocol"),
        ("HTTP/1.1 400 Bad Request\r\n", "protocol"),
        ("$-5\r\n", "protocol"),
        ("$99999999999999\r\n", "protocol"),
    ] {
        let gate = format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"", stand_in(line));
        run_gate(&gate).await.expect("ERROR", code);
    }
    let gate = format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"", free_port());
    run_gate(&gate).await.expect("ERROR", "connect");
}
