//! A name and the value that is given to it, in whatever language: `password = "…"`, `API_TOKEN=…`, `"secret": "…"`,
//! `<password>…</password>`, `connect(password="…")`, `--password …`.
//!
//! Nothing is parsed: the bytes around a word that names a secret are read outwards, a bounded number of them. What is
//! no assignment of a literal (a call, a variable, a type, prose) is left alone.

use super::cursor::{Cursor, LONGEST_QUOTED, Operator};
use super::{links, noise};
use crate::scan::rules::{PASSWORD, Rule, SECRET};
use std::ops::Range;

/// The longest name, each way from the word in it.
const LONGEST_NAME: usize = 48;
/// What a word in a name says of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// People choose it: short and readable ones are real too.
    Password,
    /// A machine makes it: it is long and random.
    Secret,
}

/// The words that make a name one of a secret, in lower case.
pub(crate) const WORDS: [(&str, Named); 25] = [
    ("identified by", Named::Password),
    ("passw", Named::Password),
    ("pwd", Named::Password),
    ("passphrase", Named::Password),
    ("_pass", Named::Password),
    ("userpass", Named::Password),
    ("secret", Named::Secret),
    ("token", Named::Secret),
    ("api_key", Named::Secret),
    ("apikey", Named::Secret),
    ("api-key", Named::Secret),
    ("access_key", Named::Secret),
    ("accesskey", Named::Secret),
    ("access-key", Named::Secret),
    ("auth_key", Named::Secret),
    ("authkey", Named::Secret),
    ("private_key", Named::Secret),
    ("privatekey", Named::Secret),
    ("encryption_key", Named::Secret),
    ("encryptionkey", Named::Secret),
    ("signing_key", Named::Secret),
    ("master_key", Named::Secret),
    ("credential", Named::Secret),
    ("_key", Named::Secret),
    ("_auth", Named::Secret),
];

/// A name with the value that is given to it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: Range<usize>,
    pub(crate) value: Range<usize>,
    pub(crate) quoted: bool,
}

/// The secret that a name with one of the [`WORDS`] is given; the word stands in a range.
pub(crate) fn secret(
    bytes: &[u8],
    word: Range<usize>,
    named: Named,
    work: &mut u64,
) -> Option<(&'static Rule, Range<usize>)> {
    // Half of all words stand in prose or in a longer name: what follows the name decides at once.
    let found = read(bytes, word.clone(), work)?;
    if !names_a_secret(&bytes[found.name.clone()], word.start - found.name.start, word.len()) {
        return None;
    }
    let value = &bytes[found.value.clone()];
    if links::is_reference(value)
        || noise::is_placeholder(value)
        || noise::has_count(value)
        || is_code(value, found.quoted)
    {
        return None;
    }
    let rule = match named {
        Named::Password => is_password(value, found.quoted).then_some(&PASSWORD),
        Named::Secret => is_secret(value).then_some(&SECRET),
    }?;
    Some((rule, found.value))
}

/// Reads the assignment around a word.
pub(crate) fn read(bytes: &[u8], word: Range<usize>, work: &mut u64) -> Option<Assignment> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'$');
    let after = bytes[word.end..].iter().take(LONGEST_NAME).take_while(|byte| inside(byte)).count();
    let name_end = word.end + after;
    *work += after as u64 + 4;
    let mut cursor = Cursor::new(bytes, name_end);
    let operator = cursor.operator()?;
    let before = bytes[..word.start].iter().rev().take(LONGEST_NAME).take_while(|byte| inside(byte)).count();
    let name = word.start - before..name_end;
    let opens_tag = name.start > 0 && bytes[name.start - 1] == b'<';
    let is_flag = bytes[name.clone()].starts_with(b"--");
    let needs_quote = match operator {
        Operator::Is | Operator::Pair => false,
        Operator::Tag if opens_tag => false,
        Operator::Space if is_flag || is_netrc(bytes, name.start) => false,
        Operator::Space if takes_literal(bytes, &name) => true,
        Operator::Tag | Operator::Space => return None,
        Operator::Argument => true,
    };
    let (value, quoted) = cursor.value(needs_quote, matches!(operator, Operator::Tag))?;
    *work += value.len() as u64;
    if !quoted && matches!(operator, Operator::Is) && !is_flag && !stands_alone(bytes, name.start) {
        return None;
    }
    (!value.is_empty()).then_some(Assignment { name, value, quoted })
}

