//! As much of HTTP/1.1 (RFC 9112) as one question and one answer on a connection need. Pure but for the stream.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::respond::{Answer, MAX_BODY, text};

/// The longest request line and headers together.
const MAX_HEAD: usize = 8192;

/// A stream on which everything together must be done in time, however small the pieces are in which the other side
/// sends or takes it.
pub(super) struct Timed<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) end: Instant,
}

/// A request that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) accept: Option<String>,
    pub(super) has_origin: bool,
    pub(super) body: Vec<u8>,
}

/// What the lines above the body say.
#[derive(Debug)]
struct Head {
    request: Request,
    body_len: usize,
}

impl Timed<'_> {
    fn left(&self) -> io::Result<Duration> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads one request, or says what to answer to what is none. An error is a side that is gone or too slow.
pub(super) fn read(stream: &mut impl Read) -> io::Result<Result<Request, Answer>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    let head_len = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if bytes.len() > MAX_HEAD {
            return Ok(Err(text(431, "the headers are longer than 8192 bytes")));
        }
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    };
    let mut head = match parse(&bytes[..head_len]) {
        Ok(head) => head,
        Err(answer) => return Ok(Err(answer)),
    };
    let mut body = bytes.split_off(head_len);
    while body.len() < head.body_len {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => body.extend_from_slice(&chunk[..count]),
        }
    }
    body.truncate(head.body_len);
    head.request.body = body;
    Ok(Ok(head.request))
}

/// Writes an answer; the connection is over then.
pub(super) fn write(stream: &mut impl Write, answer: &Answer, is_head: bool) -> io::Result<()> {
    let Answer { status, content_type, allow, body } = answer;
    let allow = allow.map_or(String::new(), |methods| format!("Allow: {methods}\r\n"));
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        reason(*status),
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if is_head { Ok(()) } else { stream.write_all(body.as_bytes()) }
}

fn parse(head: &[u8]) -> Result<Head, Answer> {
    let bad = |why: &str| text(400, why);
    let head = std::str::from_utf8(head).map_err(|_| bad("the headers are no UTF-8"))?;
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1" | "HTTP/1.0"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(bad("the first line is no request line of HTTP/1.1"));
    };
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        accept: None,
        has_origin: false,
        body: Vec::new(),
    };
    let mut body_len = None;
    for line in lines.filter(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { return Err(bad("a header lacks its colon")) };
        let value = value.trim_matches([' ', '\t']);
        if name.eq_ignore_ascii_case("accept") {
            let accept = request.accept.get_or_insert_with(String::new);
            accept.push_str(if accept.is_empty() { "" } else { "," });
            accept.push_str(value);
        } else if name.eq_ignore_ascii_case("origin") {
            request.has_origin = true;
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(text(411, "a body needs a Content-Length"));
        } else if name.eq_ignore_ascii_case("content-length") {
            // `parse` would take a plus sign.
            let len = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse::<usize>().ok());
            let Some(Some(len)) = len else { return Err(bad("Content-Length is no number")) };
            if body_len.is_some_and(|known| known != len) {
                return Err(bad("Content-Length is there twice"));
            }
            body_len = Some(len);
        }
    }
    let body_len = body_len.unwrap_or(0);
    if body_len > MAX_BODY {
        return Err(text(413, "the body is longer than 4096 bytes"));
    }
    Ok(Head { request, body_len })
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow client does.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn a_request_is_read_however_it_comes() {
        let text = b"PUT /admin/level?ttl=5 HTTP/1.1\r\nHost: x\r\naccept: a\r\nAccept:\tb \r\nOrigin: y\r\n\
                     Content-Length: 5\r\n\r\ndebugrest";
        let expected = Request {
            method: "PUT".into(),
            target: "/admin/level?ttl=5".into(),
            accept: Some("a,b".into()),
            has_origin: true,
            body: b"debug".to_vec(),
        };
        assert_eq!(read(&mut &text[..]).expect("all there"), Ok(expected));
        let slow = read(&mut Slow(text)).expect("all there").expect("a request");
        assert_eq!(slow.body, b"debug");
        for end in 0..text.len() - 4 {
            assert!(read(&mut Slow(&text[..end])).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn what_is_no_request_gets_an_answer() {
        let check = |request: &str, status: u16| {
            let answer = read(&mut request.as_bytes()).expect("all there").expect_err(request);
            assert_eq!(answer.status, status, "{request:?}");
        };
        check("\r\n\r\n", 400);
        check("GET /\r\n\r\n", 400);
        check("GET / HTTP/2\r\n\r\n", 400);
        check("GET  / HTTP/1.1\r\n\r\n", 400);
        check("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400);
        check("PUT / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", 400);
        check("PUT / HTTP/1.1\r\nContent-Length: \r\n\r\n", 400);
        check("PUT / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400);
        check("PUT / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400);
        check("PUT / HTTP/1.1\r\nContent-Length: 4097\r\n\r\n", 413);
        check("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411);
        check(&format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10_000)), 431);
    }
}
