//! Texts inside texts: base64, hex and UTF-16, found by looking at few bytes.

use std::ops::Range;

/// A shorter run hides no secret that would be worth a decoding.
const SHORTEST_RUN: usize = 24;
/// A decoded text is looked at no further than this.
const LONGEST_RUN: usize = 16 << 20;

/// Runs of base64 or hex digits that decode to text, with what they decode to.
///
/// It looks at one byte in 24 until that byte may belong to a run, so plain text costs almost nothing.
pub(crate) fn runs(bytes: &[u8], work: &mut u64, mut found: impl FnMut(Range<usize>, &'static str, Vec<u8>)) {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_');
    let (mut at, mut floor) = (SHORTEST_RUN - 1, 0);
    while at < bytes.len() {
        if !digit(bytes[at]) {
            at += SHORTEST_RUN;
            *work += 1;
            continue;
        }
        let back = bytes[floor..at].iter().rev().take_while(|byte| digit(**byte)).count();
        let start = at - back;
        let end = wrapped_end(bytes, start, digit);
        *work += (end - start) as u64;
        // At the begin of a buffer a run may be the rest of one, of which any of four digits is the first.
        let shifts = if start == 0 { 4 } else { 1 };
        let shifted = |shift| decoded(bytes.get(start + shift..end.min(start + LONGEST_RUN))?);
        if end - start >= SHORTEST_RUN
            && let Some((how, text)) = (0..shifts).find_map(shifted)
        {
            found(start..end, how, text);
        }
        floor = end;
        at = end + SHORTEST_RUN;
    }
}

/// The end of a run that may go on after a line break, as mail and configuration files wrap base64.
fn wrapped_end(bytes: &[u8], mut at: usize, digit: impl Fn(u8) -> bool) -> usize {
    let mut line = None;
    loop {
        let length = bytes[at..].iter().take_while(|byte| digit(**byte)).count();
        at += length;
        let blank = |byte: &&u8| matches!(**byte, b'\r' | b'\n' | b' ' | b'\t');
        let gap = bytes[at..].iter().take(40).take_while(blank).count();
        let next = bytes[at + gap..].iter().take(4).take_while(|byte| digit(**byte)).count();
        // All lines of a block are long, and as long as the first, but for the last.
        let goes_on = bytes[at..at + gap].contains(&b'\n') && next == 4;
        if !goes_on || length < 40 || line.is_some_and(|line| line != length) {
            return at;
        }
        line = Some(length);
        at += gap;
    }
}

/// What a run decodes to, if that is text.
fn decoded(run: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    let is_hex = run.len().is_multiple_of(2) && run.iter().all(u8::is_ascii_hexdigit);
    if is_hex && let Some(text) = hex(run).filter(|text| is_text(text)) {
        return Some(("hex", text));
    }
    let mixed = run.iter().any(u8::is_ascii_uppercase) && run.iter().any(u8::is_ascii_lowercase);
    if !mixed {
        return None;
    }
    // Three bytes are looked at before a whole run is decoded.
    let head = base64(&run[..run.len().min(16)])?;
    if !is_text(&head[..head.len().min(9)]) {
        return None;
    }
    base64(run).filter(|text| is_text(text) || is_utf16(text)).map(|text| ("base64", text))
}

/// Decodes either alphabet, without padding, over line breaks; None where another byte stands inside.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'\r' | b'\n' | b' ' | b'\t' => continue,
            b'=' => break,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8);
    text.chunks_exact(2).map(pair).collect()
}

/// Whether nearly all bytes are printable: what a key or an image decodes to is not.
fn is_text(bytes: &[u8]) -> bool {
    let printable = bytes.iter().filter(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t')).count();
    !bytes.is_empty() && printable * 20 >= bytes.len() * 19
}

/// Whether bytes are text of two bytes a character, seen from their first ones.
fn is_utf16(bytes: &[u8]) -> bool {
    utf16(bytes).is_some()
}

/// The text of UTF-16 bytes: those that begin with a mark, or where every second byte is zero.
pub(crate) fn utf16(bytes: &[u8]) -> Option<Vec<u8>> {
    let (big, body) = match bytes {
        [0xff, 0xfe, rest @ ..] => (false, rest),
        [0xfe, 0xff, rest @ ..] => (true, rest),
        _ => {
            let head = &bytes[..bytes.len().min(256)];
            let zeros = |odd: usize| head.iter().skip(odd).step_by(2).filter(|byte| **byte == 0).count();
            let (even, odd) = (zeros(0), zeros(1));
            let many = head.len() * 2 / 5;
            if head.len() < 16 || (even < many) == (odd < many) {
                return None;
            }
            (even >= many, bytes)
        }
    };
    let unit = |pair: &[u8]| {
        let pair = [pair[0], pair[1]];
        if big { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    };
    let units = body.chunks_exact(2).map(unit);
    let text: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Some(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Range<usize>, &'static str, String)> {
        let mut all = Vec::new();
        runs(text.as_bytes(), &mut 0, |span, how, text| {
            all.push((span, how, String::from_utf8_lossy(&text).into_owned()));
        });
        all
    }

    #[test]
    fn hidden_texts_are_found_and_others_are_not() {
        let plain = "password is not here, but a long line";
        assert_eq!(found(plain), []);
        let encoded = "cGFzc3dvcmQgaXMgbm90IGhlcmUsIGJ1dCBhIGxvbmcgbGluZQ";
        for text in [encoded.to_owned(), format!("data: {encoded}==\n"), format!("{{\"a\":\"{encoded}==\"}}")]
        {
            assert_eq!(found(&text)[0].2, plain, "{text}");
        }
        let hex = "70617373776f7264206973206e6f7420686572652c2062757420";
        assert_eq!(found(&format!("x={hex};"))[0].1, "hex");
        assert_eq!(found("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"), []);
        assert_eq!(found("src/some/Path/that/is/Quite/long/and_named_well.rs"), []);
    }

    #[test]
    fn wrapped_base64_is_one_text() {
        let line = "YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5emFiYyBk";
        let found = found(&format!("{line}\n{line}\nYWJj\n"));
        assert_eq!(found.len(), 1);
        assert!(found[0].2.ends_with("abc"), "{found:?}");
    }

    #[test]
    fn utf16_is_read_in_both_orders() {
        let text = "token = something long";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [little, big] {
            assert_eq!(utf16(&bytes).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(utf16(text.as_bytes()), None);
        assert_eq!(utf16(&[0; 64]), None);
    }
}
