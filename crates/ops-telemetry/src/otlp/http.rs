//! A client for one address: HTTP/1.1 (RFC 9112), blocking, one connection that is kept, everything within a deadline.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::answer::{MAX_ANSWER, partial_success};
use super::courier::{Client, Sent};
use super::options::{Collector, no_header};
use super::socket::{dial, in_time, left};
use super::url::Url;
use crate::error::Error;

pub(super) struct HttpClient {
    url: Url,
    /// Everything of a request above its length.
    head: String,
    #[cfg(feature = "otlp-tls")]
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    kept: Option<Connection>,
}

enum Connection {
    Plain(Timed),
    #[cfg(feature = "otlp-tls")]
    Tls(Box<rustls::StreamOwned<rustls::ClientConnection, Timed>>),
}

/// A stream on which everything must be done by a moment.
struct Timed {
    stream: TcpStream,
    until: Instant,
}

/// What was answered.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
    /// Whether the connection may be used again.
    is_kept: bool,
}

impl HttpClient {
    pub(super) fn new(collector: &Collector) -> Result<Self, Error> {
        let url = Url::parse(&collector.url, None)?;
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-protobuf\r\nUser-Agent: ops-telemetry/{}\r\n",
            url.path,
            url.authority(),
            env!("CARGO_PKG_VERSION")
        );
        for (name, value) in &collector.headers {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            if !is_name || value.contains(['\r', '\n', '\0']) {
                return Err(no_header(name));
            }
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        Ok(Self {
            #[cfg(feature = "otlp-tls")]
            tls: if url.is_tls { Some(super::tls::config(collector, b"http/1.1")?) } else { None },
            url,
            head,
            kept: None,
        })
    }

    fn exchange(&mut self, body: &[u8], until: Instant) -> io::Result<Answer> {
        let mut connection = match self.kept.take() {
            Some(connection) => connection,
            None => self.secured(Timed { stream: dial(&self.url, until)?, until })?,
        };
        connection.timed().until = until;
        let mut request = format!("{}Content-Length: {}\r\n\r\n", self.head, body.len()).into_bytes();
        request.extend_from_slice(body);
        connection.write_all(&request).and_then(|()| connection.flush()).map_err(in_time)?;
        let answer = read(&mut connection).map_err(in_time)?;
        if answer.is_kept {
            self.kept = Some(connection);
        }
        Ok(answer)
    }

    #[cfg(feature = "otlp-tls")]
    fn secured(&self, stream: Timed) -> io::Result<Connection> {
        let Some(config) = &self.tls else { return Ok(Connection::Plain(stream)) };
        let name =
            rustls::pki_types::ServerName::try_from(self.url.host.clone()).map_err(io::Error::other)?;
        let connection =
            rustls::ClientConnection::new(std::sync::Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Connection::Tls(Box::new(rustls::StreamOwned::new(connection, stream))))
    }

    #[cfg(not(feature = "otlp-tls"))]
    #[expect(clippy::unused_self, reason = "the other one of the two needs it")]
    fn secured(&self, stream: Timed) -> io::Result<Connection> {
        Ok(Connection::Plain(stream))
    }
}

impl Client for HttpClient {
    fn address(&self) -> String {
        self.url.authority()
    }

    fn post(&mut self, body: &[u8], until: Instant) -> Sent {
        let is_used = self.kept.is_some();
        let mut answer = self.exchange(body, until);
        // The other side may close a connection that rests at any time: that is no answer yet.
        if is_used && answer.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::TimedOut) {
            answer = self.exchange(body, until);
        }
        match answer {
            Ok(answer) => answer.judge(),
            Err(error) => Sent::Unanswered(error.to_string()),
        }
    }
}

impl Answer {
    /// Decides as the tables of OTLP/HTTP do.
    fn judge(self) -> Sent {
        match self.status {
            200..=299 => {
                let (rejected, why) = partial_success(&self.body);
                Sent::Taken { rejected, why }
            }
            status @ (429 | 502 | 503 | 504) => {
                Sent::Later { after: self.retry_after, why: format!("it answers with status {status}") }
            }
            status => Sent::Refused(format!("it answers with status {status}")),
        }
    }
}

