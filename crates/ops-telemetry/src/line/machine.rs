//! The line for machines: one flat JSON object, its constant parts prepared once.

use std::time::SystemTime;

use super::schema::{Names, Schema};
use super::{Body, Head, MAX_LINE_LEN};
use crate::context::{SpanId, TraceContext};
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
    /// `","trace_id":"`
    trace: Vec<u8>,
    /// `","span_id":"`
    span: Vec<u8>,
    ids: Ids,
    /// `","trace_flags":"`, or nothing.
    flags: Vec<u8>,
    /// `,"service.name":"orders"` and so on.
    resource: Vec<u8>,
}

/// How the last two ids are written.
#[derive(Clone, Copy, Debug)]
enum Ids {
    /// The span in hexadecimal, the flags as two digits.
    Hexadecimal,
    /// The span in hexadecimal, the sampled flag as a truth value.
    Sampled,
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
        let (ids, flags) = match schema {
            Schema::Gcp { .. } => (Ids::Sampled, format!(r#"","{flags}":"#)),
            Schema::Datadog => (Ids::Decimal, "\"".to_owned()),
            _ => (Ids::Hexadecimal, format!(r#"","{flags}":""#)),
        };
        let members = resource.iter().map(|(name, value)| {
            format!(r#","{}":"{}""#, escaped(schema.resource_name(name)), escaped(value))
        });
        Self {
            time: format!(r#"{{"{time}":""#).into_bytes(),
            levels,
            target: format!(r#","{target}":""#).into_bytes(),
            trace: format!(r#"","{trace}":"{prefix}"#).into_bytes(),
            span: format!(r#"","{span}":""#).into_bytes(),
            ids,
            flags: flags.into_bytes(),
            resource: members.collect::<String>().into_bytes(),
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
        out.extend_from_slice(&self.resource);
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

    fn write_ids(&self, out: &mut Vec<u8>, context: TraceContext) {
        let TraceContext { trace_id, span_id, flags } = context;
        out.extend_from_slice(&self.trace);
        push_hex(out, &trace_id.get().to_be_bytes());
        out.extend_from_slice(&self.span);
        match self.ids {
            Ids::Hexadecimal | Ids::Sampled => push_hex(out, &SpanId::get(span_id).to_be_bytes()),
            Ids::Decimal => json::write_u64(out, span_id.get()),
        }
        out.extend_from_slice(&self.flags);
        match self.ids {
            Ids::Hexadecimal => {
                push_hex(out, &[flags.bits()]);
                out.push(b'"');
            }
            Ids::Sampled => out.extend_from_slice(if flags.is_sampled() { b"true" } else { b"false" }),
            Ids::Decimal => {}
        }
    }
}

/// Appends lower-case hexadecimal.
fn push_hex<const N: usize>(out: &mut Vec<u8>, bytes: &[u8; N]) {
    let digits: [[u8; 2]; N] = bytes.map(|byte| HEX[usize::from(byte)]);
    out.extend_from_slice(digits.as_flattened());
}

fn escaped(text: &str) -> String {
    let mut out = Vec::new();
    json::escape(&mut out, text);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{TraceFlags, TraceId};
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
