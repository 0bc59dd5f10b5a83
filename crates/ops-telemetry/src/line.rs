//! How one event becomes one line, in JSON for machines and in a human format for terminals. Pure: bytes in, bytes out.

use std::io::Write;
use std::time::SystemTime;

use tracing::Level;

use crate::context::TraceContext;
use crate::fields::MESSAGE;
use crate::json;
use crate::redact::Redactor;
use crate::timestamp::{write_rfc3339, write_time};

/// The longest line, in bytes, newline included; fields that do not fit are left out, and `truncated` says so.
pub(crate) const MAX_LINE_LEN: usize = 64 * 1024;

const TRUNCATED: &[u8] = b",\"truncated\":true";

/// What stands in every line before the fields.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) time: SystemTime,
    pub(crate) level: &'a Level,
    pub(crate) target: &'a str,
    pub(crate) context: TraceContext,
}

/// The looks of a line.
#[derive(Debug)]
pub(crate) enum Style {
    /// `service` holds the members that name the service, with a leading comma.
    Json { service: Vec<u8> },
    /// One line for a person, with or without colours.
    Human { color: bool },
}

impl Style {
    pub(crate) fn json(service: &str, version: &str) -> Self {
        let mut members = Vec::new();
        for (key, value) in [("service.name", service), ("service.version", version)] {
            push_member(&mut members, key, |out| {
                out.push(b'"');
                json::escape(out, value);
                out.push(b'"');
            });
        }
        Self::Json { service: members }
    }

    /// Writes a line. `body` is the message, if there is one, and the fields, as members with leading commas.
    pub(crate) fn write(&self, out: &mut Vec<u8>, head: &Head<'_>, body: &[u8], truncated: bool) {
        match self {
            Self::Json { service } => write_json(out, head, body, service, truncated),
            Self::Human { color } => write_human(out, head, body, *color, truncated),
        }
    }
}

/// Appends `,"key":value`.
pub(crate) fn push_member(out: &mut Vec<u8>, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(b",\"");
    json::escape(out, key);
    out.extend_from_slice(b"\":");
    value(out);
}

/// Removes secrets from `body` and keeps it what it is: members of valid JSON. `spare` is working memory.
pub(crate) fn redact(body: &mut Vec<u8>, spare: &mut Vec<u8>, redactor: &dyn Redactor) {
    spare.clear();
    spare.extend_from_slice(body);
    redactor.redact(spare);
    if spare == body {
        return;
    }
    // Something is secret. A replacement across the whole text could break a number or a quote, so each value is
    // treated alone.
    let mut clean = Vec::with_capacity(body.len());
    for member in json::members(body) {
        clean.extend_from_slice(&member.text[..member.text.len() - member.value.len()]);
        let inside = json::string_inside(member.value);
        spare.clear();
        spare.extend_from_slice(inside.unwrap_or(member.value));
        redactor.redact(spare);
        if inside.is_none() && spare == member.value {
            clean.extend_from_slice(member.value);
        } else if json::is_string_inside(spare) {
            clean.push(b'"');
            clean.extend_from_slice(spare);
            clean.push(b'"');
        } else {
            clean.extend_from_slice(b"\"[redacted]\"");
        }
    }
    std::mem::swap(body, &mut clean);
}

fn write_json(out: &mut Vec<u8>, head: &Head<'_>, body: &[u8], service: &[u8], mut truncated: bool) {
    let (message, fields) = split_message(body);
    out.extend_from_slice(b"{\"timestamp\":\"");
    write_rfc3339(out, head.time);
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(head.level.as_str().as_bytes());
    out.push(b'"');
    match message {
        Some(member) if member.value.starts_with(b"\"") => out.extend_from_slice(member.text),
        Some(member) => {
            out.extend_from_slice(b",\"message\":\"");
            out.extend_from_slice(member.value);
            out.push(b'"');
        }
        None => out.extend_from_slice(b",\"message\":\"\""),
    }
    push_member(out, "target", |out| {
        out.push(b'"');
        json::escape(out, head.target);
        out.push(b'"');
    });
    let TraceContext { trace_id, span_id, flags } = head.context;
    out.extend_from_slice(b",\"trace_id\":\"");
    push_hex(out, &trace_id.get().to_be_bytes());
    out.extend_from_slice(b"\",\"span_id\":\"");
    push_hex(out, &span_id.get().to_be_bytes());
    out.extend_from_slice(b"\",\"trace_flags\":\"");
    push_hex(out, &[flags.bits()]);
    out.push(b'"');
    out.extend_from_slice(service);
    let room = MAX_LINE_LEN.saturating_sub(out.len() + TRUNCATED.len() + b"}\n".len());
    if fields.len() <= room {
        out.extend_from_slice(fields);
    } else {
        truncated = true;
        let mut used = 0;
        for member in json::members(fields) {
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

fn write_human(out: &mut Vec<u8>, head: &Head<'_>, body: &[u8], color: bool, truncated: bool) {
    let paint = |out: &mut Vec<u8>, code: &str| {
        if color {
            out.extend_from_slice(code.as_bytes());
        }
    };
    let (dim, bold_red, reset) = ("\x1b[2m", "\x1b[1;31m", "\x1b[0m");
    paint(out, dim);
    write_time(out, head.time);
    paint(out, reset);
    let code = match *head.level {
        Level::ERROR => bold_red,
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    };
    out.push(b' ');
    paint(out, code);
    write!(out, "{:5}", head.level.as_str()).expect("writing to memory cannot fail");
    paint(out, reset);
    // Who reads at these levels looks for where a line comes from.
    if *head.level >= Level::DEBUG {
        out.push(b' ');
        paint(out, dim);
        let start = out.len();
        json::escape(out, head.target);
        out.truncate(start + json::fitting_prefix(&out[start..], 256));
        paint(out, reset);
    }
    let (message, fields) = split_message(body);
    if let Some(message) = message {
        out.push(b' ');
        push_plain(out, message.value);
    }
    for member in json::members(fields) {
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
    if truncated {
        out.extend_from_slice(" …".as_bytes());
    }
    out.push(b' ');
    paint(out, dim);
    let TraceContext { trace_id, span_id, .. } = head.context;
    write!(out, "trace_id={trace_id} span_id={span_id}").expect("writing to memory cannot fail");
    paint(out, reset);
    out.push(b'\n');
}

/// Appends lower-case hexadecimal, without the cost of `write!`.
fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0x0f)]]);
    }
}

