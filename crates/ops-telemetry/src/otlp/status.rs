//! What a gRPC collector answers, and what that means (gRPC over HTTP/2, "Responses"; OTLP/gRPC, "Failures" and
//! "Throttling"). Pure.

use std::time::Duration;

use http::HeaderMap;

use super::answer::partial_success;
use super::courier::Sent;
use super::options::decoded;
use super::protobuf::{self, Value};

const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const RESOURCE_EXHAUSTED: u32 = 8;

/// The codes in their order.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The answer to one call.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    code: u32,
    why: String,
    /// When to come again, where the collector says so (`google.rpc.RetryInfo`).
    retry_after: Option<Duration>,
    /// The message, without its frame.
    message: Vec<u8>,
}

impl Answer {
    /// Reads it from the status of HTTP, the trailers (or the headers, where nothing else came) and the data.
    pub(super) fn read(http_status: u16, trailers: &HeaderMap, data: &[u8]) -> Self {
        let text = |name: &str| trailers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let code = match http_status {
            200 => text("grpc-status").and_then(|code| code.parse().ok()).unwrap_or(UNKNOWN),
            status => code_of(status),
        };
        let why = match text("grpc-message") {
            Some(why) => decoded(&why).chars().take(200).collect(),
            None if http_status != 200 => format!("the status of HTTP is {http_status}"),
            None => String::new(),
        };
        let details = text("grpc-status-details-bin").and_then(|text| base64(&text));
        let message = match data.split_at_checked(5) {
            Some((&[0, ..], message)) => message.to_vec(),
            _ => Vec::new(),
        };
        Self { code, why, retry_after: details.and_then(|details| retry_info(&details)), message }
    }

    /// Decides as the table of OTLP/gRPC does.
    pub(super) fn judge(self) -> Sent {
        let Self { code, why, retry_after: after, message } = self;
        if code == OK {
            let (rejected, why) = partial_success(&message);
            return Sent::Taken { rejected, why };
        }
        let is_temporary = match code {
            // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
            1 | 4 | 10 | 11 | 14 | 15 => true,
            // Only a collector that says when has a chance to take it.
            RESOURCE_EXHAUSTED => after.is_some(),
            _ => false,
        };
        let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code)).unwrap_or(&"no known code");
        let separator = if why.is_empty() { "" } else { ": " };
        let why = format!("it answers with gRPC status {code} ({name}){separator}{why}");
        if is_temporary { Sent::Later { after, why } } else { Sent::Refused(why) }
    }
}

/// What another answer than 200 means, from something in between that does not speak gRPC ("HTTP to gRPC Status Code
/// Mapping").
fn code_of(http_status: u16) -> u32 {
    match http_status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    }
}

/// Finds a `google.rpc.RetryInfo` in a `google.rpc.Status`, and in it the delay.
fn retry_info(status: &[u8]) -> Option<Duration> {
    let any = protobuf::fields(status).find_map(|found| match found {
        (3, Value::Bytes(any)) if inside(any, 1)?.ends_with(b"/google.rpc.RetryInfo") => Some(any),
        _ => None,
    });
    let delay = inside(inside(any?, 2)?, 1)?;
    let number = |field| match find(delay, field) {
        Some(Value::Number(number)) => number,
        _ => 0,
    };
    // A negative one is a very large number here, and a time that no clock has is no time.
    let seconds = Some(number(1)).filter(|seconds| i64::try_from(*seconds).is_ok())?;
    Duration::from_secs(seconds).checked_add(Duration::from_nanos(number(2).min(999_999_999)))
}

fn find(message: &[u8], wanted: u64) -> Option<Value<'_>> {
    protobuf::fields(message).find(|(field, _)| *field == wanted).map(|(_, value)| value)
}

