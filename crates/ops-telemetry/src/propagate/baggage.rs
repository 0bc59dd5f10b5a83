//! `baggage` as W3C Baggage defines it. Pure.

use std::borrow::Cow;
use std::fmt;

use super::percent_encode;
use crate::error::{Error, ErrorKind};

/// The most members that are kept; W3C asks for at least 64.
const MAX_MEMBERS: usize = 64;

/// The longest header, in bytes; W3C asks for at least 8192.
const MAX_LEN: usize = 8192;

/// Values that travel with a request, for all who handle it to read.
///
/// Whoever receives a request reads its baggage, so it is no place for a secret; it is never logged either: `Debug` shows
/// only how much there is. Members that are handed on stay as they came, byte for byte.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Baggage {
    members: Vec<Member>,
    dropped: usize,
}

#[derive(Clone, PartialEq, Eq)]
struct Member {
    key: String,
    /// Still percent-encoded.
    value: String,
    /// Everything from the first semicolon on, or nothing.
    properties: String,
}

/// Which members leave the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum BaggagePolicy {
    /// None: the neighbour is told the trace alone.
    #[default]
    Nothing,
    /// The members with these keys.
    Only(Vec<String>),
    /// All. For a neighbour that may know whatever any caller of ours said.
    Everything,
}

impl Baggage {
    /// Reads all `baggage` headers of one message, in their order. A malformed member is left out, and so is what does
    /// not fit into 64 members and 8192 bytes; [`Baggage::dropped`] counts both.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Self {
        let mut baggage = Self::default();
        let mut len = 0;
        for text in headers.into_iter().flat_map(|header| header.split(',')) {
            let text = trim(text);
            if text.is_empty() {
                continue;
            }
            match Member::parse(text) {
                Some(member)
                    if baggage.members.len() < MAX_MEMBERS
                        && len + member.len() + usize::from(len > 0) <= MAX_LEN =>
                {
                    len += member.len() + usize::from(len > 0);
                    baggage.members.push(member);
                }
                _ => baggage.dropped += 1,
            }
        }
        baggage
    }

    /// Returns the decoded value of `key`, the last one where it stands twice. Bytes that are no UTF-8 become U+FFFD.
    pub fn get(&self, key: &str) -> Option<Cow<'_, str>> {
        self.members.iter().rev().find(|member| member.key == key).map(|member| decode(&member.value))
    }

    /// Returns keys and decoded values in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.members.iter().map(|member| (member.key.as_str(), decode(&member.value)))
    }

    /// Tells whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns the number of members that were received and are not here.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Sets the value of `key`, any text, without properties. Members of that key are replaced.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidBaggage`] where the key is no token of RFC 7230, or where 64 members or 8192 bytes would be
    /// exceeded; nothing is changed then.
    pub fn insert(&mut self, key: &str, value: &str) -> Result<(), Error> {
        if !is_token(key) {
            return Err(Error::new(
                ErrorKind::InvalidBaggage,
                "baggage key is empty or has a character other than letters, digits and !#$%&'*+-.^_`|~",
            ));
        }
        let mut encoded = String::with_capacity(value.len());
        percent_encode(&mut encoded, value.as_bytes(), |byte| is_octet(byte) && byte != b'%');
        let member = Member { key: key.to_owned(), value: encoded, properties: String::new() };
        let others = self.members.iter().filter(|other| other.key != key);
        let (count, len) =
            others.fold((1, member.len()), |(count, len), other| (count + 1, len + 1 + other.len()));
        if count > MAX_MEMBERS || len > MAX_LEN {
            return Err(Error::new(
                ErrorKind::InvalidBaggage,
                "baggage would have more than 64 members or 8192 bytes",
            ));
        }
        self.remove(key);
        self.members.push(member);
        Ok(())
    }

    /// Removes all members of `key`.
    pub fn remove(&mut self, key: &str) {
        self.members.retain(|member| member.key != key);
    }

    /// Keeps what `policy` lets out.
    #[must_use]
    pub fn filtered(mut self, policy: &BaggagePolicy) -> Self {
        match policy {
            BaggagePolicy::Nothing => self.members.clear(),
            BaggagePolicy::Only(keys) => self.members.retain(|member| keys.contains(&member.key)),
            BaggagePolicy::Everything => {}
        }
        self
    }

    /// Writes the header, or `None` where it would be empty.
    pub fn to_header(&self) -> Option<String> {
        let mut text = String::new();
        for member in &self.members {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(&member.key);
            text.push('=');
            text.push_str(&member.value);
            text.push_str(&member.properties);
        }
        (!text.is_empty()).then_some(text)
    }
}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baggage")
            .field("members", &self.members.len())
            .field("dropped", &self.dropped)
            .finish_non_exhaustive()
    }
}

impl Member {
    fn parse(text: &str) -> Option<Self> {
        let (pair, properties) = match text.find(';') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let (key, value) = pair.split_once('=')?;
        let (key, value) = (trim(key), trim(value));
        let is_valid = is_token(key)
            && value.bytes().all(is_octet)
            && properties.split(';').skip(1).all(|property| is_property(trim(property)));
        is_valid.then(|| Self { key: key.into(), value: value.into(), properties: properties.into() })
    }

    fn len(&self) -> usize {
        self.key.len() + 1 + self.value.len() + self.properties.len()
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

fn is_property(text: &str) -> bool {
    match text.split_once('=') {
        Some((key, value)) => is_token(trim(key)) && trim(value).bytes().all(is_octet),
        None => is_token(text),
    }
}

/// A token of RFC 7230, section 3.2.6.
fn is_token(text: &str) -> bool {
    let is_char = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_char)
}

/// What a value may have: visible ASCII without quote, comma, semicolon and backslash.
fn is_octet(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e) && !b"\",;\\".contains(&byte)
}

