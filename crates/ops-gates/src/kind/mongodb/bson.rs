//! BSON, as much of it as a probe's commands and their answers have (bsonspec.org, version 1.1).

use serde_json::{Map, Value, json};

/// Bytes, as a command holds them; what is decoded as bytes is given as text.
pub(super) fn binary(text: &str) -> Value {
    json!({ "$binary": text })
}

/// A document with its keys in this order.
pub(super) fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Vec<u8> {
    let mut content = Vec::new();
    for (name, value) in pairs {
        let (kind, bytes) = element(value);
        content.push(kind);
        content.extend(name.as_bytes());
        content.push(0);
        content.extend(bytes);
    }
    content.push(0);
    [&length(content.len() + 4)[..], &content].concat()
}

fn length(length: usize) -> [u8; 4] {
    i32::try_from(length).unwrap_or(i32::MAX).to_le_bytes()
}

fn element(value: &Value) -> (u8, Vec<u8>) {
    match value {
        Value::Null => (0x0a, Vec::new()),
        Value::Bool(value) => (0x08, vec![u8::from(*value)]),
        Value::Number(number) => match number.as_i64().map(i32::try_from) {
            Some(Ok(number)) => (0x10, number.to_le_bytes().to_vec()),
            Some(Err(_)) => (0x12, number.as_i64().unwrap_or_default().to_le_bytes().to_vec()),
            None => (0x01, number.as_f64().unwrap_or_default().to_le_bytes().to_vec()),
        },
        Value::String(text) => (0x02, [&length(text.len() + 1)[..], text.as_bytes(), &[0]].concat()),
        Value::Array(items) => {
            let names: Vec<String> = (0..items.len()).map(|position| position.to_string()).collect();
            (0x04, encode(names.iter().map(String::as_str).zip(items)))
        }
        Value::Object(map) => match map.get("$binary").and_then(Value::as_str) {
            Some(text) => (0x05, [&length(text.len())[..], &[0], text.as_bytes()].concat()),
            None => (0x03, encode(map.iter().map(|(name, value)| (name.as_str(), value)))),
        },
    }
}

/// Reads a document; none where it is not one. Kinds of values that no answer here needs are given as null.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    document(bytes, 0).map(|(value, _)| value)
}

/// Deeper documents are no answers.
const DEEPEST: usize = 64;

fn document(bytes: &[u8], depth: usize) -> Option<(Value, &[u8])> {
    let (content, after) = bytes.split_at_checked(usize::try_from(number(bytes)?).ok()?)?;
    let mut rest = content.get(4..)?;
    let mut map = Map::new();
    loop {
        let (&kind, tail) = rest.split_first()?;
        if kind == 0 {
            return (tail.is_empty() && depth < DEEPEST).then_some((Value::Object(map), after));
        }
        let (name, tail) = text(tail)?;
        let (value, tail) = value(kind, tail, depth)?;
        map.insert(name, value);
        rest = tail;
    }
}

fn value(kind: u8, bytes: &[u8], depth: usize) -> Option<(Value, &[u8])> {
    let skipped = |count: usize| bytes.get(count..).map(|rest| (Value::Null, rest));
    let counted = |extra: usize| -> Option<(&[u8], &[u8])> {
        let count = usize::try_from(number(bytes)?).ok()?;
        bytes.get(4..)?.split_at_checked(count + extra)
    };
    let eight = |bytes: &[u8]| -> Option<[u8; 8]> { bytes.get(..8)?.try_into().ok() };
    match kind {
        0x01 => Some((json!(f64::from_le_bytes(eight(bytes)?)), &bytes[8..])),
        0x02 => {
            let (content, rest) = counted(0)?;
            let content = content.strip_suffix(&[0])?;
            Some((json!(String::from_utf8_lossy(content)), rest))
        }
        0x03 => document(bytes, depth + 1),
        0x04 => {
            let (value, rest) = document(bytes, depth + 1)?;
            let Value::Object(map) = value else { return None };
            let mut items: Vec<_> =
                map.into_iter().map(|(name, item)| (name.parse::<usize>(), item)).collect();
            items.sort_by_key(|(position, _)| position.clone().unwrap_or(usize::MAX));
            Some((Value::Array(items.into_iter().map(|(_, item)| item).collect()), rest))
        }
        0x05 => {
            let (content, rest) = counted(1)?;
            Some((json!(String::from_utf8_lossy(&content[1..])), rest))
        }
        0x06 | 0x0a | 0x7f | 0xff => skipped(0),
        0x07 => skipped(12),
        0x08 => Some((json!(*bytes.first()? != 0), &bytes[1..])),
        0x09 | 0x11 => skipped(8),
        0x0b => {
            let (_, rest) = text(bytes)?;
            text(rest).map(|(_, rest)| (Value::Null, rest))
        }
        0x10 => Some((json!(number(bytes)?), &bytes[4..])),
        0x12 => Some((json!(i64::from_le_bytes(eight(bytes)?)), &bytes[8..])),
        0x13 => skipped(16),
        _ => None,
    }
}

fn number(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_le_bytes(bytes.get(..4)?.try_into().ok()?))
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_no_cut_document_does() {
        let value = json!({ "a": 1, "b": "text", "c": true, "d": null, "e": [1, 2.5, "x"], "f": { "g": 5_000_000_000_i64 } });
        let map = value.as_object().expect("an object");
        let bytes = encode(map.iter().map(|(name, value)| (name.as_str(), value)));
        assert_eq!(decode(&bytes), Some(value.clone()));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None, "{length} bytes");
        }
        // The specification's own example: { "hello": "world" }.
        let hello = json!("world");
        let expected = b"\x16\x00\x00\x00\x02hello\x00\x06\x00\x00\x00world\x00\x00";
        assert_eq!(encode([("hello", &hello)]), expected);
    }
}
