//! Finished spans and log records as values of their own: the seam to whoever sends them on.
//!
//! Nothing is collected for it where no sink is installed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::context::{SpanId, TraceContext};
use crate::json;
use crate::severity::Severity;

/// Takes finished spans and log records.
///
/// Contract: called in the thread that ends a span or logs, with no lock held; it must return at once, never block on
/// another system, and never log. What it is given is redacted and bounded already.
pub(crate) trait Sink: Send + Sync {
    /// Takes a recorded span that has ended.
    fn span(&self, span: SpanRecord);

    /// Takes a line that was written.
    fn log(&self, log: LogRecord);

    /// Delivers what it was given so far, and tells whether that is settled.
    fn flush(&self, until: Instant) -> bool;

    /// Delivers what it has until the deadline, and tells what it could not deliver since the start.
    fn shutdown(&self, until: Instant) -> Undelivered;
}

/// What could not be delivered to a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Recorded spans that were given up.
    pub spans: u64,
    /// Log records that were given up.
    pub logs: u64,
    /// Points of metrics of the last time that they were sent. What came before is made good by what comes later.
    pub points: u64,
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct SpanRecord {
    /// The span's own ids.
    pub context: TraceContext,
    /// The span above it, in this process or another one.
    pub parent: Option<SpanId>,
    /// The `tracestate` that its trace came with.
    pub tracestate: Option<Arc<str>>,
    /// The name.
    pub name: &'static str,
    /// The module, or what the code said instead.
    pub target: &'static str,
    /// When it was opened.
    pub start: SystemTime,
    /// When it was closed; its distance from the start is measured by a clock that is never set.
    pub end: SystemTime,
    /// The fields.
    pub fields: RecordFields,
    /// Other places that caused it, for example the messages of a batch.
    pub links: Vec<TraceContext>,
}

/// A line that was written.
#[derive(Clone, Debug)]
pub struct LogRecord {
    /// When it was logged.
    pub time: SystemTime,
    /// How grave it is.
    pub severity: Severity,
    /// The module, or what the code said instead.
    pub target: String,
    /// The message.
    pub message: String,
    /// The ids of the line.
    pub context: TraceContext,
    /// The fields, those of the spans included.
    pub fields: RecordFields,
}

/// Fields as JSON members, read when they are needed.
#[derive(Clone, Debug, Default)]
pub struct RecordFields {
    members: Vec<u8>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldValue<'a> {
    /// Not a number, or infinite.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer of 64 bits.
    I64(i64),
    /// A positive integer beyond that.
    U64(u64),
    /// Any other number.
    F64(f64),
    /// A text.
    Text(Cow<'a, str>),
}

impl RecordFields {
    pub(crate) fn new(members: &[u8]) -> Self {
        Self { members: members.to_vec() }
    }

    /// Returns the names and values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, FieldValue<'_>)> {
        json::members(&self.members)
            .map(|member| (json::unescape(member.key), FieldValue::read(member.value)))
    }

    /// Returns the value of a name.
    pub fn get(&self, name: &str) -> Option<FieldValue<'_>> {
        self.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

#[cfg(feature = "otlp")]
impl SpanRecord {
    /// Returns about how many bytes it takes while it waits.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>()
            + self.fields.members.len()
            + size_of_val(&*self.links)
            + self.tracestate.as_deref().map_or(0, str::len)
    }
}

#[cfg(feature = "otlp")]
impl LogRecord {
    /// Returns about how many bytes it takes while it waits.
    pub(crate) fn size(&self) -> usize {
        size_of::<Self>() + self.fields.members.len() + self.message.len() + self.target.len()
    }
}

impl<'a> FieldValue<'a> {
    fn read(value: &'a [u8]) -> Self {
        if let Some(inside) = json::string_inside(value) {
            return Self::Text(json::unescape(inside));
        }
        let text = str::from_utf8(value).unwrap_or_default();
        match text {
            "true" => Self::Bool(true),
            "false" => Self::Bool(false),
            "null" => Self::Null,
            _ => text
                .parse()
                .map(Self::I64)
                .or_else(|_| text.parse().map(Self::U64))
                .or_else(|_| text.parse().map(Self::F64))
                .unwrap_or(Self::Null),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_their_types() {
        let members = r#","a\"":"x\n\u0007é","i":-3,"u":18446744073709551615,"f":1.5,"t":true,"n":null"#;
        let fields = RecordFields::new(members.as_bytes());
        let found: Vec<_> = fields.iter().collect();
        let expected = [
            ("a\"", FieldValue::Text("x\n\u{7}é".into())),
            ("i", FieldValue::I64(-3)),
            ("u", FieldValue::U64(u64::MAX)),
            ("f", FieldValue::F64(1.5)),
            ("t", FieldValue::Bool(true)),
            ("n", FieldValue::Null),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.into(), value)));
        assert_eq!(fields.get("i"), Some(FieldValue::I64(-3)));
        assert_eq!(fields.get("missing"), None);
    }
}
