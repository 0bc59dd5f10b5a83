//! A literal that is written in pieces: `"abc" + "def"`, over lines, as C joins strings, or after a backslash.

/// A token in more pieces than this is not written by hand.
const MOST_PIECES: usize = 12;
const LONGEST: usize = 1024;

/// The text of a literal that begins at an offset and is interrupted at another; and where its last piece ends.
pub(super) fn literal(
    bytes: &[u8],
    at: usize,
    interrupted: usize,
    work: &mut u64,
) -> Option<(Vec<u8>, usize)> {
    let mut text = bytes[at..interrupted].to_vec();
    let mut end = interrupted;
    for _ in 0..MOST_PIECES {
        let Some(next) = next_piece(bytes, end) else { break };
        let legal = |byte: &u8| {
            byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b',' | b';' | b')')
        };
        let length = bytes[next..].iter().take(LONGEST).take_while(|byte| legal(byte)).count();
        *work += (next - end + length) as u64;
        if length == 0 || text.len() + length > LONGEST {
            break;
        }
        text.extend_from_slice(&bytes[next..next + length]);
        end = next + length;
    }
    (end > interrupted).then_some((text, end))
}

/// Where the next piece begins: after a closing quote, an operator or a line break, and an opening quote.
fn next_piece(bytes: &[u8], end: usize) -> Option<usize> {
    let rest = &bytes[end..bytes.len().min(end + 120)];
    let is_quote = |byte: u8| matches!(byte, b'"' | b'\'' | b'`');
    let mut at = 0;
    let peek = |at: usize| rest.get(at).copied();
    if peek(0) == Some(b'\\') && !peek(1).is_some_and(is_quote) {
        // A backslash before the line break goes on in the next line.
        at = 1 + rest[1..].iter().take_while(|byte| **byte == b'\r').count();
        if peek(at) != Some(b'\n') {
            return None;
        }
        return Some(
            end + at + 1 + rest[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count(),
        );
    }
    at += usize::from(peek(at) == Some(b'\\'));
    let quote = peek(at).filter(|byte| is_quote(*byte))?;
    at += 1;
    let (mut breaks, mut operators) = (0, 0);
    while let Some(byte) = peek(at) {
        match byte {
            b'\n' => breaks += 1,
            b' ' | b'\t' | b'\r' => {}
            b'+' | b'.' | b'&' | b'~' | b'\\' if operators < 2 => operators += 1,
            b'"' | b'\'' | b'`' if byte == quote && (breaks > 0 || operators > 0 || at > 1) => {
                return Some(end + at + 1);
            }
            _ => return None,
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined() {
        for (text, expected) in [
            ("abc\" + \"def\"", Some("abcdef")),
            ("abc\" +\n    \"def\" +\n \"ghi\";", Some("abcdefghi")),
            ("abc\"\n  \"def\"", Some("abcdef")),
            ("abc' . 'def'", Some("abcdef")),
            ("abc\\\ndef ", Some("abcdef")),
            ("abc\", \"def\"", None),
            ("abc\" def", None),
            ("abc", None),
        ] {
            let joined =
                literal(text.as_bytes(), 0, 3, &mut 0).map(|(text, _)| String::from_utf8(text).unwrap());
            assert_eq!(joined.as_deref(), expected, "{text}");
        }
    }
}
