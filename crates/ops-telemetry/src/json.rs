//! The parts of JSON that a log line needs: escaping, numbers, and a walk over the flat members that we wrote.

use std::borrow::Cow;
use std::fmt;
use std::io::Write;

/// Bytes that may begin something to escape: control characters, quote and backslash, and the first byte of C1 controls
/// and of the separators that JavaScript and some terminals take for a line end.
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[0x7f] = true;
    table[0xc2] = true;
    table[0xe2] = true;
    table
};

/// Appends `text` as the inside of a JSON string. A value can neither end the line nor steer a terminal.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut clean_from = 0;
    let mut at = 0;
    while let Some(next) = bytes[at..].iter().position(|byte| SUSPECT[usize::from(*byte)]) {
        at += next;
        let (width, code) = match bytes[at] {
            // C1 controls, U+0080 to U+009F.
            0xc2 if bytes[at + 1] < 0xa0 => (2, u32::from(bytes[at + 1])),
            // Line and paragraph separator, U+2028 and U+2029.
            0xe2 if bytes[at + 1] == 0x80 && matches!(bytes[at + 2], 0xa8 | 0xa9) => {
                (3, 0x2000 + u32::from(bytes[at + 2] - 0x80))
            }
            0x80.. => {
                at += 1;
                continue;
            }
            byte => (1, u32::from(byte)),
        };
        out.extend_from_slice(&bytes[clean_from..at]);
        match code {
            0x08 => out.extend_from_slice(b"\\b"),
            0x09 => out.extend_from_slice(b"\\t"),
            0x0a => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            0x0d => out.extend_from_slice(b"\\r"),
            0x22 => out.extend_from_slice(b"\\\""),
            0x5c => out.extend_from_slice(b"\\\\"),
            _ => write!(out, "\\u{code:04x}").expect("writing to memory cannot fail"),
        }
        at += width;
        clean_from = at;
    }
    out.extend_from_slice(&bytes[clean_from..]);
}

/// Escapes what `Display` and `Debug` produce, without a copy in between.
pub(crate) struct Escaped<'a>(pub(crate) &'a mut Vec<u8>);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// Appends an integer, without the cost of `write!`.
pub(crate) fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    // The largest has twenty digits.
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends an integer, without the cost of `write!`.
pub(crate) fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(out, value.unsigned_abs());
}

