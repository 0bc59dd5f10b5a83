//! `kind = "tcp"` against sockets of the test.

use crate::server::free_port;
use crate::stand_in::serve;
use crate::support::run_gate;
use std::io::{Read as _, Write as _};

#[tokio::test]
async fn what_the_service_says_decides_and_not_the_port() {
    let greets = serve(|mut stream| stream.write_all(b"220 mail.internal ESMTP\r\n").ok());
    let silent = serve(|stream| stream.shutdown(std::net::Shutdown::Both).ok());
    let echoes = serve(|mut stream| {
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).ok()?;
        stream.write_all(&bytes).ok()
    });
    let holds = serve(|stream| {
        std::thread::sleep(std::time::Duration::from_secs(60));
        drop(stream);
        None
    });
    let closed = free_port();
    for (port, keys, outcome, code) in [
        (greets, "expect = \"220 \"", "PASS", "ok"),
        (greets, "expect = \"220 \"\nevery_address = true", "PASS", "ok"),
        (greets, "expect = \"221 \"", "FAIL", "answer"),
        (echoes, "send = \"PING\\n\"\nexpect = \"PING\"", "PASS", "ok"),
        // An open port behind which nobody speaks is not ready.
        (silent, "expect = \"220\"", "ERROR", "silent"),
        (silent, "connect_only = true", "PASS", "ok"),
        (holds, "expect = \"220\"\ntimeout = \"300ms\"", "ERROR", "timeout"),
        (closed, "connect_only = true", "ERROR", "connect"),
    ] {
        let keys = format!("kind = \"tcp\"\naddress = \"127.0.0.1:{port}\"\n{keys}");
        run_gate(&keys).await.expect(outcome, code);
    }
    let named = "kind = \"tcp\"\nconnect_only = true\naddress = \"no-such-host.invalid:1\"";
    run_gate(named).await.expect("ERROR", "resolve");
}

#[tokio::test]
async fn every_address_of_a_name_counts_where_that_is_asked_for() {
    // `localhost` is 127.0.0.1 and ::1 on most machines; the server listens on the former alone.
    let addresses: Vec<_> = tokio::net::lookup_host("localhost:1").await.expect("localhost").collect();
    if !addresses.iter().any(std::net::SocketAddr::is_ipv6)
        || !addresses.iter().any(std::net::SocketAddr::is_ipv4)
    {
        ops_testkit::skip!("localhost does not have an address of each family here");
    }
    let port = serve(|mut stream| stream.write_all(b"ready").ok());
    let keys = format!("kind = \"tcp\"\naddress = \"localhost:{port}\"\nexpect = \"ready\"");
    run_gate(&keys).await.expect("PASS", "ok");
    run_gate(&format!("{keys}\nevery_address = true")).await.expect("ERROR", "connect");
}