/// Splits the message, which is the first member where there is one, from the fields.
fn split_message(body: &[u8]) -> (Option<json::Member<'_>>, &[u8]) {
    match json::members(body).next() {
        Some(member) if member.key == MESSAGE.as_bytes() => (Some(member), &body[member.text.len()..]),
        _ => (None, body),
    }
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

    fn head() -> Head<'static> {
        Head {
            time: SystemTime::UNIX_EPOCH,
            level: &Level::INFO,
            target: "t",
            context: TraceContext {
                trace_id: TraceId::new(0xabc).expect("not zero"),
                span_id: SpanId::new(0xdef).expect("not zero"),
                flags: TraceFlags::SAMPLED,
            },
        }
    }

    fn human(body: &str, color: bool) -> String {
        let mut out = Vec::new();
        Style::Human { color }.write(&mut out, &head(), body.as_bytes(), false);
        String::from_utf8(out).expect("utf-8")
    }

    #[test]
    fn json_has_a_fixed_order() {
        let mut out = Vec::new();
        let body = br#","message":"hi","n":1,"s":"x""#;
        Style::json("svc", "1.0\"").write(&mut out, &head(), body, false);
        assert_eq!(
            String::from_utf8(out).expect("utf-8"),
            "{\"timestamp\":\"1970-01-01T00:00:00.000000Z\",\"level\":\"INFO\",\"message\":\"hi\",\"target\":\"t\",\
             \"trace_id\":\"00000000000000000000000000000abc\",\"span_id\":\"0000000000000def\",\"trace_flags\":\"01\",\
             \"service.name\":\"svc\",\"service.version\":\"1.0\\\"\",\"n\":1,\"s\":\"x\"}\n"
        );
    }

    #[test]
    fn human_shows_words_bare_and_the_rest_quoted() {
        let ids = "trace_id=00000000000000000000000000000abc span_id=0000000000000def\n";
        let body = r#","message":"cannot read \"a\\b\"\u001b[0m","n":1,"s":"x","t":"x y","e":"","q":"a\"b""#;
        let expected = r#"00:00:00.000Z INFO  cannot read "a\b"\u001b[0m n=1 s=x t="x y" e="" q="a\"b" "#;
        assert_eq!(human(body, false), format!("{expected}{ids}"));
        assert_eq!(human("", false), format!("00:00:00.000Z INFO  {ids}"));
    }

    #[test]
    fn colours_only_where_asked() {
        assert!(human(r#","message":"m","a":"b""#, true).contains("\x1b[32mINFO \x1b[0m"));
        assert!(!human(r#","message":"m","a":"b""#, false).contains('\x1b'));
    }

    struct Replace(&'static str, &'static str);

    impl Redactor for Replace {
        fn redact(&self, line: &mut Vec<u8>) {
            let text = String::from_utf8(std::mem::take(line)).expect("utf-8");
            *line = text.replace(self.0, self.1).into_bytes();
        }
    }

    #[test]
    fn a_redacted_body_stays_json() {
        let check = |secret: &'static str, by: &'static str, expected: &str| {
            let mut body = br#","message":"is hunter2","n":12345,"b":true,"hunter2":"x""#.to_vec();
            redact(&mut body, &mut Vec::new(), &Replace(secret, by));
            assert_eq!(String::from_utf8(body).expect("utf-8"), expected, "{secret}");
        };
        check("absent", "-", r#","message":"is hunter2","n":12345,"b":true,"hunter2":"x""#);
        check("hunter2", "[redacted]", r#","message":"is [redacted]","n":12345,"b":true,"hunter2":"x""#);
        check("234", "[redacted]", r#","message":"is hunter2","n":"1[redacted]5","b":true,"hunter2":"x""#);
        check("true", "[redacted]", r#","message":"is hunter2","n":12345,"b":"[redacted]","hunter2":"x""#);
        check("hunter2", "\"", r#","message":"[redacted]","n":12345,"b":true,"hunter2":"x""#);
        check("\",\"", "gone", r#","message":"is hunter2","n":12345,"b":true,"hunter2":"x""#);
    }
}
