//! When what waits to be archived will have filled the disk. Pure.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back the growth is measured.
const WINDOW: Duration = Duration::from_secs(600);
/// Over less time a growth is not told: one segment more would look like a flood.
const SHORTEST: Duration = Duration::from_secs(30);

/// How much waited, and when.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// The time since the first look, and the bytes that waited.
    seen: VecDeque<(Duration, u64)>,
}

impl Growth {
    /// Notes that `bytes` wait at `at`, a time that never goes back.
    pub(super) fn note(&mut self, at: Duration, bytes: u64) {
        self.seen.push_back((at, bytes));
        while self.seen.front().is_some_and(|(first, _)| *first + WINDOW < at) {
            self.seen.pop_front();
        }
    }

    /// Returns in how many seconds `free` bytes are used up, if what waits grows on as it did; `None` where it does not.
    pub(super) fn full_in(&self, free: u64) -> Option<f64> {
        let ((first, least), (last, most)) = (self.seen.front()?, self.seen.back()?);
        let time = last.saturating_sub(*first);
        let grown = most.checked_sub(*least).filter(|grown| *grown > 0 && time >= SHORTEST)?;
        #[expect(clippy::cast_precision_loss, reason = "a forecast needs no 53 bits")]
        let full_in = free as f64 * time.as_secs_f64() / grown as f64;
        Some(full_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_growth_is_extended_and_anything_else_is_not() {
        type Row = (&'static [(u64, u64)], Option<f64>);
        let table: [Row; 6] = [
            (&[], None),
            (&[(0, 10)], None),
            // Too short a time.
            (&[(0, 0), (20, 1000)], None),
            (&[(0, 0), (50, 100), (100, 200)], Some(500.0)),
            // It shrinks.
            (&[(0, 200), (100, 100)], None),
            // What was ten minutes ago does not count: 100 in 600 s.
            (&[(0, 0), (5, 10_000), (605, 10_100)], Some(6000.0)),
        ];
        for (seen, expected) in table {
            let mut growth = Growth::default();
            for (at, bytes) in seen {
                growth.note(Duration::from_secs(*at), *bytes);
            }
            assert_eq!(growth.full_in(1000), expected, "{seen:?}");
        }
    }
}
