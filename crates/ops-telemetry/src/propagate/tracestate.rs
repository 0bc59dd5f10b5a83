//! `tracestate` as W3C Trace Context level 2, section 3.3, defines it. Pure.

use std::fmt;

use crate::error::{Error, ErrorKind};

/// The most members that a list may have.
const MAX_MEMBERS: usize = 32;

/// Members longer than this are the first to go where a list is too long.
const LARGE_MEMBER: usize = 128;

/// What other tracing systems want handed on with a trace: a list of `key=value`, most recently changed first.
///
/// Members are kept in order and as they came. Of a key that stands twice, the first one stays.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TraceState {
    /// Members with a comma between them, without blanks.
    text: String,
}

impl TraceState {
    /// The longest header that [`TraceState::to_header`] writes, in bytes; W3C asks for at least 512.
    pub const MAX_LEN: usize = 8192;

    /// Reads all `tracestate` headers of one message, in their order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTracestate`] where one member is malformed or there are more than 32. W3C asks the receiver
    /// to go on with the `traceparent` and without any `tracestate` then.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut text = String::new();
        let mut count = 0;
        for member in headers.into_iter().flat_map(|header| header.split(',')) {
            let member = member.trim_matches([' ', '\t']);
            if member.is_empty() {
                continue;
            }
            let (key, value) = member
                .split_once('=')
                .ok_or_else(|| invalid("tracestate has a member without an equals sign"))?;
            check(key, value)?;
            count += 1;
            if count > MAX_MEMBERS {
                return Err(invalid("tracestate has more than 32 members"));
            }
            if !members(&text).any(|(known, _)| known == key) {
                push(&mut text, member);
            }
        }
        Ok(Self { text })
    }

    /// Returns the value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// Returns the members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        members(&self.text)
    }

    /// Tells whether there is nothing to hand on.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Sets the value of `key` and moves it to the front, as a system must that changes its own member. Where 32 others
    /// stand already, the last one goes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTracestate`] where key or value do not follow the grammar; nothing is changed then.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), Error> {
        check(key, value)?;
        let mut text = format!("{key}={value}");
        for (other, value) in self.iter().filter(|(other, _)| *other != key).take(MAX_MEMBERS - 1) {
            text.push(',');
            text.push_str(other);
            text.push('=');
            text.push_str(value);
        }
        self.text = text;
        Ok(())
    }

    /// Writes the header, or `None` where it would be empty, which W3C asks not to send. Where the list is longer than
    /// [`TraceState::MAX_LEN`], members of more than 128 bytes are dropped first, then members from the end; never a part
    /// of one.
    pub fn to_header(&self) -> Option<String> {
        self.to_header_within(Self::MAX_LEN)
    }

    /// Does what [`TraceState::to_header`] does, with another limit.
    pub fn to_header_within(&self, limit: usize) -> Option<String> {
        let mut members: Vec<&str> = self.text.split(',').filter(|member| !member.is_empty()).collect();
        let mut len = self.text.len();
        // From the end, for the front was changed last.
        for at in (0..members.len()).rev() {
            if len > limit && members[at].len() > LARGE_MEMBER {
                len = len.saturating_sub(members.remove(at).len() + 1);
            }
        }
        while len > limit
            && let Some(last) = members.pop()
        {
            len = len.saturating_sub(last.len() + 1);
        }
        (!members.is_empty()).then(|| members.join(","))
    }
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceState({:?})", self.text)
    }
}

fn members(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|member| member.split_once('='))
}

fn push(text: &mut String, member: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(member);
}

