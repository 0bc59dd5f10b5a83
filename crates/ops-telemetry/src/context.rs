//! Trace identity as W3C Trace Context (level 2) defines it: ids, flags and the `traceparent` text. Pure: nothing
//! here knows of spans, processes or the environment.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

use crate::error::{Error, ErrorKind};
use crate::random;

/// The length of a version 00 `traceparent`: `00-<32 hex>-<16 hex>-<2 hex>`.
const TRACEPARENT_LEN: usize = 55;

/// Names one trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Draws a new id from the thread's cryptographic generator.
    pub fn random() -> Self {
        loop {
            let [high, low] = random::next();
            if let Some(id) = Self::new(u128::from(high) << 64 | u128::from(low)) {
                return id;
            }
        }
    }

    /// Returns the id with this value, or `None` for zero, which W3C forbids.
    pub fn new(value: u128) -> Option<Self> {
        NonZeroU128::new(value).map(Self)
    }

    /// Returns the id as a number, most significant byte first in the text form.
    pub fn get(self) -> u128 {
        self.0.get()
    }
}

/// Names one span of a trace; never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// Draws a new id from the thread's cryptographic generator.
    pub fn random() -> Self {
        loop {
            let [value] = random::next();
            if let Some(id) = Self::new(value) {
                return id;
            }
        }
    }

    /// Returns the id with this value, or `None` for zero, which W3C forbids.
    pub fn new(value: u64) -> Option<Self> {
        NonZeroU64::new(value).map(Self)
    }

    /// Returns the id as a number, most significant byte first in the text form.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

/// The flags of a trace context; bits that level 2 does not define are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceFlags(u8);

impl TraceFlags {
    /// The caller may have recorded the trace.
    pub const SAMPLED: Self = Self(0x01);
    /// The low 56 bits of the trace id are random.
    pub const RANDOM: Self = Self(0x02);

    /// Those of a trace that begins here, until it is known whether it is recorded.
    pub(crate) const NEW: Self = Self(Self::SAMPLED.0 | Self::RANDOM.0);

    /// Returns the defined bits of `bits`.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & (Self::SAMPLED.0 | Self::RANDOM.0))
    }

    /// Returns these flags with the sampled flag as said.
    #[must_use]
    pub fn with_sampled(self, sampled: bool) -> Self {
        Self(if sampled { self.0 | Self::SAMPLED.0 } else { self.0 & !Self::SAMPLED.0 })
    }

    /// Returns the flags as a bit field.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Tells whether the caller may have recorded the trace.
    pub fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED.0 != 0
    }
}

/// A position in a trace: what a caller hands to the work that it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that is the parent of whatever comes next.
    pub span_id: SpanId,
    /// The flags, handed on unchanged.
    pub flags: TraceFlags,
}

impl TraceContext {
    /// Starts a new trace, sampled, with random ids.
    pub fn random() -> Self {
        Self { trace_id: TraceId::random(), span_id: SpanId::random(), flags: TraceFlags::NEW }
    }

    /// Returns the context of a new span below this one: same trace and flags, a fresh span id.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: SpanId::random(), ..*self }
    }

    /// Reads a `traceparent`, strictly: lower-case hexadecimal, exact lengths, no zero id. White space around it is
    /// ignored, and so is what a later version appends.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidTraceparent`]; W3C asks the receiver to start a new trace then.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bytes = text.trim_matches([' ', '\t']).as_bytes();
        if bytes.len() < TRACEPARENT_LEN {
            return Err(invalid("traceparent is shorter than 55 characters"));
        }
        if bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return Err(invalid("traceparent lacks a dash between its fields"));
        }
        let version = hex(&bytes[..2])?;
        if version == 0xff {
            return Err(invalid("traceparent has the forbidden version ff"));
        }
        match (version, bytes.get(TRACEPARENT_LEN)) {
            (_, None) => {}
            (0, Some(_)) => return Err(invalid("traceparent of version 00 is longer than 55 characters")),
            (_, Some(b'-')) => {}
            (_, Some(_)) => return Err(invalid("traceparent lacks a dash after its flags")),
        }
        let trace_id =
            TraceId::new(hex(&bytes[3..35])?).ok_or_else(|| invalid("traceparent has a zero trace id"))?;
        let span_id = u64::try_from(hex(&bytes[36..52])?).expect("sixteen digits fit in 64 bits");
        let span_id = SpanId::new(span_id).ok_or_else(|| invalid("traceparent has a zero parent id"))?;
        let flags = u8::try_from(hex(&bytes[53..55])?).expect("two digits fit in 8 bits");
        Ok(Self { trace_id, span_id, flags: TraceFlags::from_bits(flags) })
    }

    /// Writes this context as a `traceparent` of version 00.
    pub fn to_traceparent(&self) -> String {
        format!("00-{}-{}-{}", self.trace_id, self.span_id, self.flags)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

impl fmt::Display for TraceFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidTraceparent, message)
}

