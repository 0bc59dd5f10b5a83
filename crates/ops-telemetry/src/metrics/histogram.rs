//! Histograms: how often a number fell into which range.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::desc::Kind;
use super::exemplar::Slot;
use super::family::{Cell, Instrument};
use super::reading::{Ranges, Value};
use crate::context::TraceContext;
use crate::error::{Error, ErrorKind};

/// The most ranges of one histogram: each is a series of its own in Prometheus.
const MAX_BUCKETS: usize = 200;

/// The upper ends of a histogram's ranges, each included; what is above the last one has a range of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    bounds: Arc<[f64]>,
}

impl Buckets {
    /// Takes the ends as they are.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMetric`] where they are not finite and strictly growing, or more than 200, or none.
    pub fn explicit(bounds: &[f64]) -> Result<Self, Error> {
        let grows = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if bounds.is_empty()
            || bounds.len() > MAX_BUCKETS
            || !grows
            || bounds.iter().any(|end| !end.is_finite())
        {
            return Err(Error::new(
                ErrorKind::InvalidMetric,
                format!(
                    "histogram buckets must be 1 to {MAX_BUCKETS} finite numbers, each greater than the last"
                ),
            ));
        }
        Ok(Self { bounds: bounds.into() })
    }

    /// Makes `count` ends, from `start` on, each `factor` times the last: the same relative error everywhere. A factor
    /// of 2^(1/2^n) gives the boundaries of OpenTelemetry's exponential histograms of scale n where `start` is one.
    ///
    /// # Errors
    /// As [`Buckets::explicit`]: `start` must be positive, `factor` greater than one, and no end infinite.
    pub fn exponential(start: f64, factor: f64, count: usize) -> Result<Self, Error> {
        let positive = if start > 0.0 { start } else { f64::NAN };
        let ends: Vec<f64> =
            (0..count.min(MAX_BUCKETS + 1)).map(|n| positive * factor.powi(n as i32)).collect();
        Self::explicit(&ends)
    }

    /// The ends that OpenTelemetry recommends for durations of requests: 5 ms to 10 s.
    pub fn seconds() -> Self {
        let bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
        Self { bounds: bounds.into() }
    }
}

/// Counts observations by range, and their sum. Clones count together.
#[derive(Clone, Debug)]
pub struct Histogram {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bounds: Arc<[f64]>,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// Made with the first exemplar: most histograms have none.
    exemplars: OnceLock<Box<[Slot]>>,
}

impl Histogram {
    /// Counts `value`. What is no number is left out.
    pub fn observe(&self, value: f64) {
        self.count(value);
    }

    /// Counts `value` and keeps `context`, where it is sampled, as the exemplar of its range.
    pub fn observe_with(&self, value: f64, context: Option<TraceContext>) {
        let Some(bucket) = self.count(value) else { return };
        if context.is_some_and(|context| context.flags.is_sampled()) {
            let make = || (0..self.shared.counts.len()).map(|_| Slot::default()).collect();
            self.shared.exemplars.get_or_init(make)[bucket].keep(value, context);
        }
    }

    /// Starts to measure a duration, observed in seconds when what is returned is dropped.
    pub fn start(&self) -> Timer {
        Timer { histogram: self.clone(), start: Instant::now() }
    }

    /// Returns the number of observations so far.
    pub fn count_so_far(&self) -> u64 {
        self.shared.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn count(&self, value: f64) -> Option<usize> {
        if value.is_nan() {
            return None;
        }
        let shared = &*self.shared;
        let bucket = shared.bounds.partition_point(|end| *end < value);
        shared.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never declines.
        let _ = shared.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        Some(bucket)
    }
}

/// Measures until it is dropped, and keeps the span that it is dropped in as the exemplar.
#[derive(Debug)]
#[must_use = "the duration ends as soon as this is dropped"]
pub struct Timer {
    histogram: Histogram,
    start: Instant,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe_with(self.start.elapsed().as_secs_f64(), TraceContext::current());
    }
}

impl Instrument for Histogram {}

impl Cell for Histogram {
    type Config = Buckets;
    const KIND: Kind = Kind::Histogram;

    fn create(buckets: &Buckets) -> Self {
        let shared = Shared {
            bounds: Arc::clone(&buckets.bounds),
            counts: (0..=buckets.bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            exemplars: OnceLock::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// An observation made meanwhile may be in the ranges and not in the sum yet.
    fn read(&self) -> Value {
        let Shared { bounds, counts, sum, exemplars } = &*self.shared;
        let sum = f64::from_bits(sum.load(Ordering::Relaxed));
        Value::Histogram(Ranges {
            ends: Arc::clone(bounds),
            counts: counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum,
            exemplars: exemplars.get().map_or_else(Vec::new, |slots| slots.iter().map(Slot::get).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_belongs_to_its_range() {
        let histogram = Histogram::create(&Buckets::explicit(&[1.0, 2.0]).expect("valid"));
        for value in [-1.0, 1.0, 1.5, 2.0, 2.5, f64::INFINITY, f64::NAN] {
            histogram.observe(value);
        }
        let counts: Vec<u64> =
            histogram.shared.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [2, 2, 2]);
        assert_eq!(histogram.count_so_far(), 6);
    }

    #[test]
    fn buckets_grow() {
        let bounds = |buckets: Result<Buckets, Error>| buckets.expect("valid").bounds.to_vec();
        assert_eq!(bounds(Buckets::exponential(1.0, 2.0, 4)), [1.0, 2.0, 4.0, 8.0]);
        assert_eq!(bounds(Buckets::explicit(&[-1.0, 0.0, 1e9])), [-1.0, 0.0, 1e9]);
        for refused in [
            Buckets::explicit(&[]),
            Buckets::explicit(&[1.0, 1.0]),
            Buckets::explicit(&[2.0, 1.0]),
            Buckets::explicit(&[1.0, f64::INFINITY]),
            Buckets::explicit(&[f64::NAN]),
            Buckets::exponential(0.0, 2.0, 4),
            Buckets::exponential(1.0, 1.0, 4),
            Buckets::exponential(1.0, 10.0, 201),
            Buckets::exponential(1e300, 10.0, 20),
        ] {
            assert_eq!(refused.expect_err("invalid").kind(), ErrorKind::InvalidMetric);
        }
    }
}