/// Appends a float; JSON has no word for infinities and NaN, so they become `null`.
pub(crate) fn write_f64(out: &mut Vec<u8>, value: f64) {
    if let Some((whole, fraction, digits)) = short_decimal(value) {
        if value < 0.0 {
            out.push(b'-');
        }
        write_u64(out, whole);
        out.push(b'.');
        let start = out.len();
        out.resize(start + digits, b'0');
        let mut rest = fraction;
        for digit in out[start..].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    } else if value.is_finite() {
        write!(out, "{value:?}").expect("writing to memory cannot fail");
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Returns the parts of a number that has few digits, as most have: before the point, after it, and how many stand after
/// it. The result is the shortest text that reads back as the number: up to 15 digits no two texts mean the same one, and a
/// whole number below 2^53 divided by a power of ten up to 10^22 is rounded once, as a reader rounds it (Clinger, 1990).
fn short_decimal(value: f64) -> Option<(u64, u64, usize)> {
    // Below and above, others write an exponent; minus zero has a sign that a comparison does not see.
    if !(1e-4..1e9).contains(&value.abs()) {
        return None;
    }
    let magnitude = value.abs();
    let mut power = 1_u64;
    for digits in 1..=6 {
        power *= 10;
        let scaled = (magnitude * power as f64).round();
        if scaled / power as f64 == magnitude {
            let scaled = scaled as u64;
            return Some((scaled / power, scaled % power, digits));
        }
    }
    None
}

/// Returns the longest prefix of the inside of a JSON string, at most `limit` bytes, that splits neither an escape nor
/// a character.
pub(crate) fn fitting_prefix(inside: &[u8], limit: usize) -> usize {
    let mut at = 0;
    while at < inside.len() {
        let width = match inside[at] {
            b'\\' if inside.get(at + 1) == Some(&b'u') => 6,
            b'\\' => 2,
            0xf0.. => 4,
            0xe0.. => 3,
            0xc0.. => 2,
            _ => 1,
        };
        if at + width > limit.min(inside.len()) {
            break;
        }
        at += width;
    }
    at
}

/// Returns the inside of a JSON string, or `None` for any other value.
pub(crate) fn string_inside(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Reads the inside of a JSON string as this crate writes it. An escape that it does not write stays as it is.
pub(crate) fn unescape(inside: &[u8]) -> Cow<'_, str> {
    let Some(first) = inside.iter().position(|byte| *byte == b'\\') else {
        return String::from_utf8_lossy(inside);
    };
    let mut out = inside[..first].to_vec();
    let mut rest = &inside[first..];
    while let Some((byte, after)) = rest.split_first() {
        let (width, code) = match (byte, after.first()) {
            (b'\\', Some(b'u')) => (6, code_of(after.get(1..5))),
            (b'\\', Some(b'n')) => (2, Some('\n')),
            (b'\\', Some(b't')) => (2, Some('\t')),
            (b'\\', Some(b'r')) => (2, Some('\r')),
            (b'\\', Some(b'b')) => (2, Some('\u{8}')),
            (b'\\', Some(b'f')) => (2, Some('\u{c}')),
            (b'\\', Some(other @ (b'"' | b'\\' | b'/'))) => (2, Some(char::from(*other))),
            _ => (1, None),
        };
        match code {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            None => out.extend_from_slice(&rest[..width.min(rest.len())]),
        }
        rest = &rest[width.min(rest.len())..];
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn code_of(digits: Option<&[u8]>) -> Option<char> {
    char::from_u32(u32::from_str_radix(str::from_utf8(digits?).ok()?, 16).ok()?)
}

/// Tells whether `inside` may stand between the quotes of a JSON string.
pub(crate) fn is_string_inside(inside: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = inside.get(at) {
        at += match byte {
            b'"' | 0..=0x1f => return false,
            b'\\' => match inside.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                Some(b'u')
                    if inside
                        .get(at + 2..at + 6)
                        .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) =>
                {
                    6
                }
                _ => return false,
            },
            _ => 1,
        };
    }
    std::str::from_utf8(inside).is_ok()
}

/// One `"key":value` of the flat text that [`members`] walks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Member<'a> {
    /// The whole member, with its leading comma.
    pub(crate) text: &'a [u8],
    /// The inside of the key's string.
    pub(crate) key: &'a [u8],
    /// The value as it stands: a string with its quotes, a number, `true`, `false` or `null`.
    pub(crate) value: &'a [u8],
}

/// Walks `,"key":value,"key":value` as this crate writes it: no white space, no nesting. Stops at the first thing that
/// is not so.
pub(crate) fn members(mut text: &[u8]) -> impl Iterator<Item = Member<'_>> {
    std::iter::from_fn(move || {
        let key_end = 1 + string_len(text.get(1..)?)?;
        let value = text.get(key_end + 1..)?;
        let value_len = match value.first()? {
            b'"' => string_len(value)?,
            _ => value.iter().position(|b| *b == b',').unwrap_or(value.len()),
        };
        let (member, rest) = text.split_at(key_end + 1 + value_len);
        text = rest;
        Some(Member { text: member, key: &member[2..key_end - 1], value: &member[key_end + 1..] })
    })
}

