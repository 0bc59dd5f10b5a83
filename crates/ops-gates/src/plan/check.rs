//! What a kind's keys must have in common sense, beyond their types: pure functions.

use super::kinds::{Command, Evidence, Http, Kind, Postgres};
use super::text::names_a_secret;
use std::ops::Range;

/// What is wrong with a gate's own keys, and where, if the place is narrower than the gate.
pub(super) fn kind(kind: &Kind) -> Vec<(Option<Range<usize>>, String)> {
    match kind {
        Kind::Command(it) => command(it),
        Kind::Http(it) => http(it),
        Kind::Postgres(it) => postgres(it),
        Kind::Evidence(it) => evidence(it),
    }
}

type Wrong = Vec<(Option<Range<usize>>, String)>;

fn command(it: &Command) -> Wrong {
    let mut wrong = Vec::new();
    if it.run.first().is_none_or(|program| program.template().is_empty()) {
        wrong.push((None, "`run` names no program; write `run = [\"program\", \"argument\"]`".to_owned()));
    }
    if it.exit_codes.is_empty() {
        wrong.push((None, "`exit_codes` is empty, so the gate could never pass".to_owned()));
    }
    for code in it.exit_codes.iter().filter(|code| !(0..=255).contains(*code)) {
        wrong.push((None, format!("exit code {code} does not exist; codes go from 0 to 255")));
    }
    if it.shell && it.run.len() != 1 {
        wrong.push((None, "with `shell = true`, `run` is one script: `run = [\"…\"]`".to_owned()));
    }
    for text in &it.run {
        if it.shell && text.template().contains("${env:") {
            let message = "a shell script gets variables from `env = [\"NAME\"]` and reads them as \"$NAME\"; \
                           `${env:…}` would be read as code";
            wrong.push((Some(text.span.clone()), message.to_owned()));
        }
        for name in
            text.names().unwrap_or_default().into_iter().filter(|name| !it.shell && names_a_secret(name))
        {
            let message = format!(
                "`{name}` looks like a secret, and everyone can see a program's arguments; pass it with `env = [\"{name}\"]`"
            );
            wrong.push((Some(text.span.clone()), message));
        }
    }
    wrong
}

fn http(it: &Http) -> Wrong {
    let mut wrong = Vec::new();
    if !(100..=599).contains(&it.status) {
        wrong.push((None, format!("status {} does not exist", it.status)));
    }
    let url = it.url.template();
    if !["http://", "https://", "${env:"].iter().any(|start| url.starts_with(start)) {
        wrong.push((
            Some(it.url.span.clone()),
            "the address must begin with `http://` or `https://`".to_owned(),
        ));
    }
    for text in
        it.body_contains.iter().chain(it.expect_headers.values()).filter(|text| text.template().is_empty())
    {
        wrong.push((
            Some(text.span.clone()),
            "an empty text is in every answer, so it would prove nothing".to_owned(),
        ));
    }
    wrong
}

fn postgres(it: &Postgres) -> Wrong {
    let mut wrong = Vec::new();
    if holds_a_password(it.url.template()) {
        let message = "the connection string holds a password, which a plan must not; name its variable with `password_env`";
        wrong.push((Some(it.url.span.clone()), message.to_owned()));
    }
    let asserts = it.expect.is_some() || it.min_rows.is_some();
    match (&it.query, it.connect_only) {
        (None, false) => wrong.push((
            None,
            "connecting proves little; give `query` with `expect` or `min_rows`, or write `connect_only = true`".to_owned(),
        )),
        (None, true) if asserts => wrong.push((None, "`expect` and `min_rows` need a `query`".to_owned())),
        (Some(_), true) => wrong.push((None, "`connect_only` and `query` exclude each other".to_owned())),
        (Some(_), false) if !asserts => {
            wrong.push((None, "a query proves nothing without `expect` or `min_rows`".to_owned()));
        }
        _ => {}
    }
    if it.min_rows == Some(0) {
        wrong.push((None, "`min_rows = 0` is true of every answer, so it would prove nothing".to_owned()));
    }
    if it.query.as_deref().is_some_and(|query| query.contains("${env:")) {
        wrong.push((
            None,
            "a variable in a query would be read as SQL; compare it with `expect` instead".to_owned(),
        ));
    }
    wrong
}

/// Whether a URL or a `key=value` string has a password written out, and not as a variable.
fn holds_a_password(template: &str) -> bool {
    let user_info =
        template.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next()?.rsplit_once('@'));
    let in_url = user_info.and_then(|(user_info, _)| Some(user_info.split_once(':')?.1));
    let after_key =
        |at: usize| template[at + "password".len()..].trim_start().strip_prefix('=').map(str::trim_start);
    let in_pairs = template.match_indices("password").filter_map(|(at, _)| after_key(at));
    in_url.into_iter().chain(in_pairs).any(|password| !password.is_empty() && !password.starts_with("${env:"))
}

fn evidence(it: &Evidence) -> Wrong {
    let mut wrong = Vec::new();
    if it.record_kind.is_empty() {
        wrong.push((None, "`record_kind` is empty".to_owned()));
    }
    for (name, limits) in &it.measurements {
        let ends = [limits.min, limits.max];
        if ends.iter().flatten().any(|end| !end.is_finite()) || ends.iter().all(Option::is_none) {
            wrong.push((None, format!("measurement `{name}` needs a finite `max` or `min`")));
        }
    }
    if let Some(digest) =
        it.digest.as_ref().filter(|text| !text.template().contains("${") && digest(text.template()).is_none())
    {
        wrong.push((Some(digest.span.clone()), "`digest` is not a digest such as `sha256:…`".to_owned()));
    }
    wrong
}

/// Splits `sha256:…` where it is well formed.
pub(super) fn digest(text: &str) -> Option<(&str, &str)> {
    let (algorithm, hex) = text.split_once(':')?;
    let length = match algorithm {
        "sha256" => 64,
        "sha512" => 128,
        _ => return None,
    };
    is_hex(hex, length).then_some((algorithm, hex))
}

/// Whether the text is exactly so many lower-case hexadecimal digits.
pub(super) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the text can name a gate: it becomes a file name and an XML attribute.
pub(super) fn is_id(id: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_seen_where_it_is_written_out() {
        for (template, expected) in [
            ("postgresql://app@db/shop", false),
            ("postgresql://app:hunter2@db/shop", true),
            ("postgresql://app:p@ss@db/shop", true),
            ("postgresql://app:${env:P}@db/shop", false),
            ("postgresql://db:5432/a:b@c", false),
            ("postgresql://db/shop?password=x", true),
            ("host=db password = 'x' user=app", true),
            ("host=db password=${env:P}", false),
            ("host=db user=password", false),
            ("${env:DATABASE_URL}", false),
            ("http://user:pw@host/", true),
            ("http://[::1]:80/", false),
        ] {
            assert_eq!(holds_a_password(template), expected, "{template}");
        }
    }
}
