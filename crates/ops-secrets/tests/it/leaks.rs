//! No secret comes out: every embedding, every encoding, every place where a stream is cut.
//!
//! The encoders here are others' or written anew: the library's own forms must not be their own referee.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ops_secrets::{Masker, MaskingWriter};
use std::fmt::Write as _;
use std::io::Write as _;

const SECRETS: [&str; 8] = [
    "hunter2",
    "s3cr\"t 'it\\is' $HOME `x` !",
    "p%40ss/w+rd=&amp;<tag>?#",
    "ünïcödé-€-🦀-value",
    "tab\tand\u{7f}control\u{85}end",
    "-----BEGIN KEY-----\nMIIBVwIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----",
    "postgres://app:p%40ss%2Fword1@db.example/orders",
    r#"{"username":"app","password":"quo\"ted-pass\\word"}"#,
];

type Encoder = (&'static str, fn(&str) -> String);

/// How programs write a text down; base64 has a part of its own, for it changes what stands beside the secret too.
const ENCODERS: [Encoder; 17] = [
    ("raw", |text| text.to_owned()),
    ("json", |text| inside(&serde_json::to_string(text).unwrap())),
    ("json in json", |text| {
        let once = inside(&serde_json::to_string(text).unwrap());
        inside(&serde_json::to_string(&once).unwrap())
    }),
    ("json ascii", |text| {
        let json = inside(&serde_json::to_string(text).unwrap());
        json.chars().fold(String::new(), |mut out, c| {
            if c.is_ascii() {
                out.push(c);
            } else {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write!(out, "\\u{unit:04x}").unwrap());
            }
            out
        })
    }),
    ("json of php", |text| inside(&serde_json::to_string(text).unwrap()).replace('/', "\\/")),
    ("debug", |text| inside(&format!("{text:?}"))),
    ("url", |text| percent(text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), "%20")),
    ("url, lower", |text| {
        percent(text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), "%20")
            .to_lowercase_escapes()
    }),
    ("component", |text| {
        percent(text, |byte| byte.is_ascii_alphanumeric() || b"-._~!*'()".contains(&byte), "%20")
    }),
    ("form", |text| percent(text, |byte| byte.is_ascii_alphanumeric() || b"*-._".contains(&byte), "+")),
    ("hex", |text| text.bytes().fold(String::new(), |out, byte| out + &format!("{byte:02x}"))),
    ("HEX", |text| text.bytes().fold(String::new(), |out, byte| out + &format!("{byte:02X}"))),
    ("shell, single quotes", |text| text.replace('\'', r"'\''")),
    ("shell, double quotes", |text| {
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`")
    }),
    ("sql", |text| text.replace('\'', "''")),
    ("libpq", |text| text.replace('\\', "\\\\").replace('\'', "\\'")),
    ("xml", |text| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        text.replace('"', "&quot;").replace('\'', "&#x27;")
    }),
];

trait LowercaseEscapes {
    fn to_lowercase_escapes(&self) -> String;
}

impl LowercaseEscapes for String {
    fn to_lowercase_escapes(&self) -> String {
        let mut out = String::new();
        let mut rest = self.as_str();
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            out.push('%');
            out.push_str(&after[..2].to_lowercase());
            rest = &after[2..];
        }
        out + rest
    }
}

fn inside(quoted: &str) -> String {
    quoted[1..quoted.len() - 1].to_owned()
}

fn percent(text: &str, keeps: impl Fn(u8) -> bool, space: &str) -> String {
    text.bytes().fold(String::new(), |out, byte| match byte {
        b' ' => out + space,
        _ if keeps(byte) => out + &char::from(byte).to_string(),
        _ => out + &format!("%{byte:02X}"),
    })
}

/// What stands around a secret in a line.
const EMBEDDINGS: [(&str, &str); 6] = [
    ("", ""),
    ("password=", "\n"),
    ("{\"dsn\":\"", "\"}"),
    ("<a>", "</a>"),
    ("x", "y"),
    ("hunte", "hunter\n"),
];

fn masker() -> Masker {
    let masker = Masker::new();
    masker.register_all(SECRETS.map(|secret| ("name", secret)));
    masker
}

/// The stream's output, cut in two at every place and written byte by byte, is always that of the whole.
fn same_at_every_cut(masker: &Masker, text: &str, whole: &str, what: &str) -> usize {
    let bytes = text.as_bytes();
    for cut in 0..=bytes.len() {
        let mut writer = MaskingWriter::new(Vec::with_capacity(text.len()), masker.clone());
        writer.write_all(&bytes[..cut]).unwrap();
        writer.write_all(&bytes[cut..]).unwrap();
        let out = writer.finish().unwrap();
        assert_eq!(String::from_utf8_lossy(&out), whole, "{what}, cut at {cut}");
    }
    let mut writer = MaskingWriter::new(Vec::new(), masker.clone());
    bytes.chunks(1).for_each(|byte| writer.write_all(byte).unwrap());
    assert_eq!(String::from_utf8_lossy(&writer.finish().unwrap()), whole, "{what}, byte by byte");
    bytes.len() + 2
}

#[test]
fn no_encoding_no_embedding_and_no_cut_lets_a_secret_out() {
    let masker = masker();
    let mut tried = 0;
    for secret in SECRETS {
        for (name, encode) in ENCODERS {
            let encoded = encode(secret);
            for (before, after) in EMBEDDINGS {
                let text = format!("{before}{encoded}{after}");
                let what = format!("{name} of {secret:?} in {before:?}");
                let whole = masker.mask_str(&text).into_owned();
                assert_eq!(whole, format!("{before}[redacted]{after}"), "{what}");
                tried += same_at_every_cut(&masker, &text, &whole, &what);
            }
        }
    }
    assert!(tried > 20_000, "{tried} cuts");
}

#[test]
fn base64_lets_no_secret_out_whatever_is_encoded_with_it() {
    let masker = masker();
    for secret in SECRETS {
        for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
            for before in 0..6 {
                for after in 0..4 {
                    let plain = format!("{}{secret}{}", "x".repeat(before), "~".repeat(after));
                    let text = engine.encode(&plain);
                    let whole = masker.mask_str(&text).into_owned();
                    let (left, right) = whole
                        .split_once("[redacted]")
                        .unwrap_or_else(|| panic!("{secret:?} {before} {after}"));
                    // What is left decodes to what stood around; a digit beside the mask has bits of one byte at most.
                    let of_left = before * 8 / 6 + 1;
                    let of_right = (after * 8).div_ceil(6) + 1 + 2;
                    assert!(
                        left.len() <= of_left && right.len() <= of_right,
                        "{secret:?} {before} {after}: {whole}"
                    );
                    same_at_every_cut(&masker, &text, &whole, secret);
                }
            }
        }
    }
}

#[test]
fn lines_and_parts_of_a_secret_are_masked_alone() {
    let masker = masker();
    for (text, expected) in [
        ("MIIBVwIBADANBgkq", "[redacted]"),
        ("> hkiG9w0BAQEFAASC <", "> [redacted] <"),
        ("-----BEGIN KEY-----", "-----BEGIN KEY-----"),
        ("p%40ss%2Fword1", "[redacted]"),
        ("p@ss/word1", "[redacted]"),
        ("quo\"ted-pass\\word", "[redacted]"),
        (r#"{"password":"quo\"ted-pass\\word"}"#, r#"{"password":"[redacted]"}"#),
        ("\"username\":\"app\" db.example", "\"username\":\"app\" db.example"),
    ] {
        assert_eq!(masker.mask_str(text), expected);
    }
}