/// Undoes percent-encoding; a percent sign that starts no escape stays. A plus sign is a plus sign.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high << 4 | low).expect("two digits fit in a byte"));
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(baggage: &Baggage) -> Vec<(String, String)> {
        baggage.iter().map(|(key, value)| (key.to_owned(), value.into_owned())).collect()
    }

    #[test]
    fn reads_what_w3c_allows() {
        let check = |header: &str, expected: &[(&str, &str)], dropped: usize| {
            let baggage = Baggage::parse([header]);
            let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!((pairs(&baggage), baggage.dropped()), (expected, dropped), "{header:?}");
        };
        check("", &[], 0);
        check("a=1", &[("a", "1")], 0);
        check("a=1,b=2", &[("a", "1"), ("b", "2")], 0);
        check(" a \t=\t1 , b = 2 ;p;q=r ,", &[("a", "1"), ("b", "2")], 0);
        check("a=", &[("a", "")], 0);
        check("a=b=c", &[("a", "b=c")], 0);
        check("a=1+2", &[("a", "1+2")], 0);
        check("a=%41%2c%20", &[("a", "A, ")], 0);
        check("a=%E2%82%AC", &[("a", "€")], 0);
        check("a=%ff", &[("a", "\u{fffd}")], 0);
        check("a=%4,b=%zz,c=%", &[("a", "%4"), ("b", "%zz"), ("c", "%")], 0);
        check("a=1,a=2", &[("a", "1"), ("a", "2")], 0);
        check("nothing,a=1", &[("a", "1")], 1);
        check("=1,a b=1,a=\"q\",a=x y,a=é,é=1,a=1;=x,a=1;p=\"", &[], 8);
    }

    #[test]
    fn several_headers_are_one_list() {
        let baggage = Baggage::parse(["a=1", "b=2;p", ""]);
        assert_eq!(baggage.to_header().as_deref(), Some("a=1,b=2;p"));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_the_rest_stays() {
        let many: Vec<String> = (0..70).map(|n| format!("k{n}=v")).collect();
        let baggage = Baggage::parse([many.join(",").as_str()]);
        assert_eq!((baggage.iter().count(), baggage.dropped()), (64, 6));
        let long = format!("a=1,b={},c=3", "x".repeat(8187));
        let baggage = Baggage::parse([long.as_str()]);
        assert_eq!((baggage.to_header().as_deref(), baggage.dropped()), (Some("a=1,c=3"), 1));
        let fits = format!("a=1,b={}", "x".repeat(8186));
        assert_eq!(Baggage::parse([fits.as_str()]).to_header(), Some(fits));
    }

    #[test]
    fn a_value_of_ours_may_be_any_text() {
        let mut baggage = Baggage::parse(["kept=%ff;p, a=1, a=2"]);
        baggage.insert("a", "x, \"y\"; 100 % + ü").expect("valid");
        assert_eq!(baggage.get("a").as_deref(), Some("x, \"y\"; 100 % + ü"));
        let header = baggage.to_header().expect("not empty");
        assert_eq!(header, "kept=%ff;p,a=x%2C%20%22y%22%3B%20100%20%25%20+%20%C3%BC");
        assert_eq!(Baggage::parse([header.as_str()]), baggage);
        baggage.remove("a");
        assert_eq!(baggage.get("a"), None);
        for key in ["", "a b", "a=b", "é", "a,b"] {
            assert_eq!(baggage.insert(key, "v").expect_err(key).kind(), ErrorKind::InvalidBaggage);
        }
        assert!(baggage.insert("big", &"x".repeat(8192)).is_err());
        let many: Vec<String> = (0..64).map(|n| format!("k{n}=v")).collect();
        let mut full = Baggage::parse([many.join(",").as_str()]);
        assert!(full.insert("one_more", "v").is_err() && full.insert("k3", "w").is_ok());
    }

    #[test]
    fn it_is_never_shown_and_leaves_only_by_policy() {
        let baggage = Baggage::parse(["user=alice,tenant=7"]);
        assert_eq!(format!("{baggage:?}"), "Baggage { members: 2, dropped: 0, .. }");
        let sent = |policy: &BaggagePolicy| baggage.clone().filtered(policy).to_header();
        assert_eq!(sent(&BaggagePolicy::default()), None);
        assert_eq!(sent(&BaggagePolicy::Only(vec!["tenant".into()])).as_deref(), Some("tenant=7"));
        assert_eq!(sent(&BaggagePolicy::Everything).as_deref(), Some("user=alice,tenant=7"));
    }

    proptest! {
        #[test]
        fn any_value_comes_back(value: String) {
            let mut baggage = Baggage::default();
            if baggage.insert("k", &value).is_ok() {
                let header = baggage.to_header().expect("not empty");
                let again = Baggage::parse([header.as_str()]);
                let read = again.get("k");
                prop_assert_eq!(read.as_deref(), Some(value.as_str()));
                prop_assert_eq!(again.dropped(), 0);
            }
        }

        #[test]
        fn what_was_read_is_written_as_it_was(header in "([a-c]=[a%+=0-9]{0,4}(;p=1)?,){0,5}") {
            let written = Baggage::parse([header.as_str()]).to_header().unwrap_or_default();
            prop_assert_eq!(written, header.trim_end_matches(','));
        }

        #[test]
        fn no_text_panics(header: String) {
            let baggage = Baggage::parse([header.as_str()]);
            prop_assert!(baggage.to_header().is_none_or(|text| text.len() <= MAX_LEN));
        }
    }
}
