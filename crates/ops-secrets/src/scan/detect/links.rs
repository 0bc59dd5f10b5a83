//! Passwords in URLs, and credentials in headers.

use super::{decode, noise};
use crate::scan::rules::{BASIC_AUTH, BEARER, CONNECTION, Rule, Tier};
use std::ops::Range;

/// The longest user part that is looked for.
const LONGEST: usize = 320;

/// A secret that stands in a range, and how sure that is.
pub(crate) type Found = (&'static Rule, Tier, Range<usize>);

/// Passwords that stand in examples and in throw-away containers: true, and worth nothing.
const COMMON: [&[u8]; 40] = [
    b"password",
    b"passwd",
    b"pass",
    b"pwd",
    b"pw",
    b"secret",
    b"user",
    b"username",
    b"root",
    b"admin",
    b"postgres",
    b"mysql",
    b"redis",
    b"mongo",
    b"mongodb",
    b"guest",
    b"test",
    b"testing",
    b"demo",
    b"dev",
    b"local",
    b"localhost",
    b"foo",
    b"bar",
    b"baz",
    b"qux",
    b"abc",
    b"hunter",
    b"letmein",
    b"qwerty",
    b"welcome",
    b"token",
    b"key",
    b"apikey",
    b"rabbitmq",
    b"minio",
    b"minioadmin",
    b"default",
    b"none",
    b"null",
];

/// Whether a password is a word that nobody means as one.
pub(crate) fn is_common(password: &[u8]) -> bool {
    let lower = password.to_ascii_lowercase();
    let trimmed: &[u8] = {
        let end = lower.iter().rposition(u8::is_ascii_alphabetic).map_or(0, |at| at + 1);
        &lower[..end]
    };
    let words = |part: &[u8]| COMMON.contains(&part);
    // `my-password`, `test_secret`, `p@ssw0rd` as people write them.
    let plain: Vec<u8> = trimmed
        .iter()
        .map(|byte| match byte {
            b'@' => b'a',
            b'0' => b'o',
            b'3' => b'e',
            b'$' => b's',
            b'1' => b'i',
            other => *other,
        })
        .collect();
    let mut parts = plain.split(|byte| !byte.is_ascii_alphabetic()).filter(|part| !part.is_empty());
    trimmed.is_empty()
        || parts.all(|part| words(part) || matches!(part, b"my" | b"the" | b"a" | b"some" | b"super" | b"db"))
}

/// Whether text stands for a value instead of being one: a variable, a format, a mask.
pub(crate) fn is_reference(value: &[u8]) -> bool {
    let has = |needle: &[u8]| value.windows(needle.len()).any(|window| window == needle);
    let same = value.iter().all(|byte| *byte == value[0]);
    value.is_empty()
        || same
        || has(b"${")
        || has(b"{{")
        || has(b"$(")
        || has(b"<%")
        || has(b"#{")
        || has(b"%(")
        || has(b"%{")
        || has(b"@{")
        || value[0] == b'$' && value[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        || value[0] == b'{' && value.ends_with(b"}")
        || value[0] == b'<' && value.ends_with(b">")
        || value[0] == b'[' && value.ends_with(b"]")
        || value[0] == b'%' && (value.ends_with(b"%") || value.len() == 2)
        || has(b"***")
        || has(b"...")
        || has("…".as_bytes())
}

/// The password of a URL whose `://` stands at an offset.
pub(crate) fn url(bytes: &[u8], at: usize, work: &mut u64) -> Option<Found> {
    let scheme_length = bytes[..at]
        .iter()
        .rev()
        .take(24)
        .take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        .count();
    let scheme = bytes[at - scheme_length..at].to_ascii_lowercase();
    let rest = &bytes[at + 3..bytes.len().min(at + 3 + LONGEST)];
    let stop = |byte: &u8| {
        byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\' | 0)
    };
    let length = rest.iter().position(stop).unwrap_or(rest.len());
    *work += length as u64;
    let rest = &rest[..length];
    // A password may hold a slash that somebody forgot to encode; the host after the last `@` may not.
    let sign = rest.iter().position(|byte| *byte == b'@')?;
    let host = rest[sign + 1..].iter().take_while(|byte| !matches!(byte, b'/' | b'?' | b'#')).count();
    let sign = rest[..sign + 1 + host].iter().rposition(|byte| *byte == b'@')?;
    let (user, host) = (&rest[..sign], &rest[sign + 1..]);
    let colon = user.iter().position(|byte| *byte == b':');
    let slash = user.iter().position(|byte| matches!(byte, b'/' | b'?'));
    if slash.is_some_and(|slash| colon.is_none_or(|colon| slash < colon))
        || host.is_empty()
        || scheme.is_empty()
    {
        return None;
    }
    let (name, password) = match colon {
        Some(colon) => (&user[..colon], &user[colon + 1..]),
        // A token alone, as forges take it.
        None => (&user[..0], user),
    };
    // `host:8080/a@b` is a path.
    let before_slash = password.split(|byte| *byte == b'/').next().unwrap_or_default();
    if before_slash.len() < password.len() && is_port(before_slash) {
        return None;
    }
    let start = at + 3 + (user.len() - password.len());
    let span = start..start + password.len();
    if password.len() < 4 || is_reference(password) || is_reference(user) || noise::is_placeholder(password) {
        return None;
    }
    if colon.is_none() {
        // The key in the address that a browser reports errors to is public.
        let is_public = host.windows(6).any(|window| window.eq_ignore_ascii_case(b"sentry"));
        let is_web = scheme.starts_with(b"http") && !is_public;
        return (is_web && password.len() >= 20 && noise::is_random(password)).then_some((
            &CONNECTION,
            Tier::Likely,
            span,
        ));
    }
    if is_common(password) || password.eq_ignore_ascii_case(name) || is_prose_host(host) || is_port(password)
    {
        return None;
    }
    let weak =
        !password.iter().any(|b| b.is_ascii_digit() || !b.is_ascii_alphanumeric()) || password.len() < 8;
    if weak && noise::is_wordy(password) {
        return (!is_local(host)).then_some((&CONNECTION, Tier::Likely, span));
    }
    let tier = if weak || is_local(host) { Tier::Likely } else { Tier::Certain };
    Some((&CONNECTION, tier, span))
}

/// Hosts that the standards reserve for examples (RFC 2606), and those of a sentence.
fn is_prose_host(host: &[u8]) -> bool {
    let end =
        host.iter().position(|b| matches!(b, b'/' | b':' | b'?' | b'#' | b',' | b')')).unwrap_or(host.len());
    let name = host[..end].to_ascii_lowercase();
    let example = [
        &b"example.com"[..],
        b"example.org",
        b"example.net",
        b".example",
        b".test",
        b".invalid",
        b"yourhost",
    ];
    matches!(&name[..], b"host" | b"hostname" | b"server" | b"domain" | b"your-host" | b"example" | b"")
        || example.iter().any(|end| name.ends_with(end))
}

fn is_local(host: &[u8]) -> bool {
    [&b"localhost"[..], b"127.", b"0.0.0.0", b"[::1]", b"host.docker.internal"]
        .iter()
        .any(|local| host.starts_with(local))
}

fn is_port(password: &[u8]) -> bool {
    password.len() <= 5 && password.iter().all(u8::is_ascii_digit)
}

/// Credentials after `basic ` or `bearer `, as they stand in a header.
pub(crate) fn header(bytes: &[u8], at: usize, bearer: bool) -> Option<Found> {
    let start = at + if bearer { 7 } else { 6 };
    let legal = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'.' | b'~')
    };
    let value = &bytes[start.min(bytes.len())..bytes.len().min(start + 1024)];
    let length = value.iter().take_while(|byte| legal(byte)).count();
    let value = &value[..length];
    let span = start..start + length;
    if bearer {
        let good = length >= 20
            && !noise::is_placeholder(value)
            && noise::is_random(value)
            && !value.starts_with(b"eyJ");
        return good.then_some((&BEARER, Tier::Likely, span));
    }
    let decoded = (length >= 12).then(|| decode::base64(value))??;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    // The example of RFC 7617, which every client's tests have.
    let is_manual = decoded.starts_with(b"Aladdin:");
    let printable = decoded.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let password = &decoded[colon + 1..];
    let good = printable
        && !is_manual
        && password.len() >= 4
        && !is_common(password)
        && !noise::is_placeholder(&decoded)
        && !is_reference(password);
    good.then_some((&BASIC_AUTH, Tier::Certain, span))
}

