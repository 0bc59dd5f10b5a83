//! The fields of a span or an event, as JSON members, ready to be copied into a line.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};

use crate::json;
use crate::keys::{Key, KeyRules};
use crate::redact::{REDACTED, Redaction};

/// The longest value, in bytes of JSON; what is longer is cut.
pub(crate) const MAX_VALUE_LEN: usize = 8 * 1024;

/// The key under which `tracing` passes an event's message.
pub(crate) const MESSAGE: &str = "message";

/// How many sets of a thread's spans are kept for the next ones, and how large each may be.
const KEPT_SETS: usize = 64;
const MAX_KEPT_LEN: usize = 4 * 1024;

thread_local! {
    static POOL: RefCell<Vec<Fields>> = const { RefCell::new(Vec::new()) };
}

/// Fields as `,"key":value,"key":value`; each key stands once, with its latest value.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    text: Vec<u8>,
    entries: Vec<Entry>,
    truncated: bool,
    /// The bits of all keys that were ever here.
    bits: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: &'static str,
    bit: u64,
    start: usize,
    /// Where the value begins, after the key and its colon.
    value: usize,
    end: usize,
}

/// One field of [`Fields`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member<'a> {
    pub(crate) key: &'static str,
    /// The whole member, with its leading comma.
    pub(crate) text: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl Fields {
    /// Takes an empty set that an earlier span of this thread has left, if there is one.
    pub(crate) fn pooled() -> Self {
        let kept = POOL.try_with(|pool| pool.try_borrow_mut().ok().and_then(|mut pool| pool.pop()));
        kept.ok().flatten().unwrap_or_default()
    }

    /// Leaves the memory of this set to the next span of this thread.
    pub(crate) fn recycle(mut self) {
        if self.text.capacity() == 0 || self.text.capacity() > MAX_KEPT_LEN {
            return;
        }
        self.clear();
        let _ = POOL.try_with(|pool| {
            if let Ok(mut pool) = pool.try_borrow_mut()
                && pool.len() < KEPT_SETS
            {
                pool.push(self);
            }
        });
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
        self.truncated = false;
        self.bits = 0;
    }

    /// Tells whether a value was cut.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// Returns one bit for each key; two sets that share none share no key.
    pub(crate) fn bits(&self) -> u64 {
        self.bits
    }

    /// Returns all members as one text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.iter().map(|entry| entry.key)
    }

    /// Returns the members in the order of their first appearance.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Member<'_>> {
        self.entries.iter().map(|entry| Member {
            key: entry.key,
            text: &self.text[entry.start..entry.end],
            value: &self.text[entry.value..entry.end],
        })
    }

    /// Takes over the fields of `newer`, which win.
    pub(crate) fn merge(&mut self, newer: &Self) {
        for Entry { key, bit, start, value, end } in &newer.entries {
            self.remove(key, *bit);
            let moved = self.text.len();
            self.text.extend_from_slice(&newer.text[*start..*end]);
            let (value, end) = (moved + value - start, self.text.len());
            self.entries.push(Entry { key, bit: *bit, start: moved, value, end });
        }
        self.bits |= newer.bits;
        self.truncated |= newer.truncated;
    }

    /// Appends a member by what `write` says of its value, and returns where the value begins.
    pub(crate) fn push(&mut self, key: Key, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        self.remove(key.name, key.bit);
        let start = self.text.len();
        self.text.extend_from_slice(b",\"");
        if key.is_plain {
            self.text.extend_from_slice(key.name.as_bytes());
        } else {
            json::escape(&mut self.text, key.name);
        }
        self.text.extend_from_slice(b"\":");
        let value = self.text.len();
        write(&mut self.text);
        self.bits |= key.bit;
        self.entries.push(Entry { key: key.name, bit: key.bit, start, value, end: self.text.len() });
        value
    }

    /// Cuts every string that is too long, and tells whether there was one.
    pub(crate) fn bound(&mut self, redaction: &Redaction) -> bool {
        let whole = std::mem::take(self);
        let Some(_) = whole.entries.iter().find(|entry| entry.end - entry.value > MAX_VALUE_LEN) else {
            *self = whole;
            return false;
        };
        for member in whole.iter() {
            let mut value = member.value.to_vec();
            bound(&mut value, redaction);
            self.push(Key::shown(member.key), |text| text.extend_from_slice(&value));
        }
        self.truncated = true;
        true
    }

    fn remove(&mut self, key: &str, bit: u64) {
        if self.bits & bit == 0 {
            return;
        }
        let Some(index) = self.entries.iter().position(|entry| entry.key == key) else { return };
        let removed = self.entries.remove(index);
        let len = removed.end - removed.start;
        self.text.drain(removed.start..removed.end);
        for entry in &mut self.entries[index..] {
            entry.start -= len;
            entry.value -= len;
            entry.end -= len;
        }
    }
}

