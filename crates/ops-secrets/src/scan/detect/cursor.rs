//! Reads on from a name: the sign that gives it a value, and the value, quoted or bare, in any of many languages.

use std::ops::Range;

/// The longest bare value.
const LONGEST_VALUE: usize = 512;
/// The longest quoted one: a private key in base64 without its frame.
pub(super) const LONGEST_QUOTED: usize = 4096;

/// How a value is given to a name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Operator {
    /// `=`, `:`, `:=`, `=>`, `==`.
    Is,
    /// `>`, the end of a tag.
    Tag,
    /// `,` or `(`: an argument.
    Argument,
    /// A space: a flag, `.netrc`, a keyword of Clojure or SQL.
    Space,
    /// `name: DB_PASSWORD` and then `value: …`, as lists of variables have it.
    Pair,
}

/// A place in bytes, and how far it may go.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    floor: usize,
}

impl<'a> Cursor<'a> {
    /// Begins after a name.
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, floor: bytes.len().min(at + LONGEST_QUOTED) }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes[..self.floor].get(self.at).copied()
    }

    fn skip(&mut self, accepted: impl Fn(u8) -> bool, most: usize) -> usize {
        let length =
            self.bytes[self.at..self.floor].iter().take(most).take_while(|byte| accepted(**byte)).count();
        self.at += length;
        length
    }

    fn blanks(&mut self) -> usize {
        self.skip(|byte| matches!(byte, b' ' | b'\t'), 40)
    }

    /// Steps over what gives the value.
    pub(super) fn operator(&mut self) -> Option<Operator> {
        // The name's own quote or bracket ends first: `"password":`, `env["PASSWORD"] =`, `\"password\":`.
        if self.pair() {
            return Some(Operator::Pair);
        }
        let closed = self.skip(|byte| matches!(byte, b'"' | b'\'' | b'`' | b'\\' | b']' | b')'), 4);
        let spaces = self.blanks();
        let operator = match self.peek()? {
            b':' | b'=' | b'?' | b'|' | b'+' if !self.bytes[self.at..].starts_with(b"://") => {
                let length = self.skip(|byte| matches!(byte, b':' | b'=' | b'>' | b'?' | b'|' | b'+'), 3);
                let operator = &self.bytes[self.at - length..self.at];
                if !operator.iter().any(|byte| matches!(byte, b':' | b'=')) {
                    return None;
                }
                Operator::Is
            }
            b'<' if self.bytes[self.at..].starts_with(b"<-") => {
                self.at += 2;
                Operator::Is
            }
            b'>' if closed == 0 => {
                self.at += 1;
                return Some(Operator::Tag);
            }
            b',' if closed > 0 => {
                self.at += 1;
                Operator::Argument
            }
            b'(' if closed == 0 => {
                self.at += 1;
                Operator::Argument
            }
            _ if spaces > 0 && closed == 0 => return Some(Operator::Space),
            _ => return None,
        };
        self.blanks();
        if matches!(operator, Operator::Is) {
            self.type_annotation();
        }
        Some(operator)
    }

    /// Steps over `", "value": ` in one line or two, where it stands here.
    fn pair(&mut self) -> bool {
        let start = self.at;
        self.skip(|byte| matches!(byte, b'"' | b'\'' | b'\\'), 2);
        self.skip(|byte| matches!(byte, b',' | b' ' | b'\t' | b'\r' | b'\n'), 60);
        self.skip(|byte| matches!(byte, b'"' | b'\'' | b'\\'), 2);
        let is_value =
            self.bytes[self.at..self.floor].get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"value"));
        if is_value && self.at > start {
            self.at += 5;
            self.skip(|byte| matches!(byte, b'"' | b'\'' | b'\\'), 2);
            self.blanks();
            if self.skip(|byte| matches!(byte, b':' | b'='), 1) == 1 {
                self.blanks();
                return true;
            }
        }
        self.at = start;
        false
    }

    /// Steps over a type: `: &'static str = "…"`, `: string = "…"`, `: Option<String> = …`.
    fn type_annotation(&mut self) {
        let start = self.at;
        let legal = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b'&' | b'\'' | b'<' | b'>' | b':' | b'[' | b']' | b' ')
        };
        self.skip(legal, 40);
        let is_type =
            self.at > start && self.peek() == Some(b'=') && self.bytes.get(self.at + 1) != Some(&b'=');
        // Base64 ends in `=` too; a type is followed by a space before it.
        if is_type && self.bytes[self.at - 1] == b' ' {
            self.at += 1;
            self.blanks();
        } else {
            self.at = start;
        }
    }

    /// The value that begins here, and whether it is quoted.
    pub(super) fn value(&mut self, needs_quote: bool, tag: bool) -> Option<(Range<usize>, bool)> {
        // A wrapper or a prefix of a literal: `b"…"`, `Some("…")`, `Secret::new("…")`, `[]byte("…")`, `!!str "…"`.
        let start = self.at;
        let wrapper = |byte: u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b':' | b'(' | b'[' | b']' | b'.' | b'@' | b'!' | b'&')
        };
        let skipped = self.skip(wrapper, 40);
        let prefix = &self.bytes[start..self.at];
        let is_prefix =
            skipped <= 2 && prefix.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'@');
        let is_wrapper = is_prefix || prefix.ends_with(b"(");
        if let Some(quote) = self.quote().filter(|_| is_wrapper) {
            return self.quoted(quote);
        }
        self.at = start;
        self.blanks();
        if let Some(quote) = self.quote() {
            return self.quoted(quote);
        }
        if needs_quote {
            return None;
        }
        let ends = |byte: u8| {
            if tag {
                return matches!(byte, b'<' | b'\n' | 0);
            }
            byte.is_ascii_whitespace()
                || matches!(byte, b',' | b';' | b'"' | b'\'' | b'<' | b'>' | b'`' | b'&' | b'|' | 0)
        };
        let length = self.skip(|byte| !ends(byte), LONGEST_VALUE);
        Some((self.at - length..self.at, false))
    }

    /// Steps over an opening quote, which a text inside a text has after a backslash.
    fn quote(&mut self) -> Option<u8> {
        let backslashes =
            self.bytes[self.at..self.floor].iter().take(3).take_while(|byte| **byte == b'\\').count();
        let quote = *self.bytes[..self.floor].get(self.at + backslashes)?;
        if !matches!(quote, b'"' | b'\'' | b'`') {
            return None;
        }
        let run = self.bytes[self.at + backslashes..self.floor]
            .iter()
            .take(3)
            .take_while(|byte| **byte == quote)
            .count();
        self.at += backslashes + if run == 3 { 3 } else { 1 };
        Some(quote)
    }

    fn quoted(&mut self, quote: u8) -> Option<(Range<usize>, bool)> {
        let start = self.at;
        let escaped = start >= 2 && self.bytes[start - 2] == b'\\';
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => return None,
                b'\\' if escaped && self.bytes.get(self.at + 1) == Some(&quote) => {
                    return Some((start..self.at, true));
                }
                b'\\' => self.at += 2,
                byte if byte == quote => return Some((start..self.at, true)),
                _ => self.at += 1,
            }
        }
        None
    }
}
