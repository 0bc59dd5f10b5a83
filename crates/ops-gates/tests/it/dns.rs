//! `kind = "dns"` against the system's own look-up and a stand-in for a name server.

use crate::support::run_gate;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};

/// A stand-in for a name server that gives every name these IPv4 addresses; `cut` by UDP, so that TCP must be used.
fn name_server(addresses: Vec<[u8; 4]>, code: u8, cut: bool) -> String {
    // The same port for both; another test could take one of them, so that several are tried.
    let (udp, tcp) = (0..100)
        .find_map(|_| {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
            Some((udp, tcp))
        })
        .expect("a free port");
    let server = udp.local_addr().expect("an address").to_string();
    let respond = move |question: &[u8], cut: bool| {
        let mut response = question.to_vec();
        response[2] |= if cut { 0x82 } else { 0x80 };
        response[3] = code;
        let is_a = question[question.len() - 3] == 1;
        let answers = if cut || !is_a || code != 0 { &[] } else { addresses.as_slice() };
        response[7] = u8::try_from(answers.len()).expect("few");
        for address in answers {
            response.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
            response.extend(address);
        }
        response
    };
    let by_tcp = respond.clone();
    std::thread::spawn(move || {
        let mut question = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut question) {
            let _ = udp.send_to(&respond(&question[..length], cut), from);
        }
    });
    std::thread::spawn(move || {
        for mut stream in tcp.incoming().flatten() {
            let mut length = [0; 2];
            let mut question = vec![];
            let read = stream.read_exact(&mut length).and_then(|()| {
                question = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut question)
            });
            if read.is_ok() {
                let response = by_tcp(&question, false);
                let length = u16::try_from(response.len()).expect("short").to_be_bytes();
                let _ = stream.write_all(&[&length[..], &response].concat());
            }
        }
    });
    server
}

#[tokio::test]
async fn what_a_stand_in_name_server_says_is_compared() {
    let one = name_server(vec![[10, 0, 0, 1]], 0, false);
    let two = name_server(vec![[10, 0, 0, 2], [10, 0, 0, 1]], 0, true);
    let none = name_server(vec![], 0, false);
    let unknown = name_server(vec![], 3, false);
    let refuses = name_server(vec![], 5, false);
    for (servers, keys, outcome, code) in [
        (vec![&one], "expect = [\"10.0.0.1\"]\nonly = true", "PASS", "ok"),
        (vec![&one], "record = \"A\"\nexpect = [\"10.0.0.1\"]", "PASS", "ok"),
        (vec![&one], "expect = [\"10.0.0.9\"]", "FAIL", "record-missing"),
        (vec![&one], "min_records = 2", "FAIL", "min-records"),
        (vec![&two], "min_records = 2", "PASS", "ok"),
        (vec![&two], "expect = [\"10.0.0.1\"]", "PASS", "ok"),
        (vec![&two], "expect = [\"10.0.0.1\"]\nonly = true", "FAIL", "record-unexpected"),
        (vec![&one, &two], "expect = [\"10.0.0.1\"]", "FAIL", "disagree"),
        (vec![&none], "min_records = 1", "FAIL", "no-records"),
        (vec![&one], "record = \"AAAA\"\nmin_records = 1", "FAIL", "no-records"),
        (vec![&unknown], "min_records = 1", "FAIL", "no-records"),
        (vec![&refuses], "min_records = 1", "ERROR", "refused"),
    ] {
        let servers = format!("{servers:?}");
        let gate = format!("kind = \"dns\"\nname = \"db.example\"\nservers = {servers}\n{keys}");
        run_gate(&gate).await.expect(outcome, code);
    }
    // Somebody listens, and never answers.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let server = silent.local_addr().expect("an address");
    let gate = format!(
        "kind = \"dns\"\nname = \"x.y\"\nservers = [\"{server}\"]\nmin_records = 1\ntimeout = \"400ms\""
    );
    run_gate(&gate).await.expect("ERROR", "silent");
}

#[tokio::test]
async fn the_system_looks_addresses_up() {
    let gate = "kind = \"dns\"\nname = \"localhost\"\nexpect = [\"127.0.0.1\"]";
    run_gate(gate).await.expect("PASS", "ok");
    run_gate("kind = \"dns\"\nname = \"no-such-host.invalid\"\nmin_records = 1")
        .await
        .expect("ERROR", "resolve");
}
