//! What a collector says of the records that it took, whatever the transport. Pure.

use super::protobuf::{self, Value};

/// The longest answer that is read.
pub(super) const MAX_ANSWER: usize = 1 << 20;

/// Reads how many records an `Export…ServiceResponse` rejects, and why.
pub(super) fn partial_success(body: &[u8]) -> (u64, String) {
    let (mut rejected, mut why) = (0, String::new());
    for (field, value) in protobuf::fields(body) {
        let (1, Value::Bytes(inner)) = (field, value) else { continue };
        for inside in protobuf::fields(inner) {
            match inside {
                (1, Value::Number(count)) => rejected = count,
                (2, Value::Bytes(text)) => why = String::from_utf8_lossy(text).chars().take(200).collect(),
                _ => {}
            }
        }
    }
    (rejected, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_is_not_a_success() {
        let mut message = protobuf::Message::default();
        message.message(1, |inner| {
            inner.varint(1, 3);
            inner.text(2, "too old");
        });
        assert_eq!(partial_success(&message.0), (3, "too old".into()));
        assert_eq!(partial_success(b""), (0, String::new()));
    }
}
