//! The line for machines: one flat JSON object, its constant parts prepared once.

use std::time::SystemTime;

use super::schema::{Names, Schema};
use super::{Body, Head, MAX_LINE_LEN};
use crate::context::TraceContext;
use crate::json;
use crate::severity::Severity;
use crate::timestamp::Stamp;

const TRUNCATED: &[u8] = b",\"truncated\":true";

/// A hexadecimal byte is two digits, by table.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0x0f]];
        byte += 1;
    }
    table
};

/// Pieces of a line, each up to the next thing that changes.
#[derive(Debug)]
pub(crate) struct JsonStyle {
    /// `{"timestamp":"`
    time: Vec<u8>,
    /// `","level":"INFO","message":`, by severity.
    levels: [Vec<u8>; 6],
    /// `,"target":"`
    target: Vec<u8>,
    /// `","trace_id":"…` with zeros for digits, up to what differs between the schemas.
    ids: Vec<u8>,
    /// Where the digits of the trace begin there.
    trace: usize,
    tail: Tail,
    /// `,"service.name":"orders"` and so on.
    resource: Vec<u8>,
}

/// How the last two ids are written.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// The span in hexadecimal, the flags as two digits; with where they begin. All digits have their place, so that the
    /// rest of the line up to the fields is copied at once.
    Hexadecimal { span: usize, flags: usize },
    /// The span in hexadecimal, the sampled flag as a truth value.
    Sampled { span: usize },
    /// The span as a decimal number, no flags.
    Decimal,
}

