//! The hook that keeps secrets out of every line. What is secret is known elsewhere.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::json;

/// What stands instead of a value that may not be shown.
pub(crate) const REDACTED: &[u8] = b"\"[redacted]\"";

/// Removes secrets from text that is about to be written.
///
/// Contract: an implementation may be called from many threads at once, and on text inside a JSON string, so it must
/// know a value's escaped form too. It must not log. It is called on whole values, before they are shortened.
pub trait Redactor: Send + Sync {
    /// Replaces every secret in `line` by something that is none.
    fn redact(&self, line: &mut Vec<u8>);
}

/// A value that logs must not show: its `Debug` and `Display` are `[redacted]`.
///
/// ```
/// let password = ops_telemetry::Sensitive::new("hunter2");
/// assert_eq!(format!("{password:?} {password}"), "[redacted] [redacted]");
/// assert_eq!(*password.expose(), "hunter2");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Hides a value.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// Returns the value for the one place that needs it.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// Gives the value back.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<T> fmt::Display for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The redactor of this process, if it has one, and how often it found something.
#[derive(Default)]
pub(crate) struct Redaction {
    redactor: Option<Arc<dyn Redactor>>,
    values: AtomicU64,
    fields: AtomicU64,
}

impl Redaction {
    pub(crate) fn new(redactor: Option<Arc<dyn Redactor>>) -> Self {
        Self { redactor, ..Self::default() }
    }

    /// Counts a field that was masked for its name.
    pub(crate) fn count_field(&self) {
        self.fields.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many texts had a secret in them.
    pub(crate) fn values(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    /// Returns how many fields were masked for their name.
    pub(crate) fn fields(&self) -> u64 {
        self.fields.load(Ordering::Relaxed)
    }

    /// Removes secrets from one text, and tells whether there were any.
    pub(crate) fn redact(&self, text: &mut Vec<u8>) -> bool {
        let Some(redactor) = &self.redactor else { return false };
        let before = text.clone();
        redactor.redact(text);
        let found = *text != before;
        self.values.fetch_add(found.into(), Ordering::Relaxed);
        found
    }

    /// Removes secrets from a JSON string, quotes included, and from the members `,"key":value` after it, and keeps them
    /// what they are. `spare` is working memory.
    pub(crate) fn redact_line(&self, message: &mut Vec<u8>, members: &mut Vec<u8>, spare: &mut Vec<u8>) {
        let Some(redactor) = &self.redactor else { return };
        let at = message.len();
        spare.clear();
        spare.extend_from_slice(message);
        spare.extend_from_slice(members);
        redactor.redact(spare);
        if spare.len() == at + members.len() && spare.starts_with(message) && spare.ends_with(members) {
            return;
        }
        // Something is secret. A replacement across the whole text could break a number or a quote, so each value is
        // treated alone.
        let mut clean = Vec::with_capacity(members.len());
        for member in json::members(members) {
            clean.extend_from_slice(&member.text[..member.text.len() - member.value.len()]);
            self.push_clean(&mut clean, member.value, spare, redactor.as_ref());
        }
        std::mem::swap(members, &mut clean);
        clean.clear();
        self.push_clean(&mut clean, message, spare, redactor.as_ref());
        std::mem::swap(message, &mut clean);
    }

    fn push_clean(&self, out: &mut Vec<u8>, value: &[u8], spare: &mut Vec<u8>, redactor: &dyn Redactor) {
        let inside = json::string_inside(value);
        let before = inside.unwrap_or(value);
        spare.clear();
        spare.extend_from_slice(before);
        redactor.redact(spare);
        if spare == before {
            out.extend_from_slice(value);
            return;
        }
        self.values.fetch_add(1, Ordering::Relaxed);
        if json::is_string_inside(spare) {
            out.push(b'"');
            out.extend_from_slice(spare);
            out.push(b'"');
        } else {
            out.extend_from_slice(REDACTED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Replace(&'static str, &'static str);

    impl Redactor for Replace {
        fn redact(&self, line: &mut Vec<u8>) {
            let text = String::from_utf8(std::mem::take(line)).expect("utf-8");
            *line = text.replace(self.0, self.1).into_bytes();
        }
    }

    #[test]
    fn a_redacted_line_stays_json() {
        let check = |secret: &'static str, by: &'static str, message: &str, members: &str, count: u64| {
            let redaction = Redaction::new(Some(Arc::new(Replace(secret, by))));
            let mut text = (br#""is hunter2""#.to_vec(), br#","n":12345,"b":true,"hunter2":"x""#.to_vec());
            redaction.redact_line(&mut text.0, &mut text.1, &mut Vec::new());
            let text = (String::from_utf8(text.0).expect("utf-8"), String::from_utf8(text.1).expect("utf-8"));
            assert_eq!((text.0.as_str(), text.1.as_str()), (message, members), "{secret}");
            assert_eq!(redaction.values(), count, "{secret}");
        };
        let (plain, rest) = (r#""is hunter2""#, r#","n":12345,"b":true,"hunter2":"x""#);
        check("absent", "-", plain, rest, 0);
        check("hunter2", "[redacted]", r#""is [redacted]""#, rest, 1);
        check("234", "[redacted]", plain, r#","n":"1[redacted]5","b":true,"hunter2":"x""#, 1);
        check("true", "[redacted]", plain, r#","n":12345,"b":"[redacted]","hunter2":"x""#, 1);
        check("hunter2", "\"", r#""[redacted]""#, rest, 1);
        check("\",\"", "gone", plain, rest, 0);
    }

    #[test]
    fn a_text_is_redacted_and_counted() {
        let redaction = Redaction::new(Some(Arc::new(Replace("hunter2", "-"))));
        let mut text = b"is hunter2".to_vec();
        assert!(redaction.redact(&mut text));
        assert_eq!((text.as_slice(), redaction.values()), (&b"is -"[..], 1));
        assert!(!Redaction::default().redact(&mut text));
    }
}
