//! What the messages of a replication session say. Pure.
//!
//! Source: the manual's chapter "Frontend/Backend Protocol", sections "Message Formats" and "Streaming Replication
//! Protocol", of PostgreSQL 14 to 18.

use std::fmt;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use jiff::Timestamp;
use postgres_protocol::message::frontend;

use super::frame::Frame;
use crate::error::{Error, ErrorKind, Result};
use crate::postgres::lsn::Lsn;

/// One row of an answer: a value is `None` where it is null.
pub(crate) type Row = Vec<Option<Bytes>>;

/// One message of an answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A set of rows begins, with so many columns.
    Columns(usize),
    /// A row of the set.
    Row(Row),
    /// The server begins to send data.
    CopyOut,
    /// The server waits for data.
    CopyIn,
    /// The server begins to send data, and listens.
    CopyBoth,
    /// A piece of that data; it may be empty.
    Data(Bytes),
    /// The data is at its end.
    CopyDone,
    /// A part of the command is done: its tag, for example `SELECT`.
    Complete(Bytes),
    /// The whole command is done; the next one may be sent.
    Ready,
}

/// Reads a message of an answer; `None` where it tells nothing about it (a notice, a changed setting).
///
/// # Errors
/// What the server refused, `Corrupt` for a message that breaks the protocol.
pub(super) fn reply(frame: Frame) -> Result<Option<Reply>> {
    let mut body = frame.body;
    Ok(Some(match frame.tag {
        b'T' => Reply::Columns(usize::from(u16_of(&mut body)?)),
        b'D' => Reply::Row(row(body)?),
        b'H' => Reply::CopyOut,
        b'G' => Reply::CopyIn,
        b'W' => Reply::CopyBoth,
        b'd' => Reply::Data(body),
        b'c' => Reply::CopyDone,
        b'C' => Reply::Complete(text(&mut body)?),
        b'I' => Reply::Complete(Bytes::new()),
        b'Z' => Reply::Ready,
        b'E' => return Err(refusal(body)),
        b'N' => {
            let notice = Refusal::read(body);
            tracing::debug!(code = notice.code, notice = notice.message, "the server says");
            return Ok(None);
        }
        b'S' | b'A' => return Ok(None),
        tag => return Err(unexpected(tag)),
    }))
}

/// What a server says as it refuses a request or ends a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The SQLSTATE, for example `42704`.
    pub(crate) code: String,
    message: String,
    detail: String,
    hint: String,
}

impl Refusal {
    /// Reads the fields of an error or notice; one that is cut short still says what it holds.
    fn read(mut body: Bytes) -> Self {
        let mut refusal = Refusal::default();
        while body.has_remaining() {
            let field = body.get_u8();
            let Ok(value) = text(&mut body) else { break };
            let value = String::from_utf8_lossy(&value).into_owned();
            match field {
                b'C' => refusal.code = value,
                b'M' => refusal.message = value,
                b'D' => refusal.detail = value,
                b'H' => refusal.hint = value,
                _ => {}
            }
        }
        refusal
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.message, self.code)?;
        for (name, text) in [("detail", &self.detail), ("hint", &self.hint)] {
            if !text.is_empty() {
                write!(f, "; {name}: {}", text.replace('\n', " "))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// The error for what a server answers with: one that may pass is `Unavailable`.
pub(super) fn refusal(body: Bytes) -> Error {
    let refusal = Refusal::read(body);
    // Connection trouble, too many connections, a server that starts, stops or has crashed.
    let passes = matches!(refusal.code.get(..2), Some("08"))
        || refusal.code == "53300"
        || matches!(refusal.code.as_str(), "57P01" | "57P02" | "57P03");
    let kind = if passes { ErrorKind::Unavailable } else { ErrorKind::Postgres };
    Error::new(kind, "the server refused").with_source(refusal)
}

/// Returns the SQLSTATE of a refusal, however deep it lies.
pub(crate) fn sqlstate(error: &Error) -> Option<&str> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref::<Refusal>() {
            return Some(&refusal.code);
        }
        cause = error.source();
    }
    None
}

pub(super) fn unexpected(tag: u8) -> Error {
    Error::corrupt(format!("the server sent a message {:?} where none may come", char::from(tag)))
}

/// A message of a stream of WAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WalMessage {
    /// Bytes of WAL, the first of them at `start`.
    Data {
        start: Lsn,
        /// How far the server's own WAL is durable.
        server_end: Lsn,
        bytes: Bytes,
    },
    /// A sign of life.
    Keepalive {
        server_end: Lsn,
        /// Whether the server wants to hear at once how far we are.
        reply: bool,
    },
}

/// Reads a piece of data of a stream of WAL; `None` for an empty one, which some servers send.
pub(crate) fn wal_message(mut data: Bytes) -> Result<Option<WalMessage>> {
    if data.is_empty() {
        return Ok(None);
    }
    let tag = data.get_u8();
    match tag {
        b'w' if data.len() >= 24 => {
            let (start, server_end) = (Lsn(data.get_u64()), Lsn(data.get_u64()));
            data.advance(8);
            Ok(Some(WalMessage::Data { start, server_end, bytes: data }))
        }
        b'k' if data.len() >= 17 => {
            let server_end = Lsn(data.get_u64());
            data.advance(8);
            Ok(Some(WalMessage::Keepalive { server_end, reply: data.get_u8() != 0 }))
        }
        b'w' | b'k' => Err(Error::corrupt("the server sent a message of its WAL stream that is cut short")),
        tag => Err(unexpected(tag)),
    }
}