/// Whether a bare value may stand here: at the begin of a line, after `export`, in a list of settings.
fn stands_alone(bytes: &[u8], name: usize) -> bool {
    let head = &bytes[name.saturating_sub(64)..name];
    let line = head.iter().rposition(|byte| matches!(byte, b'\n' | b'\r')).map_or(head, |at| &head[at + 1..]);
    let before = line.trim_ascii();
    let words: [&[u8]; 12] =
        [b"", b"-", b"export", b"set", b"env", b"ENV", b"ARG", b"declare -x", b"#", b"//", b"-e", b"--env"];
    words.contains(&before)
        || before.ends_with(b";")
        || before.ends_with(b"&")
        || before.ends_with(b"?")
        || before.ends_with(b" -e")
        || before.ends_with(b"{")
        || before.ends_with(b",")
        || before.ends_with(b"--")
        // `host=… user=… password=…`, and `KEY=… command`.
        || line.ends_with(b" ") && before.contains(&b'=') && !before.iter().any(|byte| matches!(byte, b'(' | b'{' | b'['))
        // Text may begin where a literal does.
        || line.ends_with(b"\"") || line.ends_with(b"'") || line.ends_with(b"\\n")
}

/// Whether a name is followed by its literal without a sign: `:password "…"`, `PASSWORD '…'`, `IDENTIFIED BY '…'`.
fn takes_literal(bytes: &[u8], name: &Range<usize>) -> bool {
    let word = &bytes[name.clone()];
    name.start > 0 && bytes[name.start - 1] == b':'
        || word.eq_ignore_ascii_case(b"password")
        || word.eq_ignore_ascii_case(b"identified by")
}

fn is_netrc(bytes: &[u8], name: usize) -> bool {
    let head = &bytes[name.saturating_sub(160)..name];
    let has = |word: &[u8]| head.windows(word.len()).any(|window| window == word);
    has(b"machine ") && has(b"login ")
}

/// Whether a name is one of a secret, and not of something about a secret.
fn names_a_secret(name: &[u8], at: usize, length: usize) -> bool {
    let flat = |part: &[u8]| -> Vec<u8> {
        part.iter().filter(|byte| byte.is_ascii_alphanumeric()).map(u8::to_ascii_lowercase).collect()
    };
    let (before, after) = (flat(&name[..at]), flat(&name[at + length..]));
    let about: [&[u8]; 57] = [
        b"sha",
        b"md5",
        b"valid",
        b"id",
        b"name",
        b"url",
        b"uri",
        b"path",
        b"file",
        b"len",
        b"type",
        b"count",
        b"field",
        b"hash",
        b"digest",
        b"policy",
        b"column",
        b"label",
        b"placeholder",
        b"header",
        b"prefix",
        b"suffix",
        b"regex",
        b"pattern",
        b"version",
        b"alg",
        b"exp",
        b"ttl",
        b"timeout",
        b"ref",
        b"arn",
        b"env",
        b"var",
        b"ize",
        b"izing",
        b"hint",
        b"message",
        b"msg",
        b"error",
        b"title",
        b"text",
        b"desc",
        b"index",
        b"size",
        b"limit",
        b"max",
        b"min",
        b"usage",
        b"scope",
        b"expire",
        b"reset",
        b"strength",
        b"store",
        b"manage",
        b"provider",
        b"source",
        b"format",
    ];
    // What completes the word itself comes first: `password`, `passwd`, `secrets`, `apikeys`.
    let ends: [&[u8]; 7] = [b"", b"word", b"ord", b"wd", b"d", b"s", b"key"];
    let ends_about = ends
        .iter()
        .filter_map(|end| after.strip_prefix(*end))
        .any(|rest| about.iter().any(|word| rest.starts_with(word)));
    let not_ours: [&[u8]; 22] = [
        b"public",
        b"publishable",
        b"foreign",
        b"primary",
        b"sort",
        b"partition",
        b"cache",
        b"row",
        b"idempotency",
        b"fake",
        b"dummy",
        b"mock",
        b"example",
        b"sample",
        b"invalid",
        b"wrong",
        b"csrf",
        b"xsrf",
        b"next",
        b"page",
        b"continuation",
        b"sync",
    ];
    !ends_about && !not_ours.iter().any(|word| before.ends_with(word))
}

