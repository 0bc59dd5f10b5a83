//! Messages of the wire protocol, cut from a byte stream and written to it. Knows no meaning of any message.
//!
//! Source: the manual's chapter "Frontend/Backend Protocol", section "Message Formats": one byte of type, four bytes of
//! length (which count themselves), the body. A message is handed on as a slice of what was read, without a copy.

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::error::{Error, ErrorKind, Result};

/// A byte stream to a server: a socket, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

const HEADER: usize = 5;
/// How much is asked of the socket at once.
const CHUNK: usize = 64 << 10;
/// No server sends more before it knows who asks: what claims to be longer is no server.
pub(super) const LIMIT_BEFORE_LOGIN: usize = 64 << 10;
/// The longest message afterwards: WAL and files come in pieces of at most 128 KiB; a row may be longer.
pub(super) const LIMIT: usize = 8 << 20;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

/// Takes the first whole message out of `buffer`; `None` where more bytes are needed.
///
/// # Errors
/// `Unavailable` for a length that no message has: the stream is out of step, or the other end is no server.
pub(super) fn cut(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>> {
    let Some(head) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
    let [tag, length @ ..] = *head;
    let length =
        usize::try_from(i32::from_be_bytes(length)).ok().filter(|length| (4..=limit).contains(length));
    let Some(length) = length else {
        let message = "the other end does not speak PostgreSQL's protocol: a message has an absurd length";
        return Err(Error::new(ErrorKind::Unavailable, message));
    };
    if buffer.len() <= length {
        // Room for the rest at once; it is at most the limit.
        buffer.reserve(length + 1 - buffer.len());
        return Ok(None);
    }
    buffer.advance(HEADER);
    Ok(Some(Frame { tag, body: buffer.split_to(length - 4).freeze() }))
}

/// A stream of messages in both directions.
pub(super) struct Frames {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    pub(super) limit: usize,
    /// The bytes do not leave the machine.
    pub(super) is_local: bool,
    /// The other end, for messages.
    pub(super) target: String,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Frames {
    pub(super) fn new(stream: Box<dyn Stream>, is_local: bool, target: String) -> Self {
        Frames { stream, buffer: BytesMut::new(), limit: LIMIT_BEFORE_LOGIN, is_local, target }
    }

    /// Returns the next message. Safe to drop at any await: no byte is lost.
    pub(super) async fn next(&mut self) -> Result<Frame> {
        loop {
            if let Some(frame) = cut(&mut self.buffer, self.limit)? {
                return Ok(frame);
            }
            self.buffer.reserve(CHUNK);
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(|error| self.lost(error))? == 0 {
                let message = format!("{} closed the connection", self.target);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
    }

    /// Sends whole messages, as the functions of `postgres_protocol` write them.
    pub(super) async fn send(&mut self, messages: &[u8]) -> Result<()> {
        let sent = async {
            self.stream.write_all(messages).await?;
            self.stream.flush().await
        };
        sent.await.map_err(|error| self.lost(error))
    }

    fn lost(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::Unavailable, format!("the connection to {} is lost", self.target))
            .with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tag: u8, length: i32, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::from(&[tag][..]);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn messages_are_cut_wherever_the_bytes_are_split() {
        let mut whole = bytes(b'Z', 5, b"I");
        whole.extend_from_slice(&bytes(b'c', 4, b""));
        whole.extend_from_slice(&bytes(b'd', 9, b"hello"));
        for split in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..split]);
            let mut frames = Vec::new();
            while let Some(frame) = cut(&mut buffer, 100).unwrap() {
                frames.push(frame);
            }
            buffer.extend_from_slice(&whole[split..]);
            while let Some(frame) = cut(&mut buffer, 100).unwrap() {
                frames.push(frame);
            }
            let found: Vec<(u8, &[u8])> = frames.iter().map(|frame| (frame.tag, &frame.body[..])).collect();
            assert_eq!(found, [(b'Z', &b"I"[..]), (b'c', b""), (b'd', b"hello")], "split at {split}");
            assert!(buffer.is_empty());
        }
    }

    #[test]
    fn a_hostile_length_is_refused_before_anything_is_reserved() {
        for length in [i32::MIN, -1, 0, 3, 101, i32::MAX] {
            let mut buffer = bytes(b'd', length, b"");
            assert!(cut(&mut buffer, 100).is_err(), "{length}");
            assert!(buffer.capacity() < 1000, "{length}");
        }
        let mut buffer = bytes(b'd', 100, b"");
        assert_eq!(cut(&mut buffer, 100).unwrap(), None);
    }
}
