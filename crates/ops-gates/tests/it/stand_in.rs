//! Stand-ins for services that cannot be installed here: small servers of our own. Tests that use one say so by name.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A request to a stand-in.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) path: String,
    /// Headers, in lower case.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
}

/// Answers HTTP for as long as the test process lives; returns the address. The answer is a status and a body.
pub(crate) fn http(answer: impl Fn(&Request) -> (u16, String) + Send + Sync + 'static) -> String {
    let answer = Arc::new(answer);
    let port = serve(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let headers: Vec<String> = lines.iter().skip(1).map(|line| line.to_lowercase()).collect();
        let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let mut words = lines.first()?.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let body = String::from_utf8_lossy(&body).into_owned();
        let (status, body) = answer(&Request { method, path, headers, body });
        let head =
            format!("HTTP/1.1 {status} It\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).ok()
    });
    format!("http://127.0.0.1:{port}")
}

/// Gives every connection to a function of the test, for as long as the test process lives; returns the port.
pub(crate) fn serve(talk: impl Fn(TcpStream) -> Option<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let talk = Arc::new(talk);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = Arc::clone(&talk);
            std::thread::spawn(move || talk(stream));
        }
    });
    port
}
