//! Tokens without a prefix of their own: found by the name of who issued them, on the same line.

use super::{assign, links, noise, sure};
use crate::scan::rules::{Tier, Token};
use std::ops::Range;

/// How far after the name a value may stand.
const FAR: usize = 240;
/// Words of which one must stand with the issuer's name.
const SECRETISH: [&[u8]; 13] = [
    b"key", b"token", b"secret", b"pass", b"auth", b"cred", b"pwd", b"bearer", b"webhook", b"license",
    b"salt", b"login", b"sig",
];

/// What stands after an issuer's name: the value that is given to it, and all else that may be one.
#[derive(Debug)]
pub(super) struct Line {
    /// The value that the name is given, and whether the name itself speaks of a secret.
    given: Option<(Range<usize>, bool)>,
    /// Other pieces of the line, where the line speaks of a secret.
    loose: Vec<Range<usize>>,
}

impl Line {
    /// Reads the line around a name; None where the name is a part of another word.
    pub(super) fn read(bytes: &[u8], word: Range<usize>, work: &mut u64) -> Option<Self> {
        let before = word.start.checked_sub(1).map(|at| bytes[at]);
        let inside = before.is_some_and(|byte| byte.is_ascii_alphabetic())
            && bytes[word.start].is_ascii_alphabetic()
            && !(before.is_some_and(|byte| byte.is_ascii_lowercase())
                && bytes[word.start].is_ascii_uppercase());
        if inside {
            return None;
        }
        let rest = &bytes[word.end..bytes.len().min(word.end + FAR)];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        *work += length as u64;
        let rest = &rest[..length];
        let head = &bytes[word.start.saturating_sub(64)..word.end];
        let head = head.iter().rposition(|byte| *byte == b'\n').map_or(head, |at| &head[at + 1..]);
        let given = assign::read(bytes, word.clone(), work).map(|found| {
            let named = is_secretish(&bytes[found.name.clone()]);
            (found.value, named)
        });
        let mut loose = Vec::new();
        let mut spoken = is_secretish(head);
        let delimiter = |byte: &u8| {
            byte.is_ascii_whitespace()
                || matches!(
                    byte,
                    b'"' | b'\''
                        | b'`'
                        | b','
                        | b';'
                        | b'('
                        | b')'
                        | b'<'
                        | b'>'
                        | b'['
                        | b']'
                        | b'{'
                        | b'}'
                        | b'&'
                        | b'?'
                )
        };
        let mut from = 0;
        for piece in rest.split(|byte| delimiter(byte)) {
            let start = word.end + from;
            from += piece.len() + 1;
            if spoken && piece.len() >= 12 {
                // `name=value` and `name:value` are pieces whose value is what counts.
                let inner = piece[..piece.len() - 2]
                    .iter()
                    .rposition(|byte| matches!(byte, b'=' | b':'))
                    .map_or(0, |at| at + 1);
                loose.push(start..start + piece.len());
                if inner > 0 {
                    loose.push(start + inner..start + piece.len());
                }
            }
            spoken = spoken || is_secretish(piece);
        }
        Some(Self { given, loose })
    }
}

/// The first piece of a line that has a token's shape.
pub(super) fn find(token: &Token, bytes: &[u8], line: &Line) -> Option<(Tier, Range<usize>)> {
    let fits = |span: &Range<usize>| {
        let value = &bytes[span.clone()];
        token.shape.is(value) && !links::is_reference(value) && !noise::is_wordy(value)
    };
    if let Some((span, named)) = &line.given
        && fits(span)
    {
        let tier = sure(token, &bytes[span.clone()])?;
        // A name that says key or token, and a value in the issuer's form, leave no other reading.
        if *named {
            return Some((tier, span.clone()));
        }
    }
    let span = line.loose.iter().find(|span| fits(span))?;
    let tier = sure(token, &bytes[span.clone()])?;
    Some((tier.min(Tier::Likely), span.clone()))
}

fn is_secretish(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    SECRETISH.iter().any(|word| lower.windows(word.len()).any(|window| window == *word))
}