/// Reads at most 32 lower-case digits; `from_str_radix` would take signs and upper case too.
fn hex(digits: &[u8]) -> Result<u128, Error> {
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Ok(value << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Ok(value << 4 | u128::from(digit - b'a' + 10)),
        _ => Err(invalid("traceparent has a character that is no lower-case hexadecimal digit")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn accepts_what_w3c_accepts() {
        let check = |text: &str, flags: u8| {
            let context = TraceContext::parse(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert_eq!(context.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
            assert_eq!(context.span_id.to_string(), "b7ad6b7169203331");
            assert_eq!(context.flags.bits(), flags, "{text:?}");
        };
        check(VALID, 1);
        check(&format!(" \t{VALID}\t "), 1);
        check(&VALID.replace("-01", "-00"), 0);
        check(&VALID.replace("-01", "-02"), 2);
        check(&VALID.replace("-01", "-ff"), 3);
        check(&VALID.replace("00-", "cc-"), 1);
        check(&(VALID.replace("00-", "cc-") + "-what-comes-later"), 1);
        check(&(VALID.replace("00-", "01-") + "-"), 1);
    }

    #[test]
    fn refuses_what_w3c_refuses() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for text in [
            String::new(),
            "-".into(),
            "00".into(),
            format!("0-{trace}-{span}-01"),
            format!("000-{trace}-{span}-01"),
            format!("ff-{trace}-{span}-01"),
            format!("FF-{trace}-{span}-01"),
            format!("0x-{trace}-{span}-01"),
            format!("+0-{trace}-{span}-01"),
            format!(".0-{trace}-{span}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{trace}-{}-01", span.to_uppercase()),
            format!("00-{trace}-{span}-0A"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", &trace[1..]),
            format!("00-{trace}0-{span}-01"),
            format!("00-{trace}-{}-01", &span[1..]),
            format!("00-{trace}-{span}0-01"),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-"),
            format!("00-{trace}-{span}-1"),
            format!("00-{trace}-{span}-001"),
            format!("00-{trace}-{span}-01-"),
            format!("00-{trace}-{span}-01-extra"),
            format!("00-{trace}-{span}-01.extra"),
            format!("cc-{trace}-{span}-01.extra"),
            format!("cc-{trace}-{span}-01x"),
            format!("cc-{trace}-{span}-0"),
            format!("00_{trace}_{span}_01"),
            format!("00-{trace}-{span}--1"),
            format!("00-{trace}-{span}-+1"),
            format!("00-+{}-{span}-01", &trace[1..]),
            format!("00-{}z-{span}-01", &trace[1..]),
            format!("00-{trace}-{span}-01,00-{trace}-{span}-01"),
            format!("00-{trace}-{span}-01\n"),
            format!("\u{a0}00-{trace}-{span}-01"),
            format!("00-{trace}-{span}-é"),
            "é".repeat(28),
        ] {
            let error = TraceContext::parse(&text).expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::InvalidTraceparent, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1u128.., span in 1u64.., bits: u8) {
            let context = TraceContext {
                trace_id: TraceId::new(trace).expect("not zero"),
                span_id: SpanId::new(span).expect("not zero"),
                flags: TraceFlags::from_bits(bits),
            };
            prop_assert_eq!(TraceContext::parse(&context.to_traceparent()).expect("valid"), context);
        }

        #[test]
        fn any_text_is_refused_or_written_back_unchanged(text in "[0-9a-fA-F\\-+ x]{50,60}") {
            if let Ok(context) = TraceContext::parse(&text) {
                let trimmed = text.trim();
                prop_assert_eq!(&context.to_traceparent()[2..53], &trimmed[2..53]);
            }
        }

        #[test]
        fn one_changed_byte_never_panics(at in 0usize..55, byte: char) {
            let mut text: Vec<char> = VALID.chars().collect();
            text[at] = byte;
            let _ = TraceContext::parse(&text.into_iter().collect::<String>());
        }
    }

    #[test]
    fn a_child_keeps_the_trace() {
        let parent = TraceContext::random();
        let child = parent.child();
        assert_eq!((child.trace_id, child.flags), (parent.trace_id, parent.flags));
        assert_ne!(child.span_id, parent.span_id);
        assert_eq!(parent.flags.to_string(), "03");
    }
}
