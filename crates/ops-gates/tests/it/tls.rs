//! `kind = "tls"` against the TLS server of `openssl`, with certificates made for the test, and against PostgreSQL.

use crate::server::{Authority, Server};
use crate::stand_in::serve;
use crate::support::run_gate;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Command;

fn server(authority: &Authority, arguments: &str) -> Server {
    Server::start(|port| {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-www", "-key", "key.pem"]);
        openssl.args(arguments.split(' ')).current_dir(authority.folder());
        openssl
    })
}

/// A gate on `localhost`, which may have an IPv6 address too, where openssl does not listen.
fn keys(port: u16, authority: &Authority, more: &str) -> String {
    let ca = authority.path("ca.pem");
    format!(
        "kind = \"tls\"\naddress = \"127.0.0.1:{port}\"\nca_file = \"{ca}\"\nname = \"localhost\"\n{more}"
    )
}

#[tokio::test]
async fn the_leaf_and_every_intermediate_must_stay_valid() {
    let authority = Authority::new(40, 400);
    let server = server(&authority, "-cert cert.pem -cert_chain between.pem");
    let gate = run_gate(&keys(server.port, &authority, "min_days = 30")).await;
    let gate = gate.expect("PASS", "ok");
    let days = |name: &str| gate.measurements[name];
    assert!((399.0..=400.0).contains(&days("leaf_days")), "{gate:?}");
    assert!((39.0..=40.0).contains(&days("intermediate_days")), "{gate:?}");
    // The leaf would do; the intermediate does not.
    let gate = run_gate(&keys(server.port, &authority, "min_days = 50")).await;
    let reason = gate.expect("FAIL", "expires-soon").reason.clone().unwrap_or_default();
    assert!(reason.contains("intermediate certificate `between`"), "{reason}");
    // Nobody stands behind it for the system, it is not for other names, and not for the address.
    let system = format!(
        "kind = \"tls\"\nmin_days = 1\nname = \"localhost\"\naddress = \"127.0.0.1:{}\"",
        server.port
    );
    run_gate(&system).await.expect("FAIL", "untrusted");
    let other = keys(server.port, &authority, "min_days = 1").replace("\"localhost\"", "\"other.example\"");
    run_gate(&other).await.expect("FAIL", "name");
    let unnamed = keys(server.port, &authority, "min_days = 1").replace("name = \"localhost\"", "");
    run_gate(&unnamed).await.expect("FAIL", "name");
    run_gate(&keys(1, &authority, "min_days = 1")).await.expect("ERROR", "connect");
}

#[tokio::test]
async fn a_chain_with_a_hole_or_an_expired_certificate_fails() {
    let authority = Authority::new(400, 400);
    let hole = server(&authority, "-cert cert.pem");
    run_gate(&keys(hole.port, &authority, "min_days = 1")).await.expect("FAIL", "untrusted");
    authority.openssl(
        "x509 -req -in leaf.csr -CA between.pem -CAkey between.key -CAcreateserial -days -1 -extfile leaf.ext -out cert.pem",
    );
    let expired = server(&authority, "-cert cert.pem -cert_chain between.pem");
    run_gate(&keys(expired.port, &authority, "min_days = 1")).await.expect("FAIL", "expired");
}

#[tokio::test]
async fn postgresql_changes_to_tls_when_it_is_asked_to() {
    let without = ops_testkit::Postgres::start().expect("a server");
    let authority = Authority::new(400, 200);
    let starttls = "min_days = 30\nstarttls = \"postgres\"";
    run_gate(&keys(without.port(), &authority, starttls)).await.expect("FAIL", "no-tls");
    let with = ops_testkit::Postgres::start().expect("a server");
    for (from, to) in [("chain.pem", "server.crt"), ("key.pem", "server.key")] {
        let to = with.data_dir().join(to);
        std::fs::copy(authority.path(from), &to).expect("a copy");
        ops_testkit::TestUser::find().expect("a user").own(&to).expect("the server's own file");
    }
    with.psql("ALTER SYSTEM SET ssl = on; SELECT pg_reload_conf()").expect("TLS");
    // Each session learns of the new setting by itself, and new ones at once after the postmaster has.
    let mut outcome = String::new();
    for _ in 0..100 {
        let ran = run_gate(&keys(with.port(), &authority, starttls)).await;
        outcome = ran.record.gates[0].code.clone().unwrap_or_default();
        if outcome != "no-tls" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(outcome, "ok");
}

#[tokio::test]
async fn a_stand_in_mail_server_is_asked_for_starttls() {
    let mail = |offer: &'static str| {
        serve(move |mut stream| {
            let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
            stream.write_all(b"220-mail\r\n220 ready\r\n").ok()?;
            lines.next()?.ok()?;
            stream.write_all(format!("250-mail\r\n250 {offer}\r\n").as_bytes()).ok()?;
            lines.next()?.ok()?;
            stream.write_all(b"454 not now\r\n").ok()
        })
    };
    let authority = Authority::new(400, 400);
    let starttls = "min_days = 30\nstarttls = \"smtp\"";
    run_gate(&keys(mail("SIZE 1000"), &authority, starttls)).await.expect("FAIL", "no-tls");
    run_gate(&keys(mail("STARTTLS"), &authority, starttls)).await.expect("ERROR", "not-ready");
}