/// Whether a value is a piece of code or prose instead of a literal.
fn is_code(value: &[u8], quoted: bool) -> bool {
    let has = |byte: u8| value.contains(&byte);
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count();
    if quoted {
        return words > 3
            || has(b'\n')
            || value.starts_with(b"/") && value.iter().filter(|b| **b == b'/').count() > 1
            || has_scheme(value);
    }
    let is_path = value.iter().filter(|byte| **byte == b'.').count() > 1
        && noise::wordiness(value).is_some_and(|share| share > 0.6);
    has(b'(')
        || has(b'[')
        || has(b'{')
        || has(b'$')
        || has(b'\\')
        || value.starts_with(b"!")
        || value.starts_with(b"*")
        || value.starts_with(b"/") && !noise::is_random(value)
        || value.starts_with(b"./")
        || is_path
        || has_scheme(value)
}

fn has_scheme(value: &[u8]) -> bool {
    value.windows(3).any(|window| window == b"://")
}

/// Whether a person or a machine may have chosen it as a password.
fn is_password(value: &[u8], quoted: bool) -> bool {
    let length = value.len();
    if !(6..=128).contains(&length) || links::is_common(value) || value.contains(&b' ') && length < 12 {
        return false;
    }
    let digits = value.iter().filter(|byte| byte.is_ascii_digit()).count();
    let letters = value.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let others = length - digits - letters;
    let mixed_case = value.iter().any(u8::is_ascii_uppercase) && value.iter().any(u8::is_ascii_lowercase);
    if letters == 0 || others > letters + digits || digits == 0 && noise::is_wordy(value) {
        return false;
    }
    // A bare word with a digit may be a variable; one with a symbol or of some length is none.
    let kinds = usize::from(digits > 0) + usize::from(others > 0) + usize::from(mixed_case) + 1;
    let is_name =
        value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':'));
    if is_name && noise::is_wordy(value) && (digits <= 1 || !quoted) && others > 0 {
        return false;
    }
    let needed = if quoted { 2 } else { 3 };
    (kinds >= needed || length >= 16 && noise::is_random(value) || !quoted && kinds == 2 && digits >= 2)
        && noise::entropy(value) >= 2.2
}

/// Whether a machine made it.
fn is_secret(value: &[u8]) -> bool {
    let legal = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'+' | b'/'
                    | b'='
                    | b'-'
                    | b'_'
                    | b'.'
                    | b'~'
                    | b'!'
                    | b'@'
                    | b'#'
                    | b'$'
                    | b'%'
                    | b'^'
                    | b'&'
                    | b'*'
                    | b':'
                    | b'|'
            )
    };
    (16..=LONGEST_QUOTED).contains(&value.len())
        && value.iter().all(legal)
        && noise::is_random(value)
        && !is_dated(value)
}

