//! Any text as a `tracestate`; each line is one header.
//!
//! Whatever a caller sends, it is read as the specification says, and handed on whole. The check says the grammar a second
//! time, in another way than the crate does.

use ops_telemetry::propagate::TraceState;

/// `tracestate` (W3C Trace Context level 2, section 3.3). Returns whether it is one.
pub fn check(text: &str) -> bool {
    let expected = state_members(text);
    let read = TraceState::parse(text.split('\n')).ok();
    let found = read.as_ref().map(|read| read.iter().collect::<Vec<_>>());
    assert_eq!(found, expected, "{text:?}");
    let Some(read) = read else { return false };
    let header = read.to_header();
    assert_eq!(header.is_none(), read.is_empty(), "an empty header: {text:?}");
    assert!(header.as_ref().is_none_or(|header| header.len() <= TraceState::MAX_LEN), "{text:?}");
    if let Some(header) = &header {
        let again = TraceState::parse([header.as_str()]).expect("what is written is read");
        assert_eq!(again.to_header().as_ref(), Some(header), "{text:?}");
    }
    let limit = text.bytes().map(usize::from).sum::<usize>() % 600;
    let members: Vec<String> = read.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let short = read.to_header_within(limit).unwrap_or_default();
    assert!(short.len() <= limit, "{text:?} within {limit}");
    let mut rest = members.iter();
    for kept in short.split(',').filter(|kept| !kept.is_empty()) {
        assert!(rest.any(|member| member == kept), "{kept:?} was not there, or in another order: {text:?}");
    }
    let mut changed = read.clone();
    changed.insert("ops", "1").expect("a valid member");
    assert_eq!(changed.iter().next(), Some(("ops", "1")), "{text:?}");
    let others = read.iter().filter(|(key, _)| *key != "ops").take(31);
    assert!(changed.iter().skip(1).eq(others), "{text:?}");
    true
}

fn state_members(text: &str) -> Option<Vec<(&str, &str)>> {
    let mut members: Vec<(&str, &str)> = Vec::new();
    let mut count = 0;
    for member in text.split(['\n', ',']).map(|member| member.trim_matches([' ', '\t'])) {
        if member.is_empty() {
            continue;
        }
        count += 1;
        let [key, value] = member.split('=').collect::<Vec<_>>()[..] else { return None };
        let mut letters = key.chars();
        let is_start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_key = letters.next().is_some_and(is_start)
            && letters.all(|c| is_start(c) || ['_', '-', '*', '/', '@'].contains(&c));
        let is_value = !value.is_empty() && value.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !is_key || !is_value || key.len() > 256 || value.len() > 256 || count > 32 {
            return None;
        }
        if members.iter().all(|(known, _)| *known != key) {
            members.push((key, value));
        }
    }
    Some(members)
}
