//! A disposable Azure server does what its documentation says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use ops_testkit::{Azure, is_running, or_skip};

#[test]
fn it_listens_on_loopback_refuses_strangers_and_leaves_nothing() {
    let azure = or_skip!(Azure::start());
    let endpoint = azure.endpoint();
    let (host, account) = endpoint.strip_prefix("http://").unwrap().split_once('/').unwrap();
    assert_eq!(account, azure.account());
    let mut stream = TcpStream::connect(host).unwrap();
    let path = format!("/{account}/{}/object", azure.container());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 404"), "{answer}");

    let (pid, dir) = (azure.pid(), azure.dir().to_owned());
    drop(azure);
    assert!(!is_running(pid) && !dir.exists());
}