/// Writes how far we are, as one whole message. A position of zero says nothing to the server.
pub(super) fn standby_status(write: Lsn, flush: Lsn, apply: Lsn, reply: bool, now: Timestamp) -> BytesMut {
    /// The first moment of the year 2000, where the server's clock begins.
    const EPOCH: i64 = 946_684_800_000_000;
    let mut status = BytesMut::with_capacity(34);
    status.put_u8(b'r');
    for lsn in [write, flush, apply] {
        status.put_u64(lsn.0);
    }
    status.put_i64(now.as_microsecond() - EPOCH);
    status.put_u8(u8::from(reply));
    let mut message = BytesMut::new();
    frontend::CopyData::new(status).expect("34 bytes are a message").write(&mut message);
    message
}

/// Reads the values of a row.
fn row(mut body: Bytes) -> Result<Row> {
    let columns = u16_of(&mut body)?;
    let mut row = Vec::with_capacity(usize::from(columns).min(64));
    for _ in 0..columns {
        if body.len() < 4 {
            return Err(short());
        }
        row.push(match body.get_i32() {
            -1 => None,
            length => match usize::try_from(length) {
                Ok(length) if length <= body.len() => Some(body.split_to(length)),
                _ => return Err(short()),
            },
        });
    }
    Ok(row)
}

/// Takes a text that ends with a zero byte.
pub(super) fn text(body: &mut Bytes) -> Result<Bytes> {
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(short)?;
    let text = body.split_to(end);
    body.advance(1);
    Ok(text)
}

fn u16_of(body: &mut Bytes) -> Result<u16> {
    if body.len() < 2 { Err(short()) } else { Ok(body.get_u16()) }
}

pub(super) fn short() -> Error {
    Error::corrupt("the server sent a message that is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &'static [u8]) -> Frame {
        Frame { tag, body: Bytes::from_static(body) }
    }

    #[test]
    fn answers_are_read_and_short_ones_refused() {
        let some = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let row = frame(b'D', b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0");
        assert_eq!(reply(row.clone()).unwrap(), Some(Reply::Row(vec![some("ab"), None, some("")])));
        for length in 0..row.body.len() {
            let cut = Frame { tag: b'D', body: row.body.slice(..length) };
            assert!(reply(cut).is_err(), "cut to {length}");
        }
        for (tag, body, expected) in [
            (b'T', &b"\0\x04rest"[..], Some(Reply::Columns(4))),
            (b'C', b"SELECT\0", Some(Reply::Complete(Bytes::from_static(b"SELECT")))),
            (b'd', b"", Some(Reply::Data(Bytes::new()))),
            (b'Z', b"I", Some(Reply::Ready)),
            (b'N', b"SNOTICE\0", None),
            (b'S', b"a\0b\0", None),
        ] {
            assert_eq!(reply(frame(tag, body)).unwrap(), expected, "{tag}");
        }
        assert!(reply(frame(b'?', b"")).is_err());
        assert!(reply(frame(b'C', b"SELECT")).is_err());
    }

    #[test]
    fn a_refusal_says_what_and_whether_it_passes() {
        for (code, kind) in [
            ("42704", ErrorKind::Postgres),
            ("28P01", ErrorKind::Postgres),
            ("57P03", ErrorKind::Unavailable),
            ("53300", ErrorKind::Unavailable),
            ("08006", ErrorKind::Unavailable),
        ] {
            let body = format!("SERROR\0C{code}\0Mno such thing\0Hlook\nelsewhere\0\0");
            let error = reply(Frame { tag: b'E', body: Bytes::from(body) }).unwrap_err();
            assert_eq!((error.kind(), sqlstate(&error)), (kind, Some(code)));
            let cause = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(cause, format!("no such thing (SQLSTATE {code}); hint: look elsewhere"));
        }
        // One that is cut says what is left of it.
        assert_eq!(Refusal::read(Bytes::from_static(b"C42704\0Mhalf")).code, "42704");
    }

    #[test]
    fn the_messages_of_a_wal_stream_are_read() {
        let mut data = vec![b'w'];
        for number in [0x100_u64, 0x200, 7] {
            data.extend(number.to_be_bytes());
        }
        data.extend(b"wal");
        let bytes = Bytes::from_static(b"wal");
        let expected = WalMessage::Data { start: Lsn(0x100), server_end: Lsn(0x200), bytes };
        assert_eq!(wal_message(Bytes::from(data.clone())).unwrap(), Some(expected));
        assert!(wal_message(Bytes::from(data).slice(..24)).is_err());
        let mut keepalive = vec![b'k'];
        for number in [0x200_u64, 7] {
            keepalive.extend(number.to_be_bytes());
        }
        assert!(wal_message(Bytes::from(keepalive.clone())).is_err());
        keepalive.push(1);
        let expected = WalMessage::Keepalive { server_end: Lsn(0x200), reply: true };
        assert_eq!(wal_message(Bytes::from(keepalive)).unwrap(), Some(expected));
        assert_eq!(wal_message(Bytes::new()).unwrap(), None);
        assert!(wal_message(Bytes::from_static(b"?")).is_err());
    }

    #[test]
    fn a_status_is_what_the_manual_says() {
        let now = Timestamp::from_second(946_684_801).unwrap();
        let status = standby_status(Lsn(1), Lsn(2), Lsn(3), true, now);
        let mut expected = b"d\0\0\0\x26r".to_vec();
        for number in [1_u64, 2, 3, 1_000_000] {
            expected.extend(number.to_be_bytes());
        }
        expected.push(1);
        assert_eq!(status.as_ref(), expected);
    }
}
