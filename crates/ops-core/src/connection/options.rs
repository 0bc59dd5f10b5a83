//! The text of connection settings: takes out what `tokio_postgres` does not know, and reports without quoting.

use std::path::PathBuf;

use tokio_postgres::Config;

use crate::error::{Error, ErrorKind};

/// What a connection string says.
pub(super) struct Options {
    /// Everything but the TLS keys.
    pub(super) config: Config,
    pub(super) sslmode: Option<String>,
    pub(super) sslrootcert: Option<PathBuf>,
}

/// The keys that may be named in an error. Another "key" may be a piece of a password that lacks its quotes.
const KEYS: &[&str] = &[
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

pub(super) fn parse(text: &str) -> Result<Options, Error> {
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        parse_url(text)
    } else {
        parse_pairs(text)
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidSettings, message)
}

/// Cuts the TLS keys out of the query; the rest stays as it was written.
fn parse_url(url: &str) -> Result<Options, Error> {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut sslmode, mut sslrootcert) = (None, None);
    let mut rest: Vec<&str> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", value)) => sslmode = Some(percent_decode(value)?),
            Some(("sslrootcert", value)) => sslrootcert = Some(PathBuf::from(percent_decode(value)?)),
            Some((key, _)) if !KEYS.contains(&key) => {
                return Err(invalid("connection URL has an unknown key in its query"));
            }
            _ => rest.push(pair),
        }
    }
    let text = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    // The cause is left out: it may quote what it could not read.
    let config = text.parse().map_err(|_| {
        invalid("connection URL cannot be read; special characters in a password must be percent-encoded, or the password given apart")
    })?;
    Ok(Options { config, sslmode, sslrootcert })
}

/// Reads pairs one by one, so that an error can name the key.
fn parse_pairs(text: &str) -> Result<Options, Error> {
    let (mut sslmode, mut sslrootcert) = (None, None);
    let mut rest = String::new();
    for (key, value) in pairs(text)? {
        match key {
            "sslmode" => sslmode = Some(value),
            "sslrootcert" => sslrootcert = Some(PathBuf::from(value)),
            key if KEYS.contains(&key) => {
                let pair = format!("{key}='{}' ", value.replace('\\', "\\\\").replace('\'', "\\'"));
                let read: Result<Config, _> = pair.parse();
                read.map_err(|_| {
                    invalid(format!("connection setting {key:?} has a value that cannot be used"))
                })?;
                rest.push_str(&pair);
            }
            _ => {
                return Err(invalid(
                    "connection settings have an unknown key; a value with spaces needs single quotes",
                ));
            }
        }
    }
    let config = rest.parse().map_err(|_| invalid("connection settings do not fit together"))?;
    Ok(Options { config, sslmode, sslrootcert })
}

/// Splits `key = value` pairs as libpq does (manual, "Connection Strings"): single quotes, and backslash escapes.
fn pairs(text: &str) -> Result<Vec<(&str, String)>, Error> {
    let malformed = || invalid("connection settings are neither a URL nor key=value pairs");
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or_else(malformed)?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(malformed());
        }
        let after = after.trim_start();
        let quoted = after.starts_with('\'');
        let mut value = String::new();
        let mut characters = after.char_indices().skip(usize::from(quoted));
        let mut closed = !quoted;
        let mut end = after.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => value.push(characters.next().ok_or_else(malformed)?.1),
                '\'' if quoted => {
                    closed = true;
                    end = at + 1;
                    break;
                }
                character if !quoted && character.is_whitespace() => {
                    end = at;
                    break;
                }
                character => value.push(character),
            }
        }
        if !closed {
            return Err(invalid("connection settings have a quote that is not closed"));
        }
        pairs.push((key, value));
        rest = after[end..].trim_start();
    }
    Ok(pairs)
}

fn percent_decode(text: &str) -> Result<String, Error> {
    let malformed = || invalid("connection URL has a TLS setting that is not percent-encoded text");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(malformed);
        bytes.push(u8::try_from(digit()? * 16 + digit()?).expect("two hexadecimal digits fit a byte"));
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        let cases: &[(&str, &[(&str, &str)])] = &[
            ("", &[]),
            ("host=h port = 5", &[("host", "h"), ("port", "5")]),
            ("password='it\\'s % \n \\\\' user=u", &[("password", "it's % \n \\"), ("user", "u")]),
            ("password=a\\ b", &[("password", "a b")]),
            ("dbname=''", &[("dbname", "")]),
        ];
        for (text, expected) in cases {
            let found = pairs(text).unwrap();
            let found: Vec<(&str, &str)> = found.iter().map(|(key, value)| (*key, value.as_str())).collect();
            assert_eq!(found, *expected, "{text}");
        }
    }

    #[test]
    fn an_error_quotes_neither_value_nor_unknown_key() {
        let cases = [
            "host=h password=hunter2 hunter3",
            "host=h password=two hunter2=words",
            "host=h port=hunter2",
            "host=h sslmode=hunter2",
            "password='hunter2",
            "postgres://u:hunter2@h/d?hunter3=1",
            "postgres://u:hunter2@h:port/d",
            "mysql://u:hunter2@h/d",
            "user=hunter2",
        ];
        for text in cases {
            let error = super::super::ConnectionSettings::parse(text).expect_err(text);
            let mut shown = format!("{error} {error:?}");
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
            while let Some(inner) = cause {
                shown += &format!(" {inner} {inner:?}");
                cause = inner.source();
            }
            assert!(!shown.contains("hunter") && !shown.contains("ter2"), "{text}: {shown}");
        }
    }
}
