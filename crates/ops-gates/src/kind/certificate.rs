//! The few fields of an X.509 certificate that a gate tells of: its subject, its issuer, and from when to when it is valid.
//!
//! Read by hand (RFC 5280, section 4.1; DER by X.690): rustls has verified the chain, and gives no dates.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// What is told of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    pub(super) subject: String,
    /// Whether subject and issuer are the same name, as those of a root are.
    pub(super) self_issued: bool,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The attribute type 2.5.4.3, the common name.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

impl Certificate {
    /// Reads a certificate; none where it is not one.
    pub(super) fn parse(der: &[u8]) -> Option<Self> {
        let (certificate, _) = expect(der, SEQUENCE)?;
        let (tbs, _) = expect(certificate, SEQUENCE)?;
        let rest = expect(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
        let (_, rest) = expect(rest, INTEGER)?;
        let (_, rest) = expect(rest, SEQUENCE)?;
        let (issuer, rest) = expect(rest, SEQUENCE)?;
        let (validity, rest) = expect(rest, SEQUENCE)?;
        let (subject, _) = expect(rest, SEQUENCE)?;
        let (not_before, validity) = time(validity)?;
        let (not_after, _) = time(validity)?;
        Some(Self { subject: name(subject), self_issued: subject == issuer, not_before, not_after })
    }
}

/// Splits the first element off: its tag, its content, what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    element(der).filter(|(found, ..)| *found == tag).map(|(_, content, rest)| (content, rest))
}

fn time(der: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (tag, content, rest) = element(der)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (year, rest_of_text) = match tag {
        // Two digits stand for 1950 to 2049.
        UTC_TIME => {
            let year: i16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest_of_text.get(at..at + 2)?.parse::<i8>().ok();
    let civil = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    Some((civil.to_zoned(TimeZone::UTC).ok()?.timestamp(), rest))
}

/// The common name within a name; the whole of it is of no use to people.
fn name(der: &[u8]) -> String {
    let at = der.windows(COMMON_NAME.len()).position(|window| window == COMMON_NAME);
    let value = at.and_then(|at| element(&der[at + COMMON_NAME.len()..]));
    value.map_or_else(
        || "without a name".to_owned(),
        |(_, text, _)| String::from_utf8_lossy(text).into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element_of(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag, 0x82];
        der.extend(u16::try_from(content.len()).expect("short").to_be_bytes());
        der.extend(content);
        der
    }

    fn certificate(not_before: &[u8], not_after: (u8, &[u8])) -> Vec<u8> {
        let common = |text: &[u8]| [COMMON_NAME.as_slice(), &element_of(0x0c, text)].concat();
        let validity = [element_of(UTC_TIME, not_before), element_of(not_after.0, not_after.1)].concat();
        let tbs = [
            element_of(VERSION, &[2, 1, 2]),
            element_of(INTEGER, &[1]),
            element_of(SEQUENCE, &[]),
            element_of(SEQUENCE, &common(b"authority")),
            element_of(SEQUENCE, &validity),
            element_of(SEQUENCE, &common(b"db.internal")),
        ];
        element_of(SEQUENCE, &element_of(SEQUENCE, &tbs.concat()))
    }

    #[test]
    fn dates_of_both_forms_are_read_and_no_cut_certificate_is() {
        let der = certificate(b"991231235959Z", (GENERALIZED_TIME, b"20500102030405Z"));
        let parsed = Certificate::parse(&der).expect("a certificate");
        assert_eq!(parsed.subject, "db.internal");
        assert!(!parsed.self_issued);
        assert_eq!(parsed.not_before.to_string(), "1999-12-31T23:59:59Z");
        assert_eq!(parsed.not_after.to_string(), "2050-01-02T03:04:05Z");
        for length in 0..der.len() {
            assert_eq!(Certificate::parse(&der[..length]), None, "{length} bytes");
        }
        for wrong in [b"20500102030405+".as_slice(), b"20501302030405Z", b"", b"Z"] {
            assert_eq!(Certificate::parse(&certificate(b"991231235959Z", (GENERALIZED_TIME, wrong))), None);
        }
    }
}
