//! Passwords that stand within other settings: in the user part of a URL, or as `password=…` in a connection string.

use std::ops::Range;

const KEYS: [&str; 3] = ["password", "passwd", "pwd"];

/// Where passwords stand in a text, in order and disjoint.
///
/// Rather too much than too little: a stray `@` later in the word counts as the end of the user part, because a password
/// that was not encoded may hold any character.
pub(crate) fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut spans: Vec<Range<usize>> =
        in_urls(text).chain(in_pairs(text)).filter(|span| !span.is_empty()).collect();
    spans.sort_by_key(|span| span.start);
    let mut end = 0;
    spans.retain(|span| {
        let apart = span.start >= end;
        end = end.max(span.end);
        apart
    });
    spans
}

fn in_urls(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("://").filter_map(|(at, _)| {
        let start = at + 3;
        let word = text[start..].split(char::is_whitespace).next().unwrap_or_default();
        let user_part = &word[..word.rfind('@')?];
        Some(start + user_part.find(':')? + 1..start + user_part.len())
    })
}

fn in_pairs(text: &str) -> impl Iterator<Item = Range<usize>> {
    // ASCII lower case keeps every offset.
    let lower = text.to_ascii_lowercase();
    let found: Vec<usize> =
        KEYS.iter().flat_map(|key| lower.match_indices(key).map(|(at, _)| at + key.len())).collect();
    found.into_iter().filter_map(|after_key| {
        let rest = text[after_key..].trim_start().strip_prefix('=')?.trim_start();
        let start = text.len() - rest.len();
        let length = match rest.strip_prefix('\'') {
            Some(quoted) => return Some(start + 1..start + 1 + quote_end(quoted)),
            None => rest.find(|c: char| c.is_whitespace() || c == '&').unwrap_or(rest.len()),
        };
        Some(start..start + length)
    })
}

/// Where a libpq value ends that began with a quote: at the next quote without a backslash.
fn quote_end(quoted: &str) -> usize {
    let mut escaped = false;
    let end = quoted.find(|c| {
        let ends = c == '\'' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.unwrap_or(quoted.len())
}

/// A password as it stands in its text, and as it is meant: percent-decoded, or without libpq's backslashes.
pub(crate) fn decoded(written: &str) -> Vec<String> {
    let mut all = vec![written.to_owned()];
    if written.contains('%') {
        let mut bytes = Vec::with_capacity(written.len());
        let mut rest = written.as_bytes();
        while let [first, tail @ ..] = rest {
            let code = tail.get(..2).filter(|_| *first == b'%').and_then(|code| str::from_utf8(code).ok());
            match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &tail[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = tail;
                }
            }
        }
        all.extend(String::from_utf8(bytes));
    }
    if written.contains('\\') {
        let mut escaped = false;
        let keep = |c: &char| {
            escaped = *c == '\\' && !escaped;
            !escaped
        };
        all.push(written.chars().filter(keep).collect());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_found_in_connection_strings() {
        let table = [
            ("/var/backups", vec![]),
            ("host=db user=me", vec![]),
            ("https://host:8080/path", vec![]),
            ("https://me@host/path", vec![]),
            ("postgres://me:pw%40x@host:5432/db", vec!["pw%40x"]),
            ("postgres://me:p/w@x@host/db", vec!["p/w@x"]),
            ("redis://:pw@host", vec!["pw"]),
            ("postgres://me@host/db?password=pw&sslmode=require", vec!["pw"]),
            ("a://u:one@h b://u:two@h", vec!["one", "two"]),
            ("host=db password=pw user=me", vec!["pw"]),
            ("host=db PASSWORD = 'p w\\'x' user=me", vec!["p w\\'x"]),
            ("Server=db;Pwd='never closed", vec!["never closed"]),
            ("password=", vec![]),
        ];
        for (text, expected) in table {
            let found: Vec<&str> = passwords(text).into_iter().map(|span| &text[span]).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn passwords_are_known_as_they_are_meant() {
        let table: [(&str, &[&str]); 4] = [
            ("plain", &["plain"]),
            ("a%40b%zz%4", &["a%40b%zz%4", "a@b%zz%4"]),
            (r"it\'s \\ so", &[r"it\'s \\ so", r"it's \ so"]),
            ("%ff", &["%ff"]),
        ];
        for (written, expected) in table {
            assert_eq!(decoded(written), expected);
        }
    }
}
