//! Which traces are recorded. Pure: decided once, at the head of a trace, before anything else is collected.

use crate::context::{TraceFlags, TraceId};

/// The low bits of a trace id that W3C promises to be random where the random flag is set.
const RANDOM_BITS: u32 = 56;

/// Which traces are recorded, and what that means for their lines.
///
/// The decision is made for the first span of a trace in this process and holds for all spans below it; the sampled
/// flag carries it to other processes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// The part of all traces that is recorded, from 0 to 1. Decided by the trace id alone, so that every process with
    /// the same ratio decides alike, and one with a higher ratio keeps at least those.
    pub ratio: f64,
    /// Whether a trace that another process began is recorded as that one decided, whatever the ratio.
    pub follow_parent: bool,
    /// Which lines are written within a trace that is not recorded.
    pub lines: UnsampledLines,
}

/// Which lines are written within a trace that is not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsampledLines {
    /// All of them: sampling governs spans alone.
    #[default]
    All,
    /// Warnings and worse. The fields of the spans are not collected then, so these lines have ids and their own
    /// fields only; in return such a span costs next to nothing.
    Warnings,
}

impl Default for Sampling {
    /// Records everything, except what a caller decided not to.
    fn default() -> Self {
        Self { ratio: 1.0, follow_parent: true, lines: UnsampledLines::All }
    }
}

impl Sampling {
    /// Reads `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, or returns `None` for a name that this crate does not
    /// know. A ratio that is no number from 0 to 1 counts as 1, as OpenTelemetry demands.
    pub fn from_names(sampler: &str, argument: Option<&str>) -> Option<Self> {
        let (follow_parent, root) = match sampler.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, sampler),
        };
        let ratio = match root {
            "always_on" => 1.0,
            "always_off" => 0.0,
            "traceidratio" => argument
                .and_then(|text| text.parse().ok())
                .filter(|ratio| (0.0..=1.0).contains(ratio))
                .unwrap_or(1.0),
            _ => return None,
        };
        Some(Self { ratio, follow_parent, ..Self::default() })
    }

    /// Decides for the head of a trace; `caller` has the flags of the process that began it, if another one did.
    pub(crate) fn decide(&self, trace: TraceId, caller: Option<TraceFlags>) -> bool {
        match caller {
            Some(flags) if self.follow_parent => flags.is_sampled(),
            _ => within_ratio(trace, self.ratio),
        }
    }
}

/// The rejection threshold of OpenTelemetry's consistent probability sampling: what is at or above it is kept.
fn within_ratio(trace: TraceId, ratio: f64) -> bool {
    let range = (1_u64 << RANDOM_BITS) as f64;
    let threshold = ((1.0 - ratio.clamp(0.0, 1.0)) * range) as u64;
    let random = trace.get() as u64 & ((1 << RANDOM_BITS) - 1);
    random >= threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(value: u128) -> TraceId {
        TraceId::new(value).expect("not zero")
    }

    #[test]
    fn the_low_56_bits_decide() {
        let half = 1_u128 << 55;
        let check = |value: u128, ratio: f64, expected: bool| {
            assert_eq!(within_ratio(trace(value), ratio), expected, "{value:x} at {ratio}");
        };
        check(half, 0.5, true);
        check(half - 1, 0.5, false);
        check((half - 1) | (0xff << 56), 0.5, false);
        check(half | (1 << 127), 0.5, true);
        check(1, 1.0, true);
        check((1 << 56) - 1, 0.0, false);
        check(1, f64::NAN, true);
        check((1 << 56) - 1, 1e-9, true);
    }

    #[test]
    fn the_part_that_is_kept_is_the_ratio() {
        let kept = (0..10_000).filter(|_| within_ratio(TraceId::random(), 0.25)).count();
        // Nine standard deviations.
        assert!((2100..=2900).contains(&kept), "{kept}");
    }

    #[test]
    fn a_caller_is_followed_where_it_should_be() {
        let off = Sampling { ratio: 0.0, ..Sampling::default() };
        let sampled = Some(TraceFlags::SAMPLED);
        assert!(off.decide(trace(1), sampled));
        assert!(!off.decide(trace(1), None));
        assert!(!Sampling::default().decide(trace(1), Some(TraceFlags::default())));
        assert!(!Sampling { follow_parent: false, ..off }.decide(trace(1), sampled));
    }

    #[test]
    fn the_names_of_opentelemetry_are_known() {
        let check = |name: &str, argument: Option<&str>, expected: Option<(f64, bool)>| {
            let found = Sampling::from_names(name, argument).map(|s| (s.ratio, s.follow_parent));
            assert_eq!(found, expected, "{name} {argument:?}");
        };
        check("always_on", None, Some((1.0, false)));
        check("always_off", None, Some((0.0, false)));
        check("traceidratio", Some("0.25"), Some((0.25, false)));
        check("parentbased_traceidratio", Some("0.25"), Some((0.25, true)));
        check("parentbased_traceidratio", Some("7"), Some((1.0, true)));
        check("parentbased_always_off", None, Some((0.0, true)));
        check("jaeger_remote", None, None);
    }
}
