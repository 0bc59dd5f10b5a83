//! The address of a collector. Pure.

use crate::error::{Error, ErrorKind};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Url {
    pub(super) is_tls: bool,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// With the query, if there is one.
    pub(super) path: String,
}

impl Url {
    /// Reads `http://host:port/path` or `https://…`, without a user and a fragment. Where no port stands it is that of the
    /// scheme, or `port`.
    pub(super) fn parse(text: &str, port_unless_named: Option<u16>) -> Result<Self, Error> {
        // The text is not repeated: it may hold what was meant to be a password.
        let invalid =
            |why: &str| Error::new(ErrorKind::InvalidCollector, format!("address of the collector {why}"));
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(invalid("must begin with http:// or https://")),
        };
        if is_tls && !cfg!(feature = "otlp-tls") {
            return Err(invalid("is https, which needs the feature `otlp-tls`"));
        }
        if text.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) || text.contains('#') {
            return Err(invalid("has a character that must be percent-encoded"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(invalid("has a user: credentials belong into a header"));
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0),
            None if authority.starts_with('[') && !authority.ends_with(']') => None,
            None => port_unless_named.or(Some(if is_tls { 443 } else { 80 })),
        };
        let port = port.ok_or_else(|| invalid("has a port that is none"))?;
        if host.is_empty() || host.contains(['[', ']']) {
            return Err(invalid("has no host"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { is_tls, host: host.to_owned(), port, path })
    }

    /// Returns host and port, as a `Host` header has them.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused() {
        let check = |text: &str, expected: Option<(&str, u16, &str)>| {
            let found = Url::parse(text, None).ok().map(|url| (url.authority(), url.port, url.path));
            let expected = expected.map(|(host, port, path)| (host.to_owned(), port, path.to_owned()));
            assert_eq!(found, expected, "{text}");
        };
        check("http://localhost:4318", Some(("localhost:4318", 4318, "/")));
        check("http://c/v1/traces?x=1", Some(("c:80", 80, "/v1/traces?x=1")));
        check("http://c?x=1", Some(("c:80", 80, "/?x=1")));
        check("http://[::1]:4318/a", Some(("[::1]:4318", 4318, "/a")));
        check("http://[::1]", Some(("[::1]:80", 80, "/")));
        let with_port = |text: &str| Url::parse(text, Some(4317)).ok().map(|url| url.port);
        assert_eq!((with_port("http://c"), with_port("http://c:1")), (Some(4317), Some(1)));
        for bad in [
            "localhost:4318",
            "ftp://c",
            "http://",
            "http://:1",
            "http://u:p@c",
            "http://c:0",
            "http://c:99999",
            "http://c:x",
            "http://[::1",
            "http://[::1]x",
            "http://c/a b",
            "http://c/é",
            "http://c/#f",
            "http://c\r\nX: 1",
        ] {
            check(bad, None);
        }
        assert_eq!(Url::parse("https://c", None).is_ok(), cfg!(feature = "otlp-tls"));
        let error = Url::parse("http://user:secret@c", None).expect_err("has a user");
        assert!(!error.to_string().contains("secret"));
    }
}