fn check(key: &str, value: &str) -> Result<(), Error> {
    let is_key = |(at, byte): (usize, u8)| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || (at > 0 && b"_-*/@".contains(&byte))
    };
    if key.is_empty() || key.len() > 256 || !key.bytes().enumerate().all(is_key) {
        return Err(invalid("tracestate has a malformed key"));
    }
    let is_value = |byte: u8| matches!(byte, 0x20..=0x7e) && byte != b',' && byte != b'=';
    if value.is_empty() || value.len() > 256 || !value.bytes().all(is_value) || value.ends_with(' ') {
        return Err(invalid("tracestate has a malformed value"));
    }
    Ok(())
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTracestate, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(headers: &[&str]) -> Option<String> {
        TraceState::parse(headers.iter().copied()).expect("valid").to_header()
    }

    fn list(count: usize) -> String {
        (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn accepts_what_w3c_accepts() {
        let check = |headers: &[&str], expected: &str| {
            assert_eq!(
                read(headers).as_deref(),
                Some(expected).filter(|text| !text.is_empty()),
                "{headers:?}"
            );
        };
        check(&[], "");
        check(&[""], "");
        check(&[" , \t,"], "");
        check(&["a=1"], "a=1");
        check(&["foo=1,bar=2"], "foo=1,bar=2");
        check(&["foo=1", "bar=2", "baz=3"], "foo=1,bar=2,baz=3");
        check(&["foo=1 \t , \tbar=2, \t baz=3", ""], "foo=1,bar=2,baz=3");
        check(&["foo=1,,,bar=2"], "foo=1,bar=2");
        check(&["0foo=1,f_-*/o=2"], "0foo=1,f_-*/o=2");
        check(&["tenant@system=1,a@b@c=2"], "tenant@system=1,a@b@c=2");
        check(&["foo=  leading blanks"], "foo=  leading blanks");
        check(&["foo=!~<>;:%\"'"], "foo=!~<>;:%\"'");
        check(&["foo=1,bar=2,foo=3"], "foo=1,bar=2");
        check(&[&list(32)], &list(32));
        let (longest_key, longest_value) = ("k".repeat(256), "v".repeat(256));
        check(&[&format!("{longest_key}={longest_value}")], &format!("{longest_key}={longest_value}"));
    }

    #[test]
    fn refuses_what_w3c_refuses() {
        for header in [
            "foo".to_owned(),
            "foo=".into(),
            "=1".into(),
            "foo=1,bar".into(),
            "foo=bar=baz".into(),
            "foo =1".into(),
            "FOO=1".into(),
            "fOo=1".into(),
            "@foo=1".into(),
            "_foo=1".into(),
            "foo.bar=1".into(),
            "foo=é".into(),
            "foo=a\tb".into(),
            "foo=a\u{7f}".into(),
            "é=1".into(),
            format!("{}=1", "k".repeat(257)),
            format!("k={}", "v".repeat(257)),
            list(33),
            format!("{},{}", list(32), list(1)),
        ] {
            let error = TraceState::parse([header.as_str()]).expect_err(&header);
            assert_eq!(error.kind(), ErrorKind::InvalidTracestate, "{header}");
        }
        assert!(
            TraceState::parse([list(20).as_str(), &list(13)]).is_err(),
            "the limit is that of all headers"
        );
    }

    #[test]
    fn a_changed_member_moves_to_the_front() {
        let mut state = TraceState::parse(["foo=1,bar=2,baz=3"]).expect("valid");
        state.insert("baz", "4").expect("valid");
        assert_eq!(state.to_header().as_deref(), Some("baz=4,foo=1,bar=2"));
        assert_eq!((state.get("bar"), state.get("ba")), (Some("2"), None));
        let before = state.clone();
        assert!(state.insert("baz", "a,b").is_err() && state.insert("Baz", "1").is_err());
        assert_eq!(state, before);
        let mut full = TraceState::parse([list(32).as_str()]).expect("valid");
        full.insert("new", "1").expect("valid");
        assert_eq!((full.iter().count(), full.get("k30"), full.get("k31")), (32, Some("v"), None));
    }

    #[test]
    fn a_long_list_loses_whole_members_the_large_ones_first() {
        let large = "x".repeat(126);
        let state = TraceState::parse([format!("a=1,big={large},b=2,c=3").as_str()]).expect("valid");
        let check = |limit: usize, expected: Option<&str>| {
            assert_eq!(state.to_header_within(limit).as_deref(), expected, "{limit}");
        };
        check(142, Some(&format!("a=1,big={large},b=2,c=3")));
        check(141, Some("a=1,b=2,c=3"));
        check(11, Some("a=1,b=2,c=3"));
        check(10, Some("a=1,b=2"));
        check(3, Some("a=1"));
        check(2, None);
        check(0, None);
        let alone = TraceState::parse([format!("big={large}").as_str()]).expect("valid");
        assert_eq!(alone.to_header_within(100), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(header in "([a-z0-9@=, \t]{0,40},){0,4}[a-z]=[ -~]{0,12}") {
            if let Ok(state) = TraceState::parse([header.as_str()]) {
                let again = state.to_header().unwrap_or_default();
                prop_assert_eq!(TraceState::parse([again.as_str()]).expect("valid"), state);
            }
        }

        #[test]
        fn no_text_panics(header: String, limit in 0usize..600) {
            if let Ok(state) = TraceState::parse([header.as_str()]) {
                let written = state.to_header_within(limit);
                prop_assert!(written.is_none_or(|text| !text.is_empty() && text.len() <= limit));
            }
        }
    }
}
