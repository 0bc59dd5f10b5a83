//! A trace on a PostgreSQL session: the name under which `pg_stat_activity` and the server's log show it, and, where asked
//! for, a comment in the statement.

use std::borrow::Cow;

use super::{Outgoing, percent_encode};
use crate::context::TraceContext;

/// The most bytes that the server keeps of an `application_name` (`NAMEDATALEN - 1`).
pub const MAX_APPLICATION_NAME: usize = 63;

/// Returns `service@version`, as the `application_name` of a connection: printable ASCII, for the server replaces all
/// else, and at most 63 bytes, of which the version is cut first.
pub fn application_name(service: &str, version: &str) -> String {
    let mut name = printable(&format!("{service}@{version}"));
    name.truncate(MAX_APPLICATION_NAME);
    name
}

/// Returns `SET LOCAL application_name = 'service:<trace id>'`: until the end of the transaction the session shows the
/// trace. One more statement for each transaction, so for those that one looks for.
pub fn set_local(service: &str, context: &TraceContext) -> String {
    let mut name = printable(service);
    name.truncate(MAX_APPLICATION_NAME - 33);
    // A session may still read backslashes as escapes (`standard_conforming_strings`), and one before a quote would undo
    // its doubling.
    let name = name.replace('\\', "?").replace('\'', "''");
    format!("SET LOCAL application_name = '{name}:{}'", context.trace_id)
}

/// Appends `traceparent`, `tracestate` and `tags` to a statement as a comment, as sqlcommenter's specification says:
/// keys and values percent-encoded, sorted by key. A statement that has a comment already, or what looks like one in a
/// constant, stays as it is.
///
/// Never on by itself: with a comment every statement is a new text, and caches of prepared statements that go by the
/// text, the server's and the driver's, then fill up and never hit. Comment sampled spans alone, and unprepared.
pub fn comment<'a>(sql: &'a str, outgoing: &Outgoing, tags: &[(&str, &str)]) -> Cow<'a, str> {
    if sql.contains("--") || sql.contains("/*") {
        return Cow::Borrowed(sql);
    }
    let mut pairs: Vec<(String, String)> =
        tags.iter().map(|(key, value)| (url_encode(key), url_encode(value))).collect();
    for (name, value) in outgoing.to_pairs() {
        if name != super::BAGGAGE {
            pairs.retain(|(key, _)| key != name);
            pairs.push((name.to_owned(), url_encode(&value)));
        }
    }
    pairs.sort();
    let list: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}='{value}'")).collect();
    Cow::Owned(format!("{sql} /*{}*/", list.join(",")))
}

/// Encodes all but the unreserved characters of RFC 3986. No quote and no slash remains, so nothing ends the comment
/// and the specification's escape of quotes has nothing left to do.
fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    percent_encode(&mut out, text.as_bytes(), |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    out
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::propagate::{Baggage, TraceState};

    fn outgoing(state: &str) -> Outgoing {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        Outgoing {
            context: TraceContext::parse(parent).expect("valid"),
            state: TraceState::parse([state]).expect("valid"),
            baggage: Baggage::parse(["user=alice"]),
        }
    }

    #[test]
    fn a_name_fits_and_is_what_the_server_would_keep() {
        let check = |service: &str, version: &str, expected: &str| {
            assert_eq!(application_name(service, version), expected);
        };
        check("orders", "1.2.3", "orders@1.2.3");
        check("bücher\n", "1", "b?cher?@1");
        check(&"x".repeat(70), "1", &"x".repeat(63));
        check(&"é".repeat(70), "1", &"?".repeat(63));
    }

    #[test]
    fn a_transaction_shows_its_trace() {
        let context = outgoing("").context;
        let check = |service: &str, expected: &str| {
            let name = format!("'{expected}:0af7651916cd43dd8448eb211c80319c'");
            assert_eq!(set_local(service, &context), format!("SET LOCAL application_name = {name}"));
        };
        check("orders", "orders");
        check("o'brien", "o''brien");
        check("o\\'brien", "o?''brien");
        check(&"x".repeat(40), &"x".repeat(30));
    }

    #[test]
    fn a_comment_follows_the_specification() {
        const PARENT: &str = "traceparent='00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'";
        let check = |sql: &str, state: &str, tags: &[(&str, &str)], expected: &str| {
            assert_eq!(comment(sql, &outgoing(state), tags), expected);
        };
        check("SELECT 1", "", &[], &format!("SELECT 1 /*{PARENT}*/"));
        check(
            "SELECT 1",
            "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
            &[("route", "/param first"), ("action", "FOO 'BAR"), ("a key", "*/ DROP TABLE t; --")],
            &format!(
                "SELECT 1 /*a%20key='%2A%2F%20DROP%20TABLE%20t%3B%20--',action='FOO%20%27BAR',\
                 route='%2Fparam%20first',{PARENT},tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/"
            ),
        );
        // Ids are ours, whatever a tag is called.
        check("SELECT 1", "", &[("traceparent", "x")], &format!("SELECT 1 /*{PARENT}*/"));
        for sql in ["SELECT 1 /* why */", "SELECT 1 -- why", "/*a='b'*/ SELECT 1", "SELECT '--'"] {
            check(sql, "", &[("a", "b")], sql);
        }
    }
}
