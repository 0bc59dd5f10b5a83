//! Private keys: PEM, OpenSSH, OpenPGP, PuTTY. A frame without a key in it is a text about keys.

use super::decode;
use crate::scan::rules::{ENCRYPTED_KEY, KEY, PGP_KEY, PUTTY_KEY, Rule};
use std::ops::Range;

/// A key longer than this is none; it bounds what one frame can cost.
const LONGEST: usize = 16 * 1024;

/// A key that begins with `-----BEGIN ` at an offset, and what kind it is.
pub(crate) fn pem(bytes: &[u8], at: usize, work: &mut u64) -> Option<(&'static Rule, Range<usize>)> {
    let text = &bytes[at..bytes.len().min(at + LONGEST)];
    let label = text.strip_prefix(b"-----BEGIN ")?;
    let close = label.iter().take(64).position(|byte| *byte == b'-')?;
    let (label, after) = label.split_at(close);
    let body = after.strip_prefix(b"-----")?;
    let ends = |name: &[u8]| label.ends_with(name);
    if !ends(b"PRIVATE KEY") && !ends(b"PRIVATE KEY BLOCK") {
        return None;
    }
    let length = body.windows(5).position(|window| window == b"-----").unwrap_or(body.len());
    *work += length as u64;
    let body = &body[..length];
    let end = at + "-----BEGIN ".len() + close + "-----".len() + length;
    let (data, headers) = base64_lines(body);
    if ends(b"BLOCK") {
        return (data.len() >= 100 && decode::base64(&data).is_some()).then_some((&PGP_KEY, at..end));
    }
    let key = decode::base64(&data).filter(|key| key.len() >= 32)?;
    let is_openssh = key.starts_with(b"openssh-key-v1\0");
    let is_der = key[0] == 0x30 && der_fits(&key);
    if !is_openssh && !is_der {
        return None;
    }
    // The cipher's name follows the magic and its own length.
    let is_plain_openssh = is_openssh && key.get(19..23) == Some(b"none");
    let encrypted = ends(b"ENCRYPTED PRIVATE KEY") || headers || is_openssh && !is_plain_openssh;
    Some((if encrypted { &ENCRYPTED_KEY } else { &KEY }, at..end))
}

/// A key file of PuTTY.
pub(crate) fn putty(bytes: &[u8], at: usize) -> Option<(&'static Rule, Range<usize>)> {
    let text = &bytes[at..bytes.len().min(at + LONGEST)];
    let private = text.windows(15).position(|window| window == b"Private-Lines: ")?;
    let lines = text[private..].split(|byte| *byte == b'\n').skip(1);
    let data: Vec<u8> = lines.take(1).flatten().copied().filter(|byte| *byte != b'\r').collect();
    let encrypted = !text[..private].windows(16).any(|window| window == b"Encryption: none");
    let rule = if encrypted { &ENCRYPTED_KEY } else { &PUTTY_KEY };
    (data.len() >= 32 && decode::base64(&data).is_some())
        .then_some((rule, at..at + private + 15 + data.len()))
}

/// The base64 of a body, and whether a header says that it is encrypted: RFC 1421's, before the first empty line.
///
/// A body may stand in a string literal, with its line breaks as `\n`, and with quotes, commas, pluses or comment marks
/// around its lines.
fn base64_lines(body: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::with_capacity(body.len());
    let mut encrypted = false;
    for line in logical_lines(body) {
        if line.windows(2).any(|window| window == b": ") {
            encrypted |= line.windows(9).any(|window| window == b"ENCRYPTED");
            continue;
        }
        let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        // The checksum line of OpenPGP begins with `=`.
        if line.trim_ascii().starts_with(b"=") {
            continue;
        }
        let longest = line.split(|byte| !digit(byte)).max_by_key(|run| run.len()).unwrap_or_default();
        // An operator that joins two literals is no line of a key.
        if longest.iter().any(u8::is_ascii_alphanumeric) {
            data.extend_from_slice(longest);
        }
    }
    (data, encrypted)
}

/// The lines of a body, where a line ends at a line break or at an escape of one.
fn logical_lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|byte| *byte == b'\n').flat_map(|line| {
        let (mut pieces, mut from) = (Vec::new(), 0);
        let mut at = 0;
        while at + 1 < line.len() {
            if line[at] == b'\\' && matches!(line[at + 1], b'n' | b'r') {
                pieces.push(&line[from..at]);
                from = at + 2;
                at += 1;
            }
            at += 1;
        }
        pieces.push(&line[from..]);
        pieces
    })
}

/// Whether the outermost length of a DER structure is that of the bytes, give or take what a cut copy lacks.
fn der_fits(key: &[u8]) -> bool {
    let length = match key {
        [_, short @ 0..=0x7f, ..] => usize::from(*short) + 2,
        [_, 0x81, one, ..] => usize::from(*one) + 3,
        [_, 0x82, high, low, ..] => usize::from(*high) * 256 + usize::from(*low) + 4,
        _ => return false,
    };
    key.len().abs_diff(length) <= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that is no key: the structure of one, filled with a counter.
    fn der(length: u16) -> Vec<u8> {
        let [high, low] = length.to_be_bytes();
        [0x30, 0x82, high, low].into_iter().chain((0..length).map(|n| (n * 7 % 251) as u8)).collect()
    }

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte))
                << (8 * (3 - chunk.len()));
            for digit in 0..=chunk.len() {
                text.push(char::from(DIGITS[(word >> (18 - 6 * digit) & 63) as usize]));
            }
        }
        text
    }

    fn found(text: &str) -> Option<&'static str> {
        let at = text.find("-----BEGIN")?;
        pem(text.as_bytes(), at, &mut 0).map(|(rule, _)| rule.id)
    }

    fn framed(label: &str, newline: &str, bytes: &[u8]) -> String {
        let body = base64(bytes);
        let lines: Vec<&str> =
            (0..body.len()).step_by(64).map(|at| &body[at..body.len().min(at + 64)]).collect();
        let frame = |word: &str| format!("-----{word} {label}-----");
        [&[frame("BEGIN").as_str()][..], &lines, &[frame("END").as_str()]].concat().join(newline)
    }

    #[test]
    fn keys_are_told_from_texts_about_keys() {
        let key = der(300);
        for newline in ["\n", "\r\n", "\\n", "\n    ", "\\n\" +\n  \"", "\n# "] {
            assert_eq!(found(&framed("RSA PRIVATE KEY", newline, &key)), Some("private-key"), "{newline:?}");
        }
        assert_eq!(found(&framed("PUBLIC KEY", "\n", &key)), None);
        assert_eq!(found(&framed("CERTIFICATE", "\n", &key)), None);
        assert_eq!(found(&framed("ENCRYPTED PRIVATE KEY", "\n", &key)), Some("encrypted-private-key"));
        assert_eq!(found(&framed("PRIVATE KEY", "\n", &key[..100])), None);
        assert_eq!(found(&framed("PRIVATE KEY", "\n", b"not a structure, but long enough to be one")), None);
        let frame = ["-----BEGIN RSA PRIVATE ", "KEY-----\n...\n-----END RSA PRIVATE ", "KEY-----"].concat();
        assert_eq!(found(&frame), None);
        let mut ssh = b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none".to_vec();
        ssh.extend([7; 64]);
        assert_eq!(found(&framed("OPENSSH PRIVATE KEY", "\n", &ssh)), Some("private-key"));
        ssh.splice(15..23, *b"\0\0\0\x0aaes256-ctr");
        assert_eq!(found(&framed("OPENSSH PRIVATE KEY", "\n", &ssh)), Some("encrypted-private-key"));
    }
}
