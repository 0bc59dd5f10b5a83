//! Spans and log records as the messages of OTLP 1.x (opentelemetry-proto, `trace/v1`, `logs/v1`, `common/v1`). Pure.
//!
//! Three fields of a span are not attributes there: `otel.name` is its name, `otel.kind` its kind, and `otel.status_code`
//! with `otel.status_message` its status. Without a status, `error.type` or an HTTP status that the semantic conventions call
//! an error makes it one.

use std::time::SystemTime;

use super::protobuf::Message;
use crate::context::TraceContext;
use crate::record::{FieldValue, LogRecord, RecordFields, SpanRecord};

const UNSET: u64 = 0;
const OK: u64 = 1;
const ERROR: u64 = 2;

const NOT_ATTRIBUTES: [&str; 4] = ["otel.name", "otel.kind", "otel.status_code", "otel.status_message"];

/// What describes the service; written once, and part of every request.
#[derive(Debug)]
pub(super) struct Resource(Message);

impl Resource {
    pub(super) fn new(members: &[(String, String)]) -> Self {
        let mut resource = Message::default();
        let own = [
            ("telemetry.sdk.name", "ops-telemetry"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ];
        let members = members.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in members.chain(own) {
            attribute(&mut resource, 1, name, &FieldValue::Text(value.into()));
        }
        Self(resource)
    }

    /// Writes a request: one resource, in it one scope for each name that stands in a row.
    pub(super) fn request<T>(
        &self,
        records: &[T],
        scope: fn(&T) -> &str,
        write: impl Fn(&mut Message, &T),
    ) -> Vec<u8> {
        let mut request = Message::default();
        request.message(1, |of_resource| {
            of_resource.bytes(1, &self.0.0);
            for run in records.chunk_by(|one, other| scope(one) == scope(other)) {
                of_resource.message(2, |of_scope| {
                    of_scope.message(1, |named| named.text(1, run.first().map_or("", scope)));
                    run.iter().for_each(|record| of_scope.message(2, |one| write(one, record)));
                });
            }
        });
        request.0
    }
}

/// Writes an `ExportTraceServiceRequest`.
pub(super) fn spans(resource: &Resource, spans: &mut [SpanRecord]) -> Vec<u8> {
    spans.sort_by_key(|span| span.target);
    resource.request(spans, |span| span.target, span)
}

/// Writes an `ExportLogsServiceRequest`.
pub(super) fn logs(resource: &Resource, logs: &mut [LogRecord]) -> Vec<u8> {
    logs.sort_by(|one, other| one.target.cmp(&other.target));
    resource.request(logs, |log| log.target.as_str(), log)
}

fn span(out: &mut Message, span: &SpanRecord) {
    let text = |name: &str| match span.fields.get(name) {
        Some(FieldValue::Text(text)) => Some(text.into_owned()),
        _ => None,
    };
    let kind = match text("otel.kind").as_deref() {
        Some("server") => 2,
        Some("client") => 3,
        Some("producer") => 4,
        Some("consumer") => 5,
        _ => 1,
    };
    ids(out, (1, 2), span.context);
    out.text(3, span.tracestate.as_deref().unwrap_or_default());
    if let Some(parent) = span.parent {
        out.bytes(4, &parent.get().to_be_bytes());
    }
    out.text(5, text("otel.name").as_deref().unwrap_or(span.name));
    out.varint(6, kind);
    out.fixed64(7, nanoseconds(span.start));
    out.fixed64(8, nanoseconds(span.end));
    attributes(out, 9, &span.fields);
    for link in &span.links {
        out.message(13, |out| {
            ids(out, (1, 2), *link);
            out.fixed32(6, link.flags.bits().into());
        });
    }
    let (code, why) = status(&span.fields, kind, text("otel.status_code"), text("otel.status_message"));
    if code != UNSET {
        out.message(15, |status| {
            status.text(2, &why);
            status.varint(3, code);
        });
    }
    out.fixed32(16, span.context.flags.bits().into());
}

fn status(fields: &RecordFields, kind: u64, code: Option<String>, why: Option<String>) -> (u64, String) {
    let why = why.unwrap_or_default();
    match code.as_deref() {
        Some("ok" | "OK" | "Ok") => return (OK, String::new()),
        Some("error" | "ERROR" | "Error") => return (ERROR, why),
        _ => {}
    }
    if let Some(FieldValue::Text(error)) = fields.get("error.type").filter(|error| *error != text_of("")) {
        return (ERROR, error.into_owned());
    }
    // A server did its work where it answers that the request was wrong; for the client it is an error all the same.
    let first_error = if kind == 2 { 500 } else { 400 };
    match fields.get("http.response.status_code") {
        Some(FieldValue::I64(status)) if status >= first_error => (ERROR, String::new()),
        _ => (UNSET, String::new()),
    }
}

fn text_of(text: &str) -> FieldValue<'_> {
    FieldValue::Text(text.into())
}

fn log(out: &mut Message, log: &LogRecord) {
    out.fixed64(1, nanoseconds(log.time));
    out.varint(2, log.severity.number().into());
    out.text(3, log.severity.as_str());
    out.message(5, |body| value(body, &text_of(&log.message)));
    attributes(out, 6, &log.fields);
    out.fixed32(8, log.context.flags.bits().into());
    ids(out, (9, 10), log.context);
    out.fixed64(11, nanoseconds(log.time));
}

/// Writes the ids, most significant byte first, as in the text form.
pub(super) fn ids(out: &mut Message, (trace, span): (u8, u8), context: TraceContext) {
    out.bytes(trace, &context.trace_id.get().to_be_bytes());
    out.bytes(span, &context.span_id.get().to_be_bytes());
}

pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_nanos().try_into().unwrap_or(u64::MAX)
}

fn attributes(out: &mut Message, field: u8, fields: &RecordFields) {
    for (name, found) in fields.iter().filter(|(name, _)| !NOT_ATTRIBUTES.contains(&&**name)) {
        attribute(out, field, &name, &found);
    }
}

pub(super) fn attribute(out: &mut Message, field: u8, name: &str, found: &FieldValue<'_>) {
    out.message(field, |pair| {
        pair.text(1, name);
        pair.message(2, |out| value(out, found));
    });
}

fn value(out: &mut Message, found: &FieldValue<'_>) {
    match found {
        FieldValue::Null => {}
        FieldValue::Bool(value) => out.varint_even_zero(2, (*value).into()),
        FieldValue::I64(value) => out.varint_even_zero(3, value.cast_unsigned()),
        // OTLP has no number for it, and a rounded one would be another number.
        FieldValue::U64(value) => out.bytes_even_empty(1, value.to_string().as_bytes()),
        FieldValue::F64(value) => out.double(4, *value),
        FieldValue::Text(value) => out.bytes_even_empty(1, value.as_bytes()),
    }
}
