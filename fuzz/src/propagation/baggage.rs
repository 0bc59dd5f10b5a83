//! Any text as `baggage`; each line is one header.
//!
//! Whatever a caller sends, it is read as the specification says, and handed on whole. The check says the grammar a second
//! time, in another way than the crate does.

use ops_telemetry::propagate::Baggage;

/// `baggage` (W3C Baggage, section 3). Returns how many members were read.
pub fn check(text: &str) -> usize {
    let read = Baggage::parse(text.split('\n'));
    let (expected, dropped) = baggage_members(text);
    assert_eq!(read.dropped(), dropped, "{text:?}");
    let values = |baggage: &Baggage| {
        baggage.iter().map(|(key, value)| (key.to_owned(), value.into_owned())).collect::<Vec<_>>()
    };
    let decoded: Vec<(String, String)> =
        expected.iter().map(|(key, value, _)| ((*key).to_owned(), percent_decoded(value))).collect();
    assert_eq!(values(&read), decoded, "{text:?}");
    let handed_on: Vec<String> =
        expected.iter().map(|(key, value, properties)| format!("{key}={value}{properties}")).collect();
    let header = read.to_header().unwrap_or_default();
    assert_eq!(header, handed_on.join(","), "{text:?}");
    assert!(header.len() <= 8192 && expected.len() <= 64, "{text:?}");
    let again = Baggage::parse([header.as_str()]);
    assert_eq!((values(&again), again.dropped()), (decoded, 0), "{text:?}");
    let mut ours = read.clone();
    match ours.insert("ops", text) {
        Ok(()) => {
            let header = ours.to_header().unwrap_or_default();
            let arrived = Baggage::parse([header.as_str()]);
            assert_eq!(arrived.get("ops").as_deref(), Some(text), "a value is any text");
            assert_eq!(arrived.dropped(), 0, "{text:?}");
        }
        Err(_) => assert!(ours == read, "a refusal changes nothing: {text:?}"),
    }
    expected.len()
}

/// Key, value and properties of what fits, and how many do not or are none.
fn baggage_members(text: &str) -> (Vec<(&str, &str, &str)>, usize) {
    fn is_token(text: &str) -> bool {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && !"(),/:;<=>?@[\\]{}\"".contains(c))
    }
    fn is_value(text: &str) -> bool {
        text.chars().all(|c| c.is_ascii_graphic() && !"\",;\\".contains(c))
    }
    let blank = [' ', '\t'];
    let (mut members, mut dropped, mut len) = (Vec::new(), 0, 0);
    for member in text.split(['\n', ',']).map(|member| member.trim_matches(blank)) {
        if member.is_empty() {
            continue;
        }
        let end = member.find(';').unwrap_or(member.len());
        let (pair, properties) = member.split_at(end);
        let is_property = |property: &str| match property.find('=') {
            Some(at) => {
                is_token(property[..at].trim_matches(blank))
                    && is_value(property[at + 1..].trim_matches(blank))
            }
            None => is_token(property.trim_matches(blank)),
        };
        let are_properties = properties.split(';').skip(1).all(is_property);
        let read =
            pair.find('=').map(|at| (pair[..at].trim_matches(blank), pair[at + 1..].trim_matches(blank)));
        match read.filter(|(key, value)| are_properties && is_token(key) && is_value(value)) {
            Some((key, value)) => {
                let more = key.len() + 1 + value.len() + properties.len() + usize::from(len > 0);
                if members.len() < 64 && len + more <= 8192 {
                    len += more;
                    members.push((key, value, properties));
                } else {
                    dropped += 1;
                }
            }
            None => dropped += 1,
        }
    }
    (members, dropped)
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let code =
            rest.get(1..3).filter(|digits| first == b'%' && digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) => bytes.push(code),
            None => bytes.push(first),
        }
        rest = &rest[if code.is_some() { 3 } else { 1 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
