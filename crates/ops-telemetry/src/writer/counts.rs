//! How many lines were lost, and which.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::severity::Severity;

/// Lines that were lost, by severity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinesLost([u64; Severity::ALL.len()]);

impl LinesLost {
    /// Returns how many lines of this severity were lost.
    pub fn of(&self, severity: Severity) -> u64 {
        self.0[severity.index()]
    }

    /// Returns how many lines were lost in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns what was lost since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index].saturating_sub(earlier.0[index])))
    }
}

/// The counters behind [`LinesLost`].
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; Severity::ALL.len()]);

impl Counts {
    pub(super) fn add(&self, severity: Severity, lines: u64) {
        self.0[severity.index()].fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> LinesLost {
        LinesLost(std::array::from_fn(|index| self.0[index].load(Ordering::Relaxed)))
    }
}
