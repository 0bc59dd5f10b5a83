//! The line for a person: time, level, message, fields, and the ids at its end.

use std::io::Write;

use super::{Body, Head, MAX_LINE_LEN};
use crate::context::TraceContext;
use crate::json;
use crate::severity::Severity;
use crate::timestamp::write_time;

pub(super) fn write(out: &mut Vec<u8>, head: &Head<'_>, body: Body<'_>, color: bool) {
    let paint = |out: &mut Vec<u8>, code: &str| {
        if color {
            out.extend_from_slice(code.as_bytes());
        }
    };
    let (dim, bold_red, reset) = ("\x1b[2m", "\x1b[1;31m", "\x1b[0m");
    paint(out, dim);
    write_time(out, head.time);
    paint(out, reset);
    let code = match head.severity {
        Severity::Fatal | Severity::Error => bold_red,
        Severity::Warn => "\x1b[33m",
        Severity::Info => "\x1b[32m",
        Severity::Debug => "\x1b[34m",
        Severity::Trace => "\x1b[35m",
    };
    out.push(b' ');
    paint(out, code);
    write!(out, "{:5}", head.severity.as_str()).expect("writing to memory cannot fail");
    paint(out, reset);
    // Who reads at these levels looks for where a line comes from.
    if head.severity <= Severity::Debug {
        out.push(b' ');
        paint(out, dim);
        let start = out.len();
        json::escape(out, head.target);
        out.truncate(start + json::fitting_prefix(&out[start..], 256));
        paint(out, reset);
    }
    if !body.message.is_empty() {
        out.push(b' ');
        push_plain(out, body.message);
    }
    for member in json::members(body.members) {
        if out.len() + member.text.len() > MAX_LINE_LEN - 256 {
            out.extend_from_slice(" …".as_bytes());
            break;
        }
        out.push(b' ');
        paint(out, dim);
        out.extend_from_slice(member.key);
        out.push(b'=');
        paint(out, reset);
        let is_word = |inside: &&[u8]| {
            !inside.is_empty() && !inside.iter().any(|b| matches!(b, b' ' | b'\\' | b'=' | b'"'))
        };
        let word = json::string_inside(member.value).filter(is_word);
        out.extend_from_slice(word.unwrap_or(member.value));
    }
    if body.truncated {
        out.extend_from_slice(" …".as_bytes());
    }
    out.push(b' ');
    paint(out, dim);
    let TraceContext { trace_id, span_id, .. } = head.context;
    write!(out, "trace_id={trace_id} span_id={span_id}").expect("writing to memory cannot fail");
    paint(out, reset);
    out.push(b'\n');
}

/// Writes a JSON string for reading: without its quotes, and without the escapes of quote and backslash. Control
/// characters stay escaped.
fn push_plain(out: &mut Vec<u8>, value: &[u8]) {
    let inside = json::string_inside(value).unwrap_or(value);
    let mut bytes = inside.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'\\' && matches!(bytes.peek(), Some(b'"' | b'\\')) {
            out.extend(bytes.next());
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{SpanId, TraceFlags, TraceId};

    fn human(message: &str, members: &str, color: bool) -> String {
        let mut out = Vec::new();
        let head = Head {
            time: std::time::SystemTime::UNIX_EPOCH,
            severity: Severity::Info,
            target: "t",
            context: TraceContext {
                trace_id: TraceId::new(0xabc).expect("not zero"),
                span_id: SpanId::new(0xdef).expect("not zero"),
                flags: TraceFlags::SAMPLED,
            },
        };
        let body = Body { message: message.as_bytes(), members: members.as_bytes(), truncated: false };
        write(&mut out, &head, body, color);
        String::from_utf8(out).expect("utf-8")
    }

    #[test]
    fn human_shows_words_bare_and_the_rest_quoted() {
        let ids = "trace_id=00000000000000000000000000000abc span_id=0000000000000def\n";
        let message = r#""cannot read \"a\\b\"\u001b[0m""#;
        let members = r#","n":1,"s":"x","t":"x y","e":"","q":"a\"b""#;
        let expected = r#"00:00:00.000Z INFO  cannot read "a\b"\u001b[0m n=1 s=x t="x y" e="" q="a\"b" "#;
        assert_eq!(human(message, members, false), format!("{expected}{ids}"));
        assert_eq!(human("", "", false), format!("00:00:00.000Z INFO  {ids}"));
    }

    #[test]
    fn colours_only_where_asked() {
        assert!(human("\"m\"", r#","a":"b""#, true).contains("\x1b[32mINFO \x1b[0m"));
        assert!(!human("\"m\"", r#","a":"b""#, false).contains('\x1b'));
    }
}
