//! The forms that a secret takes when programs write it down.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A shorter line of a secret of several lines says little and stands in many texts.
const SHORTEST_LINE: usize = 8;

/// All forms of a secret, without its surrounding whitespace.
pub(crate) fn of(secret: &str) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::new();
    add(secret, &mut forms);
    if secret.contains('\n') {
        let lines = secret.lines().map(str::trim).filter(|line| line.len() >= SHORTEST_LINE);
        // The frame of a PEM block is public, and stands in many texts.
        for line in lines.filter(|line| !line.starts_with("-----")) {
            add(line, &mut forms);
        }
    }
    forms
}

fn add(piece: &str, forms: &mut BTreeSet<Vec<u8>>) {
    for written in written(piece) {
        for style in JSON_STYLES {
            let once = json(&written, style);
            // A JSON text that stands as a string in another.
            forms.insert(json(&once, style).into_bytes());
            forms.insert(once.into_bytes());
        }
        forms.insert(written.into_bytes());
    }
    for alphabet in [STANDARD, URL_SAFE] {
        forms.extend((0..3).map(|offset| base64_core(piece.as_bytes(), offset, alphabet)));
    }
}

/// The piece as it is, quoted for other languages, percent-encoded, and in hex.
fn written(piece: &str) -> Vec<String> {
    let debug = format!("{piece:?}");
    let mut all = vec![
        piece.to_owned(),
        debug[1..debug.len() - 1].to_owned(),
        // Shells: within single quotes, in the two usual ways.
        piece.replace('\'', r"'\''"),
        piece.replace('\'', r#"'"'"'"#),
        // Within double quotes, and as `printf %q` does.
        backslashed(piece, |c| "\"\\$`".contains(c)),
        backslashed(piece, |c| c.is_ascii() && !c.is_ascii_alphanumeric() && !"_@%+=:,./-\n".contains(c)),
        // libpq's connection strings, and SQL's literals.
        piece.replace('\\', r"\\").replace('\'', r"\'"),
        piece.replace('\'', "''"),
        hex(piece, "0123456789abcdef"),
        hex(piece, "0123456789ABCDEF"),
    ];
    for entities in XML_ENTITIES {
        all.push(escaped(piece, entities));
    }
    for set in PERCENT_SETS {
        all.push(percent(piece, set, "0123456789ABCDEF"));
        all.push(percent(piece, set, "0123456789abcdef"));
    }
    all
}

/// What writers of XML and HTML escape: in text, and in attributes in the usual ways.
const XML_ENTITIES: [&[(char, &str)]; 4] = [
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;")],
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;")],
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#x27;")],
    &[('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&#34;"), ('\'', "&#39;")],
];

fn escaped(piece: &str, entities: &[(char, &str)]) -> String {
    let mut out = String::with_capacity(piece.len());
    for c in piece.chars() {
        match entities.iter().find(|(from, _)| *from == c) {
            Some((_, entity)) => out.push_str(entity),
            None => out.push(c),
        }
    }
    out
}

fn backslashed(piece: &str, is_special: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(piece.len());
    for c in piece.chars() {
        if is_special(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What a JSON writer escapes beyond what it must.
#[derive(Clone, Copy, PartialEq)]
enum JsonStyle {
    Least,
    /// Also DEL, C1 controls and the line separators.
    Controls,
    /// Also everything that is not ASCII, with lower-case digits.
    Ascii,
    /// The same with upper-case digits.
    AsciiUpper,
    /// Also the slash.
    Slash,
}

const JSON_STYLES: [JsonStyle; 5] =
    [JsonStyle::Least, JsonStyle::Controls, JsonStyle::Ascii, JsonStyle::AsciiUpper, JsonStyle::Slash];

fn json(text: &str, style: JsonStyle) -> String {
    use JsonStyle::{Ascii, AsciiUpper, Controls, Slash};
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if style == Slash => out.push_str("\\/"),
            c if c < ' '
                || (style == Controls && matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}'))
                || (matches!(style, Ascii | AsciiUpper) && !c.is_ascii()) =>
            {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let written = if style == AsciiUpper {
                        write!(out, "\\u{unit:04X}")
                    } else {
                        write!(out, "\\u{unit:04x}")
                    };
                    written.expect("a String takes all");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// The bytes beside letters and digits that a percent-encoder leaves as they are; `+` last means that a space becomes `+`.
const PERCENT_SETS: [&str; 5] = [
    // RFC 3986's unreserved characters.
    "-._~",
    // JavaScript's encodeURIComponent.
    "-_.!~*'()",
    // HTML forms.
    "*-._+",
    // The user part of a URL by the WHATWG standard, which leaves the percent sign, and as careful callers do it.
    "!$%&'()*+,-._~",
    "!$&'()*,-._~",
];
const FORM: &str = PERCENT_SETS[2];

fn percent(piece: &str, kept: &str, digits: &str) -> String {
    let digit = |value: u8| char::from(digits.as_bytes()[usize::from(value)]);
    let mut out = String::new();
    for byte in piece.bytes() {
        match byte {
            b' ' if kept == FORM => out.push('+'),
            b'+' if kept == FORM => out.push_str(if digits.contains('a') { "%2b" } else { "%2B" }),
            _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                out.push(char::from(byte))
            }
            _ => out.extend(['%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    out
}

fn hex(piece: &str, digits: &str) -> String {
    let digit = |value: u8| char::from(digits.as_bytes()[usize::from(value)]);
    piece.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The base64 digits that depend on the secret alone, when `offset` bytes (modulo 3) of other text stand before it.
fn base64_core(secret: &[u8], offset: usize, alphabet: &[u8; 64]) -> Vec<u8> {
    let bit = |index: usize| (secret[index / 8] >> (7 - index % 8)) & 1;
    // The first digit boundary at or after the secret's first bit, counted in bits from there.
    let first = (6 - offset * 8 % 6) % 6;
    // An empty piece has no digit, wherever it would stand.
    let digits = (secret.len() * 8).saturating_sub(first) / 6;
    (0..digits)
        .map(|digit| (0..6).fold(0, |value, at| value << 1 | bit(first + digit * 6 + at)))
        .map(|value| alphabet[usize::from(value)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_known() {
        let secret = "a\"b\\c'd e/f+%é\u{7f}\nwith a second line";
        let forms = of(secret);
        let expected = [
            secret,
            // serde_json
            r#"a\"b\\c'd e/f+%é"#,
            r#"a\"b\\c'd e\/f+%é"#,
            r#"a\"b\\c'd e/f+%\u00e9"#,
            r#"a\"b\\c'd e/f+%\u00E9"#,
            r#"a\"b\\c'd e/f+%é\u007f\nwith a second line"#,
            // JSON in JSON
            r#"a\\\"b\\\\c'd e/f+%é"#,
            // {:?}, alone and in JSON
            r#"a\"b\\c'd e/f+%é\u{7f}\nwith a second line"#,
            r#"a\\\"b\\\\c'd e/f+%é\\u{7f}\\nwith a second line"#,
            r#"a"b\c'\''d e/f+%é"#,
            r#"a"b\c'"'"'d e/f+%é"#,
            r#"a"b\\c\'d e/f+%é"#,
            r#"a"b\c''d e/f+%é"#,
            "a%22b%5Cc%27d%20e%2Ff%2B%25%C3%A9",
            "a%22b%5cc%27d%20e%2ff%2b%25%c3%a9",
            "a%22b%5Cc'd%20e%2Ff%2B%25%C3%A9",
            "a%22b%5Cc%27d+e%2Ff%2B%25%C3%A9",
            "a%22b%5Cc'd%20e%2Ff+%%C3%A9",
            "6122625c63276420652f662b25c3a9",
            "6122625C63276420652F662B25C3A9",
            "with a second line",
            "with%20a%20second%20line",
        ];
        for form in expected {
            let known =
                forms.iter().any(|known| known == form.as_bytes() || known.starts_with(form.as_bytes()));
            assert!(known, "{form}");
        }
        let broken: Vec<_> = of("one\n-----BEGIN X-----\nshort\n")
            .into_iter()
            .filter(|form| form.starts_with(b"-----"))
            .collect();
        assert!(broken.is_empty());
    }

    /// A plain encoder, the reference for the cores.
    fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
        let mut out = String::new();
        for group in bytes.chunks(3) {
            let word = group
                .iter()
                .chain([0_u8; 2].iter())
                .take(3)
                .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
            for digit in 0..=group.len() {
                out.push(char::from(alphabet[word >> (18 - 6 * digit) & 63]));
            }
        }
        out
    }

    #[test]
    fn base64_is_found_wherever_the_secret_stands_in_the_encoded_text() {
        assert_eq!(base64(b"any carnal pleas", STANDARD), "YW55IGNhcm5hbCBwbGVhcw");
        for secret in ["four", "hunter2", "p\u{e4}ss w\u{f6}rd?>"] {
            let forms = of(secret);
            for alphabet in [STANDARD, URL_SAFE] {
                for before in 0..7 {
                    for after in 0..4 {
                        let text = format!("{}{secret}{}", "x".repeat(before), "~".repeat(after));
                        let encoded = base64(text.as_bytes(), alphabet);
                        let core = base64_core(secret.as_bytes(), before, alphabet);
                        assert!(forms.contains(&core));
                        let found = encoded.as_bytes().windows(core.len()).any(|window| window == core);
                        assert!(found, "{secret} {before} {after}");
                        assert!(core.len() >= secret.len(), "{secret}");
                    }
                }
            }
        }
    }
}