/// The password that a command line gives to curl: `-u user:password`.
pub(crate) fn user_option(bytes: &[u8], after: usize) -> Option<Found> {
    let head = &bytes[after.saturating_sub(200)..after];
    let head = head.iter().rposition(|byte| *byte == b'\n').map_or(head, |at| &head[at + 1..]);
    if !head.windows(4).any(|window| window == b"curl") {
        return None;
    }
    let start = after + usize::from(matches!(bytes.get(after), Some(b'"' | b'\'')));
    let rest = &bytes[start.min(bytes.len())..bytes.len().min(start + 200)];
    let length =
        rest.iter().take_while(|byte| byte.is_ascii_graphic() && !matches!(**byte, b'"' | b'\'')).count();
    let colon = rest[..length].iter().position(|byte| *byte == b':')?;
    let password = &rest[colon + 1..length];
    let good = password.len() >= 6
        && !is_reference(password)
        && !is_common(password)
        && !noise::is_placeholder(password)
        && !password.contains(&b'/')
        && password.iter().any(|byte| !byte.is_ascii_alphabetic());
    good.then_some((&BASIC_AUTH, Tier::Likely, start + colon + 1..start + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(Tier, &str)>) {
        let at = text.find("://").unwrap();
        let found = url(text.as_bytes(), at, &mut 0);
        assert_eq!(found.map(|(_, tier, span)| (tier, &text[span])), expected, "{text}");
    }

    #[test]
    fn passwords_in_urls() {
        // Built here, so that no line of this file looks like what it tests.
        let with = |user: &str, host: &str| format!("postgres://{user}@{host}/db");
        let strong = "k7Gx0q2vPz";
        check(&with(&format!("app:{strong}"), "db.internal:5432"), Some((Tier::Certain, strong)));
        check(&with(&format!(":{strong}"), "cache.internal"), Some((Tier::Certain, strong)));
        check(&with(&format!("app:{strong}"), "localhost"), Some((Tier::Likely, strong)));
        check(&with("app:k7/x0@2vPz", "db.internal"), Some((Tier::Certain, "k7/x0@2vPz")));
        for user in [
            "app",
            "app:",
            "user:password",
            "app:${DB_PASSWORD}",
            "app:$PW",
            "app:<password>",
            "app:xxxxxxxx",
            "postgres:postgres",
            "u:%s",
            "app:***",
            "u:{password}",
            "root:p@ssw0rd",
        ] {
            check(&with(user, "db.internal"), None);
        }
        check(&with(&format!("app:{strong}"), "db.example.com"), None);
        check("see https://host.org:8080/a@b", None);
        check("https://host.org/path:with/colon@sign", None);
    }

    #[test]
    fn a_command_line_gives_a_password() {
        for (text, expected) in [
            ("curl -u 'ci:k7Gx0q2vPz' https://a.b", Some("k7Gx0q2vPz")),
            ("curl -s -u ci:k7Gx0q2vPz x", Some("k7Gx0q2vPz")),
            ("curl -u ci:$PASSWORD x", None),
            ("curl -u user:password x", None),
            ("docker run -u 1000:k7Gx0q2vPz x", None),
        ] {
            let after = text.find("-u ").unwrap() + 3;
            assert_eq!(
                user_option(text.as_bytes(), after).map(|(_, _, span)| &text[span]),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn basic_credentials_are_decoded() {
        let value = ["YXBwOms3R3gw", "cTJ2UHo="].concat();
        let text = format!("Authorization: Basic {value}");
        let at = text.find("Basic").unwrap();
        assert_eq!(header(text.as_bytes(), at, false).unwrap().0.id, "basic-auth");
        assert!(header(b"Basic dXNlcjpwYXNzd29yZA==", 0, false).is_none());
        assert!(header(b"Basic understanding", 0, false).is_none());
    }
}