impl JsonStyle {
    pub(super) fn new(schema: &Schema, resource: &[(String, String)]) -> Self {
        let Names { time, level, constant, target, trace, span, flags } = schema.names();
        let levels = Severity::ALL.map(|severity| {
            let name = schema.severity(severity);
            format!(r#"","{level}":"{name}"{constant},"message":"#).into_bytes()
        });
        let prefix = match schema {
            Schema::Gcp { project: Some(project) } => escaped(&format!("projects/{project}/traces/")),
            _ => String::new(),
        };
        let members = resource.iter().map(|(name, value)| {
            format!(r#","{}":"{}""#, escaped(schema.resource_name(name)), escaped(value))
        });
        let resource: String = members.collect();
        let mut ids = format!(r#"","{trace}":"{prefix}"#);
        let trace = ids.len();
        ids.push_str(&"0".repeat(32));
        ids.push_str(&format!(r#"","{span}":""#));
        let span = ids.len();
        let tail = match schema {
            Schema::Gcp { .. } => {
                ids.push_str(&format!(r#"{}","{flags}":"#, "0".repeat(16)));
                Tail::Sampled { span }
            }
            Schema::Datadog => Tail::Decimal,
            _ => {
                ids.push_str(&format!(r#"{}","{flags}":""#, "0".repeat(16)));
                let flags = ids.len();
                ids.push_str(&format!(r#"00"{resource}"#));
                Tail::Hexadecimal { span, flags }
            }
        };
        Self {
            time: format!(r#"{{"{time}":""#).into_bytes(),
            levels,
            target: format!(r#","{target}":""#).into_bytes(),
            ids: ids.into_bytes(),
            trace,
            tail,
            resource: resource.into_bytes(),
        }
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, stamp: &mut Stamp, head: &Head<'_>, body: Body<'_>) {
        out.extend_from_slice(&self.time);
        let time: SystemTime = head.time;
        out.extend_from_slice(stamp.rfc3339(time));
        out.extend_from_slice(&self.levels[head.severity.index()]);
        match body.message {
            [] => out.extend_from_slice(b"\"\""),
            [b'"', ..] => out.extend_from_slice(body.message),
            // A number or truth value under the name of the message.
            other => {
                out.push(b'"');
                out.extend_from_slice(other);
                out.push(b'"');
            }
        }
        out.extend_from_slice(&self.target);
        json::escape(out, head.target);
        self.write_ids(out, head.context);
        let mut truncated = body.truncated;
        let room = MAX_LINE_LEN.saturating_sub(out.len() + TRUNCATED.len() + b"}\n".len());
        if body.members.len() <= room {
            out.extend_from_slice(body.members);
        } else {
            truncated = true;
            let mut used = 0;
            for member in json::members(body.members) {
                used += member.text.len();
                if used > room {
                    break;
                }
                out.extend_from_slice(member.text);
            }
        }
        if truncated {
            out.extend_from_slice(TRUNCATED);
        }
        out.extend_from_slice(b"}\n");
    }

    /// Writes the ids and the resource.
    fn write_ids(&self, out: &mut Vec<u8>, context: TraceContext) {
        let TraceContext { trace_id, span_id, flags } = context;
        let start = out.len();
        out.extend_from_slice(&self.ids);
        let piece = &mut out[start..];
        put_hex(piece, self.trace, &trace_id.get().to_be_bytes());
        match self.tail {
            Tail::Hexadecimal { span, flags: at } => {
                put_hex(piece, span, &span_id.get().to_be_bytes());
                put_hex(piece, at, &[flags.bits()]);
                return;
            }
            Tail::Sampled { span } => {
                put_hex(piece, span, &span_id.get().to_be_bytes());
                out.extend_from_slice(if flags.is_sampled() { b"true" } else { b"false" });
            }
            Tail::Decimal => {
                json::write_u64(out, span_id.get());
                out.push(b'"');
            }
        }
        out.extend_from_slice(&self.resource);
    }
}

/// Puts lower-case hexadecimal where its place is.
fn put_hex<const N: usize>(piece: &mut [u8], at: usize, bytes: &[u8; N]) {
    let digits: [[u8; 2]; N] = bytes.map(|byte| HEX[usize::from(byte)]);
    piece[at..at + 2 * N].copy_from_slice(digits.as_flattened());
}

fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    json::escape(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{SpanId, TraceFlags, TraceId};
    use crate::line::Style;

    fn head() -> Head<'static> {
        Head {
            time: SystemTime::UNIX_EPOCH,
            severity: Severity::Warn,
            target: "t",
            context: TraceContext {
                trace_id: TraceId::new(0xabc).expect("not zero"),
                span_id: SpanId::new(0xdef).expect("not zero"),
                flags: TraceFlags::SAMPLED,
            },
        }
    }

    fn line(schema: Schema, message: &str) -> String {
        let mut out = Vec::new();
        let resource =
            [("service.name", "svc"), ("service.version", "1.0\""), ("deployment.environment.name", "x")];
        let resource = resource.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let body = Body { message: message.as_bytes(), members: br#","n":1,"s":"x""#, truncated: false };
        Style::json(&schema, &resource).write(&mut out, &mut Stamp::default(), &head(), body);
        let text = String::from_utf8(out).expect("utf-8");
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        text
    }

    #[test]
    fn each_schema_has_a_fixed_order_and_names_of_its_own() {
        assert_eq!(
            line(Schema::Default, "\"hi\""),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"WARN\",\"message\":\"hi\",\"target\":\"t\",\
             \"trace_id\":\"00000000000000000000000000000abc\",\"span_id\":\"0000000000000def\",\"trace_flags\":\"01\",\
             \"service.name\":\"svc\",\"service.version\":\"1.0\\\"\",\"deployment.environment.name\":\"x\",\
             \"n\":1,\"s\":\"x\"}\n"
        );
        assert_eq!(
            line(Schema::Ecs, "\"hi\""),
            "{\"@timestamp\":\"1970-01-01T00:00:00.000000Z\",\"log.level\":\"WARN\",\"ecs.version\":\"8.11.0\",\
             \"message\":\"hi\",\"log.logger\":\"t\",\"trace.id\":\"00000000000000000000000000000abc\",\
             \"span.id\":\"0000000000000def\",\"trace.flags\":\"01\",\"service.name\":\"svc\",\
             \"service.version\":\"1.0\\\"\",\"service.environment\":\"x\",\"n\":1,\"s\":\"x\"}\n"
        );
        assert_eq!(
            line(Schema::Gcp { project: Some("p".into()) }, "\"hi\""),
            "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"severity\":\"WARNING\",\"message\":\"hi\",\"target\":\"t\",\
             \"logging.googleapis.com/trace\":\"projects/p/traces/00000000000000000000000000000abc\",\
             \"logging.googleapis.com/spanId\":\"0000000000000def\",\"logging.googleapis.com/trace_sampled\":true,\
             \"service.name\":\"svc\",\"service.version\":\"1.0\\\"\",\"deployment.environment.name\":\"x\",\
             \"n\":1,\"s\":\"x\"}\n"
        );
        assert_eq!(
            line(Schema::Datadog, "\"hi\""),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"status\":\"warn\",\"message\":\"hi\",\
             \"logger.name\":\"t\",\"dd.trace_id\":\"00000000000000000000000000000abc\",\"dd.span_id\":\"3567\",\
             \"dd.service\":\"svc\",\"dd.version\":\"1.0\\\"\",\"dd.env\":\"x\",\"n\":1,\"s\":\"x\"}\n"
        );
    }

    #[test]
    fn a_message_is_text_whatever_it_was() {
        assert!(line(Schema::Default, "").contains(r#""message":"","#));
        assert!(line(Schema::Default, "7").contains(r#""message":"7","#));
    }
}
