//! Secrets that stand within a secret: the password of a connection string, the key of a JSON document.
//!
//! A program that loads the whole passes on its parts, and those are what turns up in logs.

use super::embedded::{decoded, passwords};

/// Words in the name of a JSON member whose value is secret. What a document says besides is public, and stands in many
/// texts: a region, an address.
const SECRET_WORDS: [&str; 7] = ["password", "passwd", "pwd", "secret", "token", "key", "credential"];

/// All that stands within a secret and is secret by itself.
pub(super) fn of(secret: &str) -> Vec<String> {
    let mut all: Vec<String> =
        passwords(secret).into_iter().flat_map(|span| decoded(&secret[span])).collect();
    if secret.starts_with(['{', '[']) {
        all.extend(json_members(secret));
    }
    all
}

/// The texts of JSON members whose name says secret. A reader of string literals is enough: structure does not matter here,
/// and a document that is not well-formed has secrets too.
fn json_members(document: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = document;
    let mut name: Option<String> = None;
    while let Some(at) = rest.find('"') {
        // A value is what follows its name with nothing but a colon between them.
        let named = name.take().filter(|_| rest[..at].trim() == ":");
        let (text, after) = literal(&rest[at + 1..]);
        rest = after;
        match named {
            Some(key) => {
                if is_secret(&key) {
                    found.push(text);
                }
            }
            None => name = Some(text),
        }
    }
    found
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) && !name.contains("public")
}

/// Reads a literal after its first quote; gives its text and what follows the last quote.
fn literal(text: &str) -> (String, &str) {
    let mut out = String::new();
    let mut units: Vec<u16> = Vec::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            let escape = chars.next().map_or('\\', |(_, c)| c);
            if escape == 'u' {
                let digits: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                units.extend(u16::from_str_radix(&digits, 16));
                continue;
            }
            out.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
            out.push(match escape {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                other => other,
            });
            continue;
        }
        out.push_str(&String::from_utf16_lossy(&std::mem::take(&mut units)));
        if c == '"' {
            return (out, &text[at + 1..]);
        }
        out.push(c);
    }
    (out, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_within_a_secret_is_found() {
        let table: [(&str, &[&str]); 7] = [
            ("plain-secret", &[]),
            ("postgres://me:p%40ss@db/app", &["p%40ss", "p@ss"]),
            (r#"{"username":"app","password":"hunter2\u00e9\"\n","region":"us-east-1"}"#, &["hunter2é\"\n"]),
            (r#"[{"a":{"clientSecret" : "deep-one"}},{"public_key":"shown"}]"#, &["deep-one"]),
            (r#"{"token":12,"list":["token","x"],"key":"last"}"#, &["last"]),
            (r#"{"secret":"never closed"#, &["never closed"]),
            (r#"{"secret":"\ud83e\udd80 crab"}"#, &["🦀 crab"]),
        ];
        for (secret, expected) in table {
            assert_eq!(of(secret), expected, "{secret}");
        }
    }
}
