//! JSON Web Tokens (RFC 7519): decoded, because three runs of base64 with dots may be anything.

use super::{decode, noise};
use crate::scan::rules::{JWT, JWT_OLD, Rule};
use std::ops::Range;

const LONGEST: usize = 8 * 1024;

/// A token whose header begins at an offset; `now` is in seconds since 1970.
pub(crate) fn find(
    bytes: &[u8],
    at: usize,
    now: u64,
    work: &mut u64,
) -> Option<(&'static Rule, Range<usize>)> {
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // Inside a longer run there is no begin of a token: this also bounds the work where a text repeats one.
    let inside = at > 0 && matches!(bytes[at - 1], b'-' | b'_' | b'.');
    if inside || !super::shape_begins(bytes, at) {
        return None;
    }
    let text = &bytes[at..bytes.len().min(at + LONGEST)];
    let mut ends = [0; 3];
    let mut from = 0;
    for (index, end) in ends.iter_mut().enumerate() {
        let length = text[from..].iter().take_while(|byte| digit(**byte)).count();
        *work += length as u64;
        *end = from + length;
        let is_dot = text.get(*end) == Some(&b'.');
        if index < 2 && !is_dot {
            return None;
        }
        from = *end + 1;
    }
    let [header, payload, end] = ends;
    let head = decode::base64(&text[..header])?;
    let claims = decode::base64(&text[header + 1..payload])?;
    let signature = &text[payload + 1..end];
    let is_json = head.starts_with(b"{") && claims.starts_with(b"{");
    if !is_json || !holds(&head, b"\"alg\"") || signature.len() < 20 {
        return None;
    }
    // The token of the format's own site, which stands in every manual.
    let is_manual =
        holds(&claims, b"John Doe") || holds(&claims, b"1516239022") || noise::is_placeholder(signature);
    if is_manual {
        return None;
    }
    let expired = number(&claims, b"\"exp\"").is_some_and(|exp| exp < now);
    let public = holds(&claims, b"\"role\":\"anon\"");
    Some((if expired || public { &JWT_OLD } else { &JWT }, at..at + end))
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// The whole number after a key.
fn number(json: &[u8], key: &[u8]) -> Option<u64> {
    let at = json.windows(key.len()).position(|window| window == key)? + key.len();
    let rest = json[at..].iter().skip_while(|byte| byte.is_ascii_whitespace() || **byte == b':');
    let digits: Vec<u8> = rest.copied().take_while(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_decodes_is_a_token() {
        // {"alg":"HS256"} and {"sub":"svc","exp":2000000000}.
        let (head, claims) = ("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJzdmMiLCJleHAiOjIwMDAwMDAwMDB9");
        let signature = "q7Zt9mX2vK4pL8sWq7Zt9mX2vK4p";
        let found = |text: &str, now| {
            find(text.as_bytes(), text.find("eyJ").unwrap(), now, &mut 0).map(|(rule, _)| rule.id)
        };
        let token = [head, claims, signature].join(".");
        assert_eq!(found(&token, 1_000_000_000), Some("jwt"));
        assert_eq!(found(&token, 2_000_000_001), Some("jwt-expired"));
        assert_eq!(found(&[head, claims].join("."), 0), None);
        assert_eq!(found(&[head, "bm90IGpzb24", signature].join("."), 0), None);
        assert_eq!(found(&["eyJub3QiOjF9", claims, signature].join("."), 0), None);
        assert_eq!(found(&format!("x{token}"), 0), None);
    }
}
