//! The shape of a token, in a small language of its own, and the match of a shape against bytes.
//!
//! A shape is literal text and runs: `ghp_<an:36>` is the text `ghp_` and 36 letters or digits. A run names an alphabet
//! and a length or two. Runs are greedy and never give back, so a run must be followed by text that its alphabet lacks, or
//! have one length; a match then looks at each byte once. That, and that a shape is data, is why no regular expressions
//! are used: 400 of them cost more to compile than a commit's files cost to scan.

use std::ops::Range;

/// A set of ASCII bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Alphabet(u128);

impl Alphabet {
    pub(crate) const LETTERS_DIGITS: Self = Self::of(b"azAZ09", b"");
    /// Pairs are ranges; the rest are single bytes.
    const fn of(ranges: &[u8], singles: &[u8]) -> Self {
        let (mut set, mut at) = (0_u128, 0);
        while at < ranges.len() {
            let mut byte = ranges[at];
            while byte <= ranges[at + 1] {
                set |= 1 << byte;
                byte += 1;
            }
            at += 2;
        }
        at = 0;
        while at < singles.len() {
            set |= 1 << singles[at];
            at += 1;
        }
        Self(set)
    }

    /// The alphabets by the names that shapes use.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "num" => Self::of(b"09", b""),
            "hex" => Self::of(b"09af", b""),
            "Hex" => Self::of(b"09afAF", b""),
            "HEX" => Self::of(b"09AF", b""),
            "low" => Self::of(b"09az", b""),
            "up" => Self::of(b"09AZ", b""),
            "az" => Self::of(b"az", b""),
            "AZ" => Self::of(b"AZ", b""),
            "b32" => Self::of(b"AZ27", b""),
            "an" => Self::LETTERS_DIGITS,
            "word" => Self::of(b"azAZ09", b"_"),
            "url" => Self::of(b"azAZ09", b"-_"),
            "urld" => Self::of(b"azAZ09", b"-_."),
            "b64" => Self::of(b"azAZ09", b"+/"),
            "b64e" => Self::of(b"azAZ09", b"+/="),
            "urle" => Self::of(b"azAZ09", b"-_="),
            "pct" => Self::of(b"azAZ09", b"-_%"),
            "any" => Self::of(b"azAZ09", b"+/=-_.~"),
            _ => return None,
        })
    }

    pub(crate) const fn has(self, byte: u8) -> bool {
        byte < 128 && (self.0 >> byte) & 1 == 1
    }

    /// How many bytes the set has.
    pub(crate) fn size(self) -> u32 {
        self.0.count_ones()
    }

    /// The bytes of the set.
    #[cfg(test)]
    pub(crate) fn bytes(self) -> impl Iterator<Item = u8> {
        (0..128).filter(move |byte| self.has(*byte))
    }
}

/// A part of a shape.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    /// Exactly this text.
    Text(&'static str),
    /// So many bytes of an alphabet.
    Run { alphabet: Alphabet, least: usize, most: usize },
}

/// A shape that was read.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What stands before the first text, which is what the search finds.
    lead: Option<Part>,
    parts: Vec<Part>,
}

/// Why bytes do not have a shape.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Something else stands there.
    Other,
    /// The shape was right up to this offset, where the bytes ended too early: a literal may go on elsewhere.
    Short(usize),
}

impl Shape {
    /// Reads a shape; None where it is not well-formed, which a test over all rules excludes.
    pub(crate) fn read(text: &'static str) -> Option<Self> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let open = rest.find('<').unwrap_or(rest.len());
            if open > 0 {
                parts.push(Part::Text(&rest[..open]));
            }
            rest = &rest[open..];
            let Some(inner) = rest.strip_prefix('<') else { break };
            let (run, after) = inner.split_once('>')?;
            rest = after;
            if run == "uuid" {
                parts.extend(uuid());
                continue;
            }
            let (name, length) = run.split_once(':')?;
            let (least, most) = length.split_once('-').unwrap_or((length, length));
            let (least, most) = (least.parse().ok()?, most.parse().ok()?);
            parts.push(Part::Run { alphabet: Alphabet::named(name)?, least, most });
        }
        let lead = match parts.as_slice() {
            [run @ Part::Run { .. }, Part::Text(_), ..] => Some(*run),
            _ => None,
        };
        if lead.is_some() {
            parts.remove(0);
        }
        (!parts.is_empty()).then_some(Self { lead, parts })
    }

    /// The text to search for; None for a shape that only context can find.
    pub(crate) fn word(&self) -> Option<&'static str> {
        match self.parts.first() {
            Some(Part::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// All parts in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> {
        self.lead.into_iter().chain(self.parts.iter().copied())
    }

    /// The span of the shape whose first text begins at an offset, with nothing before or after that belongs to it.
    pub(crate) fn around(&self, bytes: &[u8], at: usize) -> Result<Range<usize>, Miss> {
        let start = match self.lead {
            Some(Part::Run { alphabet, least, most }) => {
                let length = bytes[..at].iter().rev().take(most).take_while(|b| alphabet.has(**b)).count();
                if length < least {
                    return Err(Miss::Other);
                }
                at - length
            }
            _ => at,
        };
        if !begins(bytes, start) {
            return Err(Miss::Other);
        }
        let end = self.forward(bytes, at)?;
        Ok(start..end)
    }

    /// Whether a whole value has this shape.
    pub(crate) fn is(&self, value: &[u8]) -> bool {
        let lead = match self.lead {
            Some(Part::Run { alphabet, least, most }) => {
                let length = value.iter().take(most).take_while(|b| alphabet.has(**b)).count();
                if length < least {
                    return false;
                }
                length
            }
            _ => 0,
        };
        self.forward(value, lead) == Ok(value.len())
    }

    fn forward(&self, bytes: &[u8], mut at: usize) -> Result<usize, Miss> {
        let mut last = None;
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    let there = &bytes[at..bytes.len().min(at + text.len())];
                    if there != text.as_bytes() {
                        let common = text.bytes().zip(there).take_while(|(a, b)| a == *b).count();
                        // The first text is what the search found; after it, bytes may end anywhere.
                        return Err(if last.is_some() && common < text.len() {
                            Miss::Short(at + common)
                        } else {
                            Miss::Other
                        });
                    }
                    at += text.len();
                    last = last.or(Some(Alphabet::LETTERS_DIGITS));
                }
                Part::Run { alphabet, least, most } => {
                    let rest = &bytes[at..bytes.len().min(at + most)];
                    let length = rest.iter().take_while(|byte| alphabet.has(**byte)).count();
                    at += length;
                    if length < *least {
                        return Err(Miss::Short(at));
                    }
                    last = Some(*alphabet);
                }
            }
        }
        let goes_on =
            |byte: u8| Alphabet::LETTERS_DIGITS.has(byte) || last.is_some_and(|alphabet| alphabet.has(byte));
        // A dash or dot that ends a sentence, a file name or an option is not part of a token.
        let next = bytes.get(at).copied().filter(|next| goes_on(*next));
        match next {
            Some(b'-' | b'_' | b'.' | b'/' | b'=')
                if !bytes.get(at + 1).is_some_and(|byte| goes_on(*byte)) =>
            {
                Ok(at)
            }
            Some(_) => Err(Miss::Other),
            None => Ok(at),
        }
    }
}