/// Returns the length of the JSON string that `text` starts with, quotes included.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).expect("utf-8")
    }

    #[test]
    fn escapes_what_ends_a_line_or_steers_a_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected, "{text:?}");
        check("plain é 😀", "plain é 😀");
        check("a\"b\\c/", "a\\\"b\\\\c/");
        check("\n\r\t\u{8}\u{c}\0\u{1b}[31m", "\\n\\r\\t\\b\\f\\u0000\\u001b[31m");
        check("\u{7f}\u{80}\u{9b}\u{9f}\u{a0}", "\\u007f\\u0080\\u009b\\u009f\u{a0}");
        check("\u{2027}\u{2028}\u{2029}\u{202a}", "\u{2027}\\u2028\\u2029\u{202a}");
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text: String) {
            let json = format!("\"{}\"", escaped(&text));
            prop_assert_eq!(&serde_json::from_str::<String>(&json).expect("valid JSON"), &text);
            prop_assert!(is_string_inside(escaped(&text).as_bytes()));
            prop_assert_eq!(unescape(escaped(&text).as_bytes()).into_owned(), text);
        }

        #[test]
        fn integers_are_written_as_others_write_them(unsigned: u64, signed: i64) {
            let mut out = Vec::new();
            write_u64(&mut out, unsigned);
            out.push(b' ');
            write_i64(&mut out, signed);
            prop_assert_eq!(out, format!("{unsigned} {signed}").into_bytes());
        }

        #[test]
        fn floats_are_written_as_others_write_them(
            any: f64, bits: u64, whole in -2_000_000_000_i64..2_000_000_000, digits in 0..9,
        ) {
            let short = whole as f64 / 10_f64.powi(digits);
            let near = f64::from_bits(short.to_bits().wrapping_add(bits % 3).wrapping_sub(1));
            for value in [any, f64::from_bits(bits), short, near, -short] {
                let mut out = Vec::new();
                write_f64(&mut out, value);
                let expected = if value.is_finite() { format!("{value:?}") } else { "null".into() };
                prop_assert_eq!(String::from_utf8(out).expect("ascii"), expected);
            }
        }

        #[test]
        fn a_prefix_is_still_a_string(text: String, limit in 0usize..40) {
            let inside = escaped(&text);
            let end = fitting_prefix(inside.as_bytes(), limit);
            prop_assert!(end <= limit);
            prop_assert!(end + 6 > limit.min(inside.len()) || end == inside.len());
            prop_assert!(is_string_inside(&inside.as_bytes()[..end]));
            serde_json::from_str::<String>(&format!("\"{}\"", &inside[..end])).expect("valid JSON");
        }

        #[test]
        fn any_bytes_are_walked_without_a_panic(text: Vec<u8>) {
            for member in members(&text) {
                prop_assert!(!member.text.is_empty());
            }
            is_string_inside(&text);
            unescape(&text);
        }
    }

    #[test]
    fn knows_what_may_stand_in_a_string() {
        let check = |inside: &str, expected: bool| {
            assert_eq!(is_string_inside(inside.as_bytes()), expected, "{inside}")
        };
        for inside in ["", "a é", "\\n\\\"\\\\\\/", "\\u00aF"] {
            check(inside, true);
        }
        for inside in ["\"", "\n", "\\", "\\[", "\\u00a", "\\u00ag", "a\\\\\\"] {
            check(inside, false);
        }
        assert!(!is_string_inside(b"\xff"));
    }

    #[test]
    fn walks_members() {
        let text = br#","a":1,"b\"":"x,\"y","c":null"#;
        let found: Vec<_> = members(text).map(|m| (m.key, m.value)).collect();
        assert_eq!(found, [(&b"a"[..], &b"1"[..]), (b"b\\\"", b"\"x,\\\"y\""), (b"c", b"null")]);
        assert_eq!(members(text).map(|m| m.text.len()).sum::<usize>(), text.len());
    }

    #[test]
    fn the_outermost_integers_fit() {
        let mut out = Vec::new();
        write_u64(&mut out, u64::MAX);
        write_i64(&mut out, i64::MIN);
        write_u64(&mut out, 0);
        assert_eq!(out, b"18446744073709551615-92233720368547758080");
    }

    #[test]
    fn floats_stay_numbers() {
        let check = |value: f64, expected: &str| {
            let mut out = Vec::new();
            write_f64(&mut out, value);
            assert_eq!(out, expected.as_bytes());
            serde_json::from_slice::<serde_json::Value>(&out).expect("valid JSON");
        };
        check(0.0, "0.0");
        check(-0.0, "-0.0");
        check(12.5, "12.5");
        check(0.3, "0.3");
        check(1.1, "1.1");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e-4, "0.0001");
        check(1.0, "1.0");
        check(-0.25, "-0.25");
        check(1e300, "1e300");
        check(f64::NAN, "null");
        check(f64::INFINITY, "null");
    }
}
