//! The fields of a span or an event, as JSON members, ready to be copied into a line.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};

use crate::json;
use crate::redact::Redactor;

/// The longest value, in bytes of JSON; what is longer is cut.
pub(crate) const MAX_VALUE_LEN: usize = 8 * 1024;

/// The key under which `tracing` passes an event's message.
pub(crate) const MESSAGE: &str = "message";

/// Keys that belong to the line itself, and what a user's field of that name is called instead.
const RESERVED: [(&str, &str); 10] = [
    ("timestamp", "field.timestamp"),
    ("level", "field.level"),
    (MESSAGE, "field.message"),
    ("target", "field.target"),
    ("trace_id", "field.trace_id"),
    ("span_id", "field.span_id"),
    ("trace_flags", "field.trace_flags"),
    ("service.name", "field.service.name"),
    ("service.version", "field.service.version"),
    ("truncated", "field.truncated"),
];

/// Fields with their values already serialised; each key stands once, with its latest value.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    text: Vec<u8>,
    entries: Vec<Entry>,
    truncated: bool,
}

#[derive(Debug)]
struct Entry {
    key: &'static str,
    end: usize,
}

impl Fields {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.truncated = false;
    }

    /// Tells whether a value was cut.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Returns the keys and their values in the order of their first appearance.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let value = &self.text[start..entry.end];
            start = entry.end;
            (entry.key, value)
        })
    }

    /// Takes over the fields of `newer`, which win.
    pub(crate) fn merge(&mut self, newer: &Self) {
        for (key, value) in newer.iter() {
            self.remove(key);
            self.text.extend_from_slice(value);
            self.entries.push(Entry { key, end: self.text.len() });
        }
        self.truncated |= newer.truncated;
    }

    fn remove(&mut self, key: &str) {
        let Some(index) = self.entries.iter().position(|entry| entry.key == key) else { return };
        let start = index.checked_sub(1).map_or(0, |before| self.entries[before].end);
        let removed = self.entries.remove(index).end - start;
        self.text.drain(start..start + removed);
        for entry in &mut self.entries[index..] {
            entry.end -= removed;
        }
    }
}

/// Writes what `tracing` records into [`Fields`].
pub(crate) struct Recorder<'a> {
    pub(crate) fields: &'a mut Fields,
    /// Whether the field `message` is the line's message, as in an event, or a field like others, as in a span.
    pub(crate) is_event: bool,
    pub(crate) redactor: Option<&'a dyn Redactor>,
}

impl Recorder<'_> {
    fn value(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let key = self.key(field.name());
        self.fields.remove(key);
        let start = self.fields.text.len();
        write(&mut self.fields.text);
        if self.fields.text.len() - start > MAX_VALUE_LEN {
            self.shorten(start);
        }
        self.fields.entries.push(Entry { key, end: self.fields.text.len() });
    }

    fn string(&mut self, field: &Field, write: impl FnOnce(&mut json::Escaped<'_>)) {
        self.value(field, |text| {
            text.push(b'"');
            write(&mut json::Escaped(text));
            text.push(b'"');
        });
    }

    fn key(&self, name: &'static str) -> &'static str {
        if self.is_event && name == MESSAGE {
            return MESSAGE;
        }
        let name = name.strip_prefix("r#").unwrap_or(name);
        RESERVED.iter().find(|(reserved, _)| *reserved == name).map_or(name, |(_, renamed)| renamed)
    }

    /// Cuts the string that starts at `start`. Secrets are removed first: half of one would not be recognised later.
    fn shorten(&mut self, start: usize) {
        let text = &mut self.fields.text;
        let mut inside = text[start + 1..text.len() - 1].to_vec();
        text.truncate(start);
        if let Some(redactor) = self.redactor {
            redactor.redact(&mut inside);
        }
        let end = json::fitting_prefix(&inside, MAX_VALUE_LEN);
        if json::is_string_inside(&inside[..end]) {
            text.push(b'"');
            text.extend_from_slice(&inside[..end]);
            text.push(b'"');
        } else {
            text.extend_from_slice(b"\"[redacted]\"");
        }
        self.fields.truncated = true;
    }
}

impl Visit for Recorder<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, |text| json::write_f64(text, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record_i128(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record_i128(field, value.into());
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.value(field, |text| write!(text, "{value}").expect("writing to memory cannot fail"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.value(field, |text| write!(text, "{value}").expect("writing to memory cannot fail"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, |text| text.extend_from_slice(if value { b"true" } else { b"false" }));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.value(field, |text| {
            text.push(b'"');
            json::escape(text, value);
            text.push(b'"');
        });
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.string(field, |text| {
            let _ = write!(text, "{value}");
            let mut source = value.source();
            while let Some(cause) = source {
                let _ = write!(text, ": {cause}");
                source = cause.source();
            }
        });
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A `Debug` that fails leaves what it wrote so far.
        self.string(field, |text| {
            let _ = write!(text, "{value:?}");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (key, value) in pairs {
            fields.text.extend_from_slice(value.as_bytes());
            fields.entries.push(Entry { key, end: fields.text.len() });
        }
        fields
    }

    #[test]
    fn the_latest_value_wins_and_takes_no_more_room() {
        let mut all = fields(&[("a", "1"), ("b", "22"), ("c", "333")]);
        for _ in 0..100 {
            all.merge(&fields(&[("b", "4444"), ("d", "5")]));
        }
        let found: Vec<_> = all.iter().collect();
        assert_eq!(found, [("a", &b"1"[..]), ("c", b"333"), ("b", b"4444"), ("d", b"5")]);
        assert_eq!(all.text.len(), 9);
        assert!(all.contains("d") && !all.contains("e"));
    }
}
