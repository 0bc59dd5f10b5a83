//! Counters and gauges.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::desc::Kind;
use super::exemplar::Slot;
use super::family::Instrument;
use super::reading::Value;
use crate::context::TraceContext;

/// Counts what only ever grows. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    cell: Arc<Count>,
}

/// On a cache line of its own: counters that were made one after the other are used by different threads.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count {
    value: AtomicU64,
    exemplar: Slot,
}

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `amount`. The count wraps around at 2^64, which Prometheus takes for a restart.
    pub fn add(&self, amount: u64) {
        self.cell.value.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds `amount` and keeps `context`, where it is sampled, as the exemplar.
    pub fn add_with(&self, amount: u64, context: Option<TraceContext>) {
        self.add(amount);
        self.cell.exemplar.keep(amount as f64, context);
    }

    /// Returns the count so far.
    pub fn get(&self) -> u64 {
        self.cell.value.load(Ordering::Relaxed)
    }
}

/// Holds a number that goes up and down. Clones hold the same one.
#[derive(Clone, Debug, Default)]
pub struct Gauge {
    bits: Arc<AtomicU64>,
}

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: f64) {
        self.bits.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: f64) {
        let add = |bits| Some((f64::from_bits(bits) + amount).to_bits());
        // The closure never declines.
        let _ = self.bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Adds one until what is returned is dropped: for what is going on right now.
    pub fn track(&self) -> Tracked {
        self.add(1.0);
        Tracked { gauge: self.clone() }
    }

    /// Returns the number.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.bits.load(Ordering::Relaxed))
    }
}

/// One of what a [`Gauge`] counts, until it is dropped.
#[derive(Debug)]
#[must_use = "the gauge goes down again as soon as this is dropped"]
pub struct Tracked {
    gauge: Gauge,
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.gauge.add(-1.0);
    }
}

impl Instrument for Counter {}

impl super::family::Cell for Counter {
    type Config = ();
    const KIND: Kind = Kind::Counter;

    fn create((): &()) -> Self {
        Self::default()
    }

    fn read(&self) -> Value {
        Value::Count { total: self.get(), exemplar: self.cell.exemplar.get() }
    }
}

impl Instrument for Gauge {}

impl super::family::Cell for Gauge {
    type Config = ();
    const KIND: Kind = Kind::Gauge;

    fn create((): &()) -> Self {
        Self::default()
    }

    fn read(&self) -> Value {
        Value::Number(self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_goes_up_and_down() {
        let gauge = Gauge::default();
        gauge.set(1.5);
        gauge.add(-0.25);
        let (one, two) = (gauge.track(), gauge.track());
        assert_eq!(gauge.get(), 3.25);
        drop((one, two));
        assert_eq!(gauge.get(), 1.25);
    }

    #[test]
    fn no_count_is_lost_between_threads() {
        let (counter, gauge) = (Counter::default(), Gauge::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counter.inc();
                        gauge.add(1.0);
                    }
                });
            }
        });
        assert_eq!((counter.get(), gauge.get()), (40_000, 40_000.0));
    }
}
