//! Requests and answers of Kafka as bytes (Kafka documentation, "Protocol"), in versions that brokers from 0.11 to 4 speak.

use crate::gate::Context;
use crate::kind::net::{Place, Wire};
use crate::outcome::Finding;
use crate::value::Text;

/// A connection to one broker.
pub(super) struct Broker {
    wire: Wire,
    correlation: i32,
}

/// A request's name: its key and its version.
#[derive(Clone, Copy)]
pub(super) struct Api(pub(super) i16, pub(super) i16);

pub(super) const PRODUCE: Api = Api(0, 3);
pub(super) const FETCH: Api = Api(1, 4);
pub(super) const LIST_OFFSETS: Api = Api(2, 1);
/// The first that can say that topics are not to be made by asking for them.
pub(super) const METADATA: Api = Api(3, 4);
pub(super) const OFFSET_FETCH: Api = Api(9, 1);
pub(super) const FIND_COORDINATOR: Api = Api(10, 0);
pub(super) const SASL_HANDSHAKE: Api = Api(17, 1);
pub(super) const API_VERSIONS: Api = Api(18, 0);
pub(super) const SASL_AUTHENTICATE: Api = Api(36, 0);

impl Broker {
    pub(super) async fn connect(
        context: &Context<'_>,
        place: &Place,
        tls: bool,
        ca_file: Option<&Text>,
    ) -> Result<Self, Finding> {
        Ok(Self { wire: Wire::open_place(context, place, tls, ca_file).await?, correlation: 0 })
    }

    pub(super) fn place(&self) -> &str {
        &self.wire.place
    }

    /// Sends a request and reads the answer to it.
    pub(super) async fn ask(&mut self, api: Api, body: &Out) -> Result<In, Finding> {
        self.correlation += 1;
        let head = Out::new().short(api.0).short(api.1).int(self.correlation).text("ops-gates");
        let length = i32::try_from(head.0.len() + body.0.len()).unwrap_or(i32::MAX);
        self.wire.send(&[&length.to_be_bytes()[..], &head.0, &body.0].concat()).await?;
        let length = self.wire.take(4).await?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        let length = usize::try_from(length).map_err(|_| self.strange())?;
        let mut answer = In { bytes: self.wire.take(length).await?, at: 0 };
        if answer.int() == Some(self.correlation) { Ok(answer) } else { Err(self.strange()) }
    }

    pub(super) fn strange(&self) -> Finding {
        self.wire.strange("this is not Kafka")
    }
}

/// A request's content, written one field after another.
#[derive(Clone, Default)]
pub(super) struct Out(pub(super) Vec<u8>);

impl Out {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub(super) fn byte(self, number: i8) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(super) fn short(self, number: i16) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(super) fn int(self, number: i32) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(super) fn long(self, number: i64) -> Self {
        self.raw(&number.to_be_bytes())
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.short(i16::try_from(text.len()).unwrap_or(i16::MAX)).raw(text.as_bytes())
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        self.int(i32::try_from(bytes.len()).unwrap_or(i32::MAX)).raw(bytes)
    }

    /// A list of things, each written by a function.
    pub(super) fn list<T>(self, items: impl IntoIterator<Item = T>, write: impl Fn(Self, T) -> Self) -> Self {
        let items: Vec<T> = items.into_iter().collect();
        let counted = self.int(i32::try_from(items.len()).unwrap_or(i32::MAX));
        items.into_iter().fold(counted, write)
    }
}

/// An answer's content, read one field after another; none where it ends too early.
pub(super) struct In {
    bytes: Vec<u8>,
    at: usize,
}

impl In {
    fn raw(&mut self, length: usize) -> Option<&[u8]> {
        let found = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(found)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.raw(1).map(|bytes| bytes[0])
    }

    pub(super) fn short(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.raw(2)?.try_into().ok()?))
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.raw(4)?.try_into().ok()?))
    }

    pub(super) fn long(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.raw(8)?.try_into().ok()?))
    }

    /// A text; empty where there is none.
    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.short()?;
        let bytes = self.raw(usize::try_from(length.max(0)).ok()?)?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// Bytes; empty where there are none.
    pub(super) fn content(&mut self) -> Option<Vec<u8>> {
        let length = self.int()?;
        Some(self.raw(usize::try_from(length.max(0)).ok()?)?.to_vec())
    }

    /// A list of things, each read by a function.
    pub(super) fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        (0..self.int()?.max(0)).map(|_| read(self)).collect()
    }
}

/// A batch of one record (format 2), not compressed.
pub(super) fn batch(value: &[u8], milliseconds: i64) -> Vec<u8> {
    let mut record = vec![0, 0, 0];
    // No key.
    record.extend(varint(-1));
    record.extend(varint(i64::try_from(value.len()).unwrap_or(i64::MAX)));
    record.extend(value);
    // No headers.
    record.push(0);
    let rest =
        Out::new().short(0).int(0).long(milliseconds).long(milliseconds).long(-1).short(-1).int(-1).int(1);
    let rest = [rest.0, varint(i64::try_from(record.len()).unwrap_or(i64::MAX)), record].concat();
    let length = i32::try_from(rest.len() + 9).unwrap_or(i32::MAX);
    let head = Out::new().long(0).int(length).int(-1).byte(2).raw(&crc32c::crc32c(&rest).to_be_bytes());
    [head.0, rest].concat()
}

/// Zigzag and seven bits a byte.
fn varint(number: i64) -> Vec<u8> {
    let mut rest = (number << 1 ^ number >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// What an error's number is called in the protocol's table, where a probe meets it.
pub(super) fn error_name(code: i16) -> String {
    let name = match code {
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        17 => "INVALID_TOPIC_EXCEPTION",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        30 => "GROUP_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        33 => "UNSUPPORTED_SASL_MECHANISM",
        35 => "UNSUPPORTED_VERSION",
        58 => "SASL_AUTHENTICATION_FAILED",
        code => return format!("error {code}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_are_written_as_kafka_does() {
        // The examples of Protocol Buffers' zigzag encoding, which Kafka took over.
        for (number, expected) in [
            (0, vec![0]),
            (-1, vec![1]),
            (1, vec![2]),
            (-64, vec![127]),
            (64, vec![128, 1]),
            (150, vec![172, 2]),
        ] {
            assert_eq!(varint(number), expected, "{number}");
        }
    }

    #[test]
    fn an_answer_that_ends_too_early_is_none() {
        let mut answer = In { bytes: vec![0, 0, 0, 2, 0, 1, b'a', 0, 9], at: 0 };
        assert_eq!(answer.list(In::text), None);
        let mut answer = In { bytes: vec![0, 0, 0, 2, 0, 1, b'a', 0xff, 0xff], at: 0 };
        assert_eq!(answer.list(In::text), Some(vec!["a".to_owned(), String::new()]));
    }
}