/// Whether it is a version, a date or an image's tag with a digest.
fn is_dated(value: &[u8]) -> bool {
    let starts = |prefix: &[u8]| value.starts_with(prefix);
    let groups = value.split(|byte| matches!(byte, b'.' | b'-' | b':' | b'_' | b'/')).count();
    let is_date =
        value.len() > 10 && value[..4].iter().all(u8::is_ascii_digit) && value[4] == b'-' && value[7] == b'-';
    is_date
        || starts(b"sha256:")
        || starts(b"sha256-")
        || starts(b"sha512-")
        || starts(b"arn:")
        || starts(b"0x") && value.len() == 42
        || starts(b"projects/")
        || starts(b"data:")
        || groups > 7 && value.len() < 128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let lower = text.to_ascii_lowercase();
        let found = WORDS.iter().find_map(|(word, named)| {
            let at = lower.find(word)?;
            secret(text.as_bytes(), at..at + word.len(), *named, &mut 0)
        });
        assert_eq!(found.map(|(_, span)| &text[span]), expected, "{text}");
    }

    #[test]
    fn literals_that_are_given_to_names() {
        let (secret, password) = ("q7Zt9mX2vK4pL8sW", "Tr0ub4dor+3x");
        for template in [
            "password = \"§\"",
            "password: '§'",
            "\"password\": \"§\",",
            "{\\\"password\\\": \\\"§\\\"}",
            "DB_PASSWORD=\"§\"",
            "const password: string = \"§\";",
            "let password: &str = \"§\";",
            "password := \"§\"",
            "setPassword(\"§\")",
            "os.getenv('PASSWORD', '§')",
            "<password>§</password>",
            "env[\"PASSWORD\"] = \"§\"",
            "password => '§',",
            "mysql --password §",
            "- name: DB_PASSWORD\n  value: §\n",
            "{\"name\": \"DB_PASSWORD\", \"value\": \"§\"}",
            "{:user \"a\" :password \"§\"}",
            "CREATE ROLE app LOGIN PASSWORD '§';",
            "CREATE USER app IDENTIFIED BY '§';",
            "machine h login u password §",
            "my_pass <- \"§\"",
            "let password = Secret::from(\"§\");",
        ] {
            check(&template.replace('§', password), Some(password));
        }
        for template in [
            "API_TOKEN=§",
            "export API_TOKEN=§",
            "  api_key: §",
            "- name: x\n  secret: §\n",
            "token=§;",
            "?access_key=§&x=1",
            "ENV APP_SECRET=§",
            "clientSecret: \"§\"",
            "x-api-key: §",
            "\"private_key\" : \"§\"",
            "  -e API_TOKEN=§",
        ] {
            check(&template.replace('§', secret), Some(secret));
        }
    }

    #[test]
    fn what_is_no_literal_is_left_alone() {
        for text in [
            "password = get_password()",
            "password: ${DB_PASSWORD}",
            "password = \"changeme\"",
            "password = \"password\"",
            "the password is secret",
            "- name: DB_PASSWORD\n  valueFrom: s3cret2",
            "{\"name\": \"password\", \"value\": \"string\"}",
            "the password \"must have 1 digit\"",
            "token = tokenizer.next()",
            "password: string",
            "let token: Token = parse(input)?;",
            "api_key = config.api_key",
            "password_hash = \"q7Zt9mX2vK4pL8sW\"",
            "token_url: \"https://a.b/c2d3e4f5g6\"",
            "password: str = Field(...)",
            "secret_name: prod/db/password-17",
            "\"password\": \"Must have 8 characters and 1 digit\"",
            "publicApiKey: \"short\"",
            "next_page_token = \"q7Zt9mX2vK4pL8sW\"",
            "API_KEY=<your key>",
            "secret: \"my-very-secret-value\"",
            "if password == other_password1 {",
            "cache_key = \"user:17:profile:v2x9\"",
            "password=%s",
            "\"token\": \"{{ token }}\"",
        ] {
            check(text, None);
        }
    }
}