/// Whether a token may begin here: after a letter or digit it may not, except where that one is the end of an escape.
pub(crate) fn begins(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).map(|at| bytes[at]);
    match before(1) {
        Some(byte) if Alphabet::LETTERS_DIGITS.has(byte) => {
            let escape = matches!(byte, b'n' | b'r' | b't') && before(2) == Some(b'\\');
            let percent = byte.is_ascii_hexdigit()
                && before(2).is_some_and(|byte| byte.is_ascii_hexdigit())
                && before(3) == Some(b'%');
            let unicode = before(6) == Some(b'\\') && before(5) == Some(b'u');
            // The escapes of a terminal's colours end in a letter.
            let colour = byte == b'm' && (2..8).any(|back| before(back) == Some(0x1b));
            escape || percent || unicode || colour
        }
        _ => true,
    }
}

fn uuid() -> [Part; 9] {
    let alphabet = Alphabet::of(b"09afAF", b"");
    let run = |length| Part::Run { alphabet, least: length, most: length };
    let dash = Part::Text("-");
    [run(8), dash, run(4), dash, run(4), dash, run(4), dash, run(12)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shape: &'static str, text: &str, expected: Option<&str>) {
        let shape = Shape::read(shape).unwrap();
        let word = shape.word().unwrap();
        let found = text
            .match_indices(word)
            .find_map(|(at, _)| shape.around(text.as_bytes(), at).ok())
            .map(|span| &text[span]);
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn shapes_match_whole_tokens() {
        for (shape, text, expected) in [
            ("ab_<an:4>", "x ab_1234 y", Some("ab_1234")),
            ("ab_<an:4>", "ab_1234", Some("ab_1234")),
            ("ab_<an:4>", "ab_123", None),
            ("ab_<an:4>", "ab_12345", None),
            ("ab_<an:4>", "xab_1234", None),
            ("ab_<an:4>", "\\nab_1234", Some("ab_1234")),
            ("ab_<an:4>", "%3Dab_1234", Some("ab_1234")),
            ("ab_<an:4>", "ab_12é4", None),
            ("ab_<num:2-4>-<an:3>", "ab_123-xyz.", Some("ab_123-xyz")),
            ("ab_<url:4>", "ab_1234-", Some("ab_1234")),
            ("ab_<url:4>", "ab_1234-5", None),
            ("<num:2-3>:AA<an:4>", "id 12:AAabcd", Some("12:AAabcd")),
            ("<num:2-3>:AA<an:4>", "id 1:AAabcd", None),
            ("<num:2-3>:AA<an:4>", "id 1234:AAabcd", None),
            (
                "k-<uuid>",
                "k-01234567-89ab-cdef-0123-456789abcdef",
                Some("k-01234567-89ab-cdef-0123-456789abcdef"),
            ),
        ] {
            check(shape, text, expected);
        }
    }

    #[test]
    fn a_shape_that_ends_too_early_says_where() {
        let shape = Shape::read("ab_<an:4>-<an:2>").unwrap();
        assert_eq!(shape.around(b"ab_12\"", 0), Err(Miss::Short(5)));
        assert_eq!(shape.around(b"ab_1234\"", 0), Err(Miss::Short(7)));
        assert_eq!(shape.around(b"ab_1234-9 ", 0), Err(Miss::Short(9)));
        assert_eq!(shape.around(b"xab_1234-99", 1), Err(Miss::Other));
    }

    #[test]
    fn what_is_no_shape_is_not_read() {
        for text in ["", "<an:4", "a<nothing:4>", "a<an:x>", "a<an>"] {
            assert!(Shape::read(text).is_none(), "{text}");
        }
    }
}
