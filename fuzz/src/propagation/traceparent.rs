//! Any text as a `traceparent`.
//!
//! Whatever a caller sends, it is read as the specification says, and handed on whole. The check says the grammar a second
//! time, in another way than the crate does.

use ops_telemetry::TraceContext;
use ops_telemetry::propagate::kafka;

/// `traceparent` (W3C Trace Context level 2, section 3.2), alone and in a message. Returns whether it is one.
pub fn check(text: &str) -> bool {
    let expected = parent_fields(text.trim_matches([' ', '\t']));
    let read = TraceContext::parse(text).ok();
    let found = read.map(|read| (read.trace_id.get(), read.span_id.get(), read.flags.bits()));
    assert_eq!(found, expected, "{text:?}");
    if let Some(read) = read {
        let written = read.to_traceparent();
        assert_eq!(written.len(), 55, "{text:?}");
        assert_eq!(TraceContext::parse(&written).ok(), Some(read), "{text:?}");
    }
    let alone = kafka::extract([("traceparent", text), ("tracestate", "a=1")]);
    assert_eq!(alone.context, read, "{text:?}");
    assert_eq!(alone.state.is_empty(), read.is_none(), "a tracestate without its parent: {text:?}");
    assert_eq!(alone.fault.is_some(), read.is_none(), "{text:?}");
    let twice = kafka::extract([("traceparent", text), ("TraceParent", text)]);
    assert!(twice.context.is_none() && twice.fault.is_some(), "which one of two is right? {text:?}");
    read.is_some()
}

fn parent_fields(text: &str) -> Option<(u128, u64, u8)> {
    let mut fields = text.split('-');
    let mut field = |len: usize| {
        let field = fields.next().filter(|field| field.len() == len)?;
        field.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)).then_some(field)
    };
    let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    let is_ours = version == "00" && fields.next().is_none() || version != "00" && version != "ff";
    let (trace, span) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(span, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()? & 3;
    (is_ours && trace != 0 && span != 0).then_some((trace, span, flags))
}
