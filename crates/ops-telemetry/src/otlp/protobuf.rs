//! As much of the protobuf wire format (Protocol Buffers, "Encoding") as OTLP needs. Pure.

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// A message that is being written. Numbers that are zero and texts that are empty are left out, as proto3 says, except
/// where a method says otherwise.
#[derive(Debug, Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    pub(super) fn varint(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.varint_even_zero(field, value);
        }
    }

    /// For a member of a `oneof`: its presence is what it says.
    pub(super) fn varint_even_zero(&mut self, field: u8, value: u64) {
        self.tag(field, VARINT);
        put_varint(&mut self.0, value);
    }

    pub(super) fn fixed64(&mut self, field: u8, value: u64) {
        if value != 0 {
            self.fixed64_even_zero(field, value);
        }
    }

    pub(super) fn fixed64_even_zero(&mut self, field: u8, value: u64) {
        self.tag(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u8, value: u32) {
        if value != 0 {
            self.tag(field, FIXED32);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// Always written: that a sum is zero is worth saying.
    pub(super) fn double(&mut self, field: u8, value: f64) {
        self.fixed64_even_zero(field, value.to_bits());
    }

    pub(super) fn bytes(&mut self, field: u8, value: &[u8]) {
        if !value.is_empty() {
            self.bytes_even_empty(field, value);
        }
    }

    pub(super) fn bytes_even_empty(&mut self, field: u8, value: &[u8]) {
        self.tag(field, BYTES);
        put_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn text(&mut self, field: u8, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// Numbers of eight bytes, one after the other.
    pub(super) fn packed64(&mut self, field: u8, values: impl ExactSizeIterator<Item = u64>) {
        if values.len() > 0 {
            self.tag(field, BYTES);
            put_varint(&mut self.0, values.len() as u64 * 8);
            values.for_each(|value| self.0.extend_from_slice(&value.to_le_bytes()));
        }
    }

    /// Writes a message within this one, empty or not.
    pub(super) fn message(&mut self, field: u8, write: impl FnOnce(&mut Self)) {
        self.tag(field, BYTES);
        let start = self.0.len();
        write(self);
        // The length stands before what it measures, and is not known before.
        let len = self.0.len() - start;
        let mut head = Vec::with_capacity(10);
        put_varint(&mut head, len as u64);
        self.0.extend_from_slice(&head);
        self.0[start..].rotate_right(head.len());
    }

    fn tag(&mut self, field: u8, wire: u8) {
        put_varint(&mut self.0, u64::from(field) << 3 | u64::from(wire));
    }
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The value of a field that was read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Walks the fields of a message; stops at the first thing that is none.
pub(super) fn fields(mut bytes: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let tag = take_varint(&mut bytes)?;
        let value = match (tag & 7) as u8 {
            VARINT => Value::Number(take_varint(&mut bytes)?),
            FIXED64 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?)),
            FIXED32 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4)?.try_into().ok()?).into()),
            BYTES => {
                let len = usize::try_from(take_varint(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, len)?)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    })
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(head)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        let mut message = Message::default();
        message.varint(1, 150);
        message.text(2, "testing");
        message.message(3, |inner| inner.varint(1, 150));
        let expected = [
            0x08, 0x96, 0x01, 0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67, 0x1a, 0x03, 0x08, 0x96,
            0x01,
        ];
        assert_eq!(message.0, expected);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, text: String, inner in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut message = Message::default();
            message.varint_even_zero(1, number);
            message.fixed64_even_zero(2, number);
            message.message(15, |inside| inside.bytes_even_empty(1, &inner));
            message.bytes_even_empty(16, text.as_bytes());
            let found: Vec<_> = fields(&message.0).collect();
            prop_assert_eq!(found.len(), 4);
            prop_assert_eq!(found[0], (1, Value::Number(number)));
            prop_assert_eq!(found[1], (2, Value::Number(number)));
            let (15, Value::Bytes(inside)) = found[2] else { panic!("{:?}", found[2]) };
            prop_assert_eq!(fields(inside).next(), Some((1, Value::Bytes(&inner[..]))));
            prop_assert_eq!(found[3], (16, Value::Bytes(text.as_bytes())));
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes: Vec<u8>) {
            for _ in fields(&bytes) {}
        }
    }
}