/// Reads one answer, the body included, so that the connection can be used again.
fn read(stream: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    loop {
        let end = fill(stream, &mut bytes, |bytes| find(bytes, b"\r\n\r\n"))?;
        let head =
            std::str::from_utf8(&bytes[..end]).map_err(|_| broken("its headers are no text"))?.to_owned();
        bytes.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| broken("it does not speak HTTP/1.1"))?;
        // An interim answer; the real one follows.
        if (100..200).contains(&status) {
            continue;
        }
        let headers: Vec<(&str, &str)> =
            lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name, value.trim())).collect();
        let header = |name: &str| {
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
        };
        let says =
            |name: &str, word: &str| header(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
        let is_kept = !says("connection", "close") && !head.starts_with("HTTP/1.0");
        let retry_after =
            header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
        let len = header("content-length").and_then(|len| len.parse::<usize>().ok());
        let mut answer = Answer { status, retry_after, body: Vec::new(), is_kept };
        if says("transfer-encoding", "chunked") {
            answer.body = chunked(stream, &mut bytes)?;
        } else if let Some(len) = len {
            fill(stream, &mut bytes, |bytes| (bytes.len() >= len).then_some(len))?;
            bytes.truncate(len);
            answer.body = bytes;
        } else if status != 204 {
            answer.is_kept = false;
            stream.take(MAX_ANSWER as u64).read_to_end(&mut bytes)?;
            answer.body = bytes;
        }
        return Ok(answer);
    }
}

fn chunked(stream: &mut impl Read, bytes: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = fill(stream, bytes, |bytes| find(bytes, b"\r\n"))?;
        let size = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok());
        let size = size.filter(|size| body.len() + size <= MAX_ANSWER);
        let size = size.ok_or_else(|| broken("its answer has no length that can be read"))?;
        bytes.drain(..end + 2);
        if size == 0 {
            // Trailers, up to an empty line.
            loop {
                let end = fill(stream, bytes, |bytes| find(bytes, b"\r\n"))?;
                bytes.drain(..end + 2);
                if end == 0 {
                    return Ok(body);
                }
            }
        }
        fill(stream, bytes, |bytes| (bytes.len() >= size + 2).then_some(size))?;
        body.extend_from_slice(&bytes[..size]);
        bytes.drain(..size + 2);
    }
}

/// Reads until `done` finds what it wants.
fn fill(
    stream: &mut impl Read,
    bytes: &mut Vec<u8>,
    done: impl Fn(&[u8]) -> Option<usize>,
) -> io::Result<usize> {
    let mut piece = [0; 4096];
    loop {
        if let Some(at) = done(bytes) {
            return Ok(at);
        }
        if bytes.len() > MAX_ANSWER {
            return Err(broken("its answer is too long"));
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")),
            Ok(len) => bytes.extend_from_slice(&piece[..len]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn broken(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl Connection {
    fn timed(&mut self) -> &mut Timed {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "otlp-tls")]
            Self::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(into),
            #[cfg(feature = "otlp-tls")]
            Self::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            #[cfg(feature = "otlp-tls")]
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            #[cfg(feature = "otlp-tls")]
            Self::Tls(stream) => stream.flush(),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)?))?;
        self.stream.read(into)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> io::Result<Answer> {
        read(&mut text.as_bytes())
    }

    #[test]
    fn answers_are_read_whole() {
        let check = |text: &str, status: u16, body: &str, is_kept: bool| {
            let found = answer(text).expect("readable");
            let body = body.as_bytes().to_vec();
            assert_eq!(found, Answer { status, retry_after: None, body, is_kept }, "{text:?}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", 200, "ab", true);
        check("HTTP/1.1 200\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n", 200, "", false);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
        check("HTTP/1.0 200 OK\r\n\r\nto the end", 200, "to the end", false);
        check("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Busy\r\nContent-Length:1\r\n\r\nx", 503, "x", true);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=1\r\nab\r\n1\r\nc\r\n0\r\nt: 1\r\n\r\n";
        check(chunked, 200, "abc", true);
        for broken in [
            "",
            "HTTP/1.1 200 OK\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            &chunked[..chunked.len() - 3],
        ] {
            assert!(answer(broken).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn a_status_decides_whether_to_come_again() {
        let judged = |status: u16, headers: &str| {
            answer(&format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: 0\r\n\r\n"))
                .expect("readable")
                .judge()
        };
        assert_eq!(judged(200, ""), Sent::Taken { rejected: 0, why: String::new() });
        for status in [429, 502, 503, 504] {
            assert!(matches!(judged(status, ""), Sent::Later { after: None, .. }), "{status}");
        }
        let after = Some(Duration::from_secs(7));
        assert!(
            matches!(judged(429, "Retry-After: 7\r\n"), Sent::Later { after: found, .. } if found == after)
        );
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert!(matches!(judged(status, ""), Sent::Refused(_)), "{status}");
        }
    }
}