/// Writes what `tracing` records into [`Fields`].
pub(crate) struct Recorder<'a> {
    pub(crate) fields: &'a mut Fields,
    /// Where the message goes, as a JSON string; `None` where `message` is a field like others, as in a span.
    pub(crate) message: Option<&'a mut Vec<u8>>,
    pub(crate) keys: &'a KeyRules,
    pub(crate) redaction: &'a Redaction,
}

impl Recorder<'_> {
    fn value(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let name = field.name();
        if name == MESSAGE
            && let Some(message) = self.message.as_deref_mut()
        {
            message.clear();
            write(message);
            if message.len() > MAX_VALUE_LEN {
                self.fields.truncated |= shorten(message, 0, self.redaction);
            }
            return;
        }
        let key = self.keys.key(name);
        if key.is_masked {
            self.redaction.count_field();
            self.fields.push(key, |text| text.extend_from_slice(REDACTED));
            return;
        }
        let value = self.fields.push(key, write);
        let Fields { text, entries, truncated, .. } = &mut *self.fields;
        if text.len() - value > MAX_VALUE_LEN {
            *truncated |= shorten(text, value, self.redaction);
            if let Some(last) = entries.last_mut() {
                last.end = text.len();
            }
        }
    }

    fn string(&mut self, field: &Field, write: impl FnOnce(&mut json::Escaped<'_>)) {
        self.value(field, |text| {
            text.push(b'"');
            write(&mut json::Escaped(text));
            text.push(b'"');
        });
    }
}

/// Cuts a JSON string that is too long, and tells whether it was.
pub(crate) fn bound(string: &mut Vec<u8>, redaction: &Redaction) -> bool {
    string.len() > MAX_VALUE_LEN && shorten(string, 0, redaction)
}

/// Cuts the string that starts at `start` and ends with the text, and tells that it did. Secrets are removed first: half
/// of one would not be recognised later.
fn shorten(text: &mut Vec<u8>, start: usize, redaction: &Redaction) -> bool {
    let mut inside = text[start + 1..text.len() - 1].to_vec();
    text.truncate(start);
    redaction.redact(&mut inside);
    let end = json::fitting_prefix(&inside, MAX_VALUE_LEN);
    if json::is_string_inside(&inside[..end]) {
        text.push(b'"');
        text.extend_from_slice(&inside[..end]);
        text.push(b'"');
    } else {
        text.extend_from_slice(REDACTED);
    }
    true
}

impl Visit for Recorder<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, |text| json::write_f64(text, value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, |text| json::write_i64(text, value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, |text| json::write_u64(text, value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.value(field, |text| write!(text, "{value}").expect("writing to memory cannot fail"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.value(field, |text| write!(text, "{value}").expect("writing to memory cannot fail"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        let text: &[u8] = if value { b"true" } else { b"false" };
        let key = self.keys.key(field.name());
        if key.is_masked {
            // A truth value tells nobody a secret.
            self.fields.push(key, |out| out.extend_from_slice(text));
        } else {
            self.value(field, |out| out.extend_from_slice(text));
        }
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
            fields.push(Key::shown(key), |text| text.extend_from_slice(value.as_bytes()));
        }
        fields
    }

    #[test]
    fn the_latest_value_wins_and_takes_no_more_room() {
        let mut all = fields(&[("a", "1"), ("b", "22"), ("c", "333")]);
        for _ in 0..100 {
            all.merge(&fields(&[("b", "4444"), ("d", "5")]));
        }
        let found: Vec<_> = all.iter().map(|member| (member.key, member.value)).collect();
        assert_eq!(found, [("a", &b"1"[..]), ("c", b"333"), ("b", b"4444"), ("d", b"5")]);
        assert_eq!(all.text(), br#","a":1,"c":333,"b":4444,"d":5"#);
        assert!(all.contains("d") && !all.contains("e"));
    }

    #[test]
    fn a_recycled_set_comes_back_empty() {
        fields(&[("a", "1")]).recycle();
        let again = Fields::pooled();
        assert!(again.keys().next().is_none() && again.text.capacity() > 0);
        Fields { text: vec![0; 2 * MAX_KEPT_LEN], ..Fields::default() }.recycle();
        assert!(Fields::pooled().text.capacity() <= MAX_KEPT_LEN);
    }
}