fn inside(message: &[u8], wanted: u64) -> Option<&[u8]> {
    match find(message, wanted) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// Decodes base64, with or without padding (RFC 4648, section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    let (mut out, mut bits, mut width) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        width += 6;
        if width >= 8 {
            width -= 8;
            out.push((bits >> width) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    /// `Status { code: 8, details: [Any of RetryInfo { retry_delay: 2.5 s }] }`, written after the definitions by another
    /// program.
    const RETRY_INFO: &str = "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ";

    fn answer(http_status: u16, trailers: &[(&'static str, &str)], data: &[u8]) -> Answer {
        let trailers = trailers.iter().map(|(name, value)| {
            (name.parse().expect("a name"), HeaderValue::from_str(value).expect("a value"))
        });
        Answer::read(http_status, &trailers.collect(), data)
    }

    #[test]
    fn the_code_decides_whether_to_come_again() {
        for code in 0..20 {
            let sent = answer(200, &[("grpc-status", &code.to_string())], b"").judge();
            match code {
                0 => assert_eq!(sent, Sent::Taken { rejected: 0, why: String::new() }),
                1 | 4 | 10 | 11 | 14 | 15 => {
                    assert!(matches!(sent, Sent::Later { after: None, .. }), "{code}")
                }
                _ => assert!(matches!(sent, Sent::Refused(_)), "{code}"),
            }
        }
        for trailers in [&[][..], &[("grpc-status", "x")], &[("grpc-status", "-1")]] {
            assert!(matches!(answer(200, trailers, b"").judge(), Sent::Refused(_)), "{trailers:?}");
        }
    }

    #[test]
    fn a_proxy_that_speaks_no_grpc_is_understood() {
        for status in [429, 502, 503, 504] {
            assert!(matches!(answer(status, &[], b"").judge(), Sent::Later { after: None, .. }), "{status}");
        }
        for status in [400, 401, 403, 404, 500, 301] {
            let Sent::Refused(why) = answer(status, &[("grpc-status", "0")], b"").judge() else {
                panic!("{status}")
            };
            assert!(why.contains(&status.to_string()), "{why}");
        }
    }

    #[test]
    fn a_reason_is_told() {
        let found =
            answer(200, &[("grpc-status", "16"), ("grpc-message", "no%20token%3a \u{e9}%zz")], b"").judge();
        let Sent::Refused(why) = found else { panic!("{found:?}") };
        assert!(why.starts_with("it answers with gRPC status 16 (UNAUTHENTICATED): no token: "), "{why}");
    }

    #[test]
    fn the_time_to_come_again_is_read() {
        let after = |code: &str, details: &str| {
            answer(200, &[("grpc-status", code), ("grpc-status-details-bin", details)], b"").judge()
        };
        let expected = Some(Duration::from_millis(2500));
        for code in ["8", "14"] {
            for details in [RETRY_INFO.to_owned(), format!("{RETRY_INFO}=")] {
                let found = after(code, &details);
                assert!(matches!(found, Sent::Later { after, .. } if after == expected), "{found:?}");
            }
        }
        assert!(matches!(after("3", RETRY_INFO), Sent::Refused(_)));
        for broken in ["", "!", "CAg", &RETRY_INFO[..RETRY_INFO.len() - 12]] {
            assert!(matches!(after("8", broken), Sent::Refused(_)), "{broken}");
        }
    }

    #[test]
    fn a_partial_success_is_in_a_frame() {
        // partial_success { rejected: 2 }
        let data = [0, 0, 0, 0, 4, 0x0a, 0x02, 0x08, 0x02];
        let judged = |data: &[u8]| answer(200, &[("grpc-status", "0")], data).judge();
        assert_eq!(judged(&data), Sent::Taken { rejected: 2, why: String::new() });
        for other in [&b""[..], &data[..3], &[1, 0, 0, 0, 4, 0x0a, 0x02, 0x08, 0x02]] {
            assert_eq!(judged(other), Sent::Taken { rejected: 0, why: String::new() }, "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(details in "[A-Za-z0-9+/=]{0,80}", data: Vec<u8>, bytes: Vec<u8>) {
            let _ = answer(200, &[("grpc-status", "8"), ("grpc-status-details-bin", &details)], &data).judge();
            let _ = retry_info(&bytes);
        }
    }
}
