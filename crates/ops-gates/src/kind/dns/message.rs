//! Questions and answers of DNS as bytes (RFC 1035, section 4).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A type of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DnsRecord {
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    #[serde(rename = "AAAA")]
    Aaaa,
    /// The name that this one stands for.
    #[serde(rename = "CNAME")]
    Cname,
    /// Mail servers.
    #[serde(rename = "MX")]
    Mx,
    /// Name servers.
    #[serde(rename = "NS")]
    Ns,
    /// Texts.
    #[serde(rename = "TXT")]
    Txt,
}

impl DnsRecord {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Txt => "TXT",
        }
    }

    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ns => 2,
            Self::Cname => 5,
            Self::Mx => 15,
            Self::Txt => 16,
            Self::Aaaa => 28,
        }
    }
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its records; none also where the name does not exist.
    Records(Vec<String>),
    /// More than fits into a datagram.
    Cut,
    /// That it does not want to, or cannot.
    Refused(u8),
}

const NAME_ERROR: u8 = 3;

pub(super) fn code_word(code: u8) -> String {
    match code {
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        code => format!("code {code}"),
    }
}

/// A question; none where the name cannot be asked for.
pub(super) fn query(id: u16, name: &str, record: DnsRecord) -> Option<Vec<u8>> {
    let name = name.trim_end_matches('.');
    if name.is_empty() || name.len() > 253 || !name.is_ascii() {
        return None;
    }
    // One question, and recursion desired.
    let mut bytes = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        bytes.push(length);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend(record.number().to_be_bytes());
    bytes.extend([0, 1]);
    Some(bytes)
}

/// Reads an answer to a question of this id; none where it is not one.
pub(super) fn parse(bytes: &[u8], id: u16, record: DnsRecord) -> Option<Answer> {
    let response = bytes.get(2)? & 0x80 != 0;
    if number(bytes, 0)? != id || !response {
        return None;
    }
    if bytes[2] & 0x02 != 0 {
        return Some(Answer::Cut);
    }
    match bytes.get(3)? & 0x0f {
        0 => {}
        NAME_ERROR => return Some(Answer::Records(Vec::new())),
        code => return Some(Answer::Refused(code)),
    }
    let (questions, answers) = (number(bytes, 4)?, number(bytes, 6)?);
    let mut at = 12;
    for _ in 0..questions {
        at = name(bytes, at)?.1 + 4;
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        at = name(bytes, at)?.1;
        let (kind, length) = (number(bytes, at)?, usize::from(number(bytes, at + 8)?));
        let data = at + 10;
        let content = bytes.get(data..data + length)?;
        // A chain of CNAMEs comes with the addresses at its end.
        if kind == record.number() {
            records.push(value(bytes, data, content, record)?);
        }
        at = data + length;
    }
    Some(Answer::Records(records))
}

fn value(bytes: &[u8], at: usize, content: &[u8], record: DnsRecord) -> Option<String> {
    Some(match record {
        DnsRecord::A => Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?).to_string(),
        DnsRecord::Aaaa => Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).to_string(),
        DnsRecord::Cname | DnsRecord::Ns => name(bytes, at)?.0,
        DnsRecord::Mx => format!("{} {}", number(bytes, at)?, name(bytes, at + 2)?.0),
        DnsRecord::Txt => {
            let (mut text, mut rest) = (Vec::new(), content);
            while let Some((length, tail)) = rest.split_first() {
                let (part, tail) = tail.split_at_checked(usize::from(*length))?;
                text.extend_from_slice(part);
                rest = tail;
            }
            String::from_utf8_lossy(&text).into_owned()
        }
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// A name, and where it ends. Names may point back into the message; pointers only go backwards, so that none goes round.
fn name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let (mut text, mut at, mut end, mut lowest) = (String::new(), start, None, start);
    loop {
        let length = *bytes.get(at)?;
        match length {
            0 => return Some((text, end.unwrap_or(at + 1))),
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&String::from_utf8_lossy(label));
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                let target = usize::from(number(bytes, at)? & 0x3fff);
                if target >= lowest {
                    return None;
                }
                end = end.or(Some(at + 2));
                lowest = target;
                at = target;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to `query(7, "www.x.org", …)` with one record whose name points at the question.
    fn answer(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = query(7, "www.x.org", DnsRecord::A).expect("a question");
        bytes[2] |= 0x80;
        bytes[7] = 1;
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn every_type_is_read_and_no_cut_answer_is() {
        for (record, data, expected) in [
            (DnsRecord::A, [10, 0, 0, 1].as_slice(), "10.0.0.1"),
            (DnsRecord::Aaaa, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            (DnsRecord::Cname, &[1, b'a', 0xc0, 16], "a.x.org"),
            (DnsRecord::Ns, &[0xc0, 16], "x.org"),
            (DnsRecord::Mx, &[0, 10, 0xc0, 16], "10 x.org"),
            (DnsRecord::Txt, &[2, b'v', b'=', 1, b'1'], "v=1"),
        ] {
            let bytes = answer(record.number(), data);
            assert_eq!(parse(&bytes, 7, record), Some(Answer::Records(vec![expected.to_owned()])));
            assert_eq!(parse(&bytes, 8, record), None, "the id of another question");
            for length in 0..bytes.len() {
                assert_eq!(parse(&bytes[..length], 7, record), None, "{record:?} cut to {length}");
            }
        }
        // A pointer to itself.
        assert_eq!(parse(&answer(5, &[0xc0, 39]), 7, DnsRecord::Cname), None);
        assert_eq!(query(1, &"a.".repeat(200), DnsRecord::A), None);
        assert_eq!(query(1, "a..b", DnsRecord::A), None);
    }
}
