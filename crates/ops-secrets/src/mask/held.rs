//! Secrets that are known as long as somebody holds them, and a while longer.

use super::Known;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Keeps one secret known to a [`Masker`](super::Masker). Where it is dropped the secret stays masked until a sweep lets it go.
pub struct Registration {
    known: Arc<RwLock<Known>>,
    number: u64,
}

impl Registration {
    pub(super) fn new(known: Arc<RwLock<Known>>, number: u64) -> Self {
        Self { known, number }
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).held.release(self.number);
    }
}

/// All registrations.
#[derive(Default)]
pub(super) struct Holds {
    next: u64,
    all: BTreeMap<u64, Hold>,
}

struct Hold {
    forms: BTreeSet<Vec<u8>>,
    state: State,
}

enum State {
    InUse,
    /// Dropped; no sweep has seen it yet.
    Released,
    /// Dropped before this sweep.
    Leaving(Instant),
}

impl Holds {
    pub(super) fn add(&mut self, forms: BTreeSet<Vec<u8>>) -> u64 {
        self.next += 1;
        self.all.insert(self.next, Hold { forms, state: State::InUse });
        self.next
    }

    fn release(&mut self, number: u64) {
        if let Some(hold) = self.all.get_mut(&number) {
            hold.state = State::Released;
        }
    }

    /// Whether some are gone now.
    pub(super) fn sweep(&mut self, now: Instant, grace: Duration) -> bool {
        let before = self.all.len();
        self.all.retain(|_, hold| {
            if matches!(hold.state, State::Released) {
                hold.state = State::Leaving(now);
            }
            // A clock that went back keeps the secret masked.
            !matches!(hold.state, State::Leaving(since) if now.checked_duration_since(since).is_some_and(|age| age >= grace))
        });
        self.all.len() < before
    }

    pub(super) fn forms(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.all.values().flat_map(|hold| &hold.forms)
    }
}

#[cfg(test)]
mod tests {
    use crate::Masker;
    use std::time::{Duration, Instant};

    const GRACE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_held_stays_and_what_was_dropped_leaves_after_the_grace() {
        let (masker, begin) = (Masker::new(), Instant::now());
        masker.register("lasting", "lasting-secret");
        let first = masker.hold("a", "first-secret");
        let second = masker.hold("b", "second-secret");
        let text = "lasting-secret first-secret second-secret";
        drop(first);
        // The grace begins at the sweep that sees the drop.
        for (seconds, expected) in [
            (100, "[redacted] [redacted] [redacted]"),
            (159, "[redacted] [redacted] [redacted]"),
            (160, "[redacted] first-secret [redacted]"),
            (9_999, "[redacted] first-secret [redacted]"),
        ] {
            masker.sweep(begin + Duration::from_secs(seconds), GRACE);
            assert_eq!(masker.mask_str(text), expected, "after {seconds} s");
        }
        drop(second);
    }

    #[test]
    fn a_value_that_two_hold_stays_until_both_let_go() {
        let (masker, begin) = (Masker::new(), Instant::now());
        let (one, two) = (masker.hold("a", "same-secret"), masker.hold("b", "same-secret"));
        for (registration, expected) in [(one, "[redacted]"), (two, "same-secret")] {
            drop(registration);
            masker.sweep(begin, GRACE);
            masker.sweep(begin + GRACE, GRACE);
            assert_eq!(masker.mask_str("same-secret"), expected);
        }
    }

    #[test]
    fn without_a_sweep_nothing_is_let_go() {
        let masker = Masker::new();
        drop(masker.hold("a", "first-secret"));
        masker.register("b", "second-secret");
        assert_eq!(masker.mask_str("first-secret"), "[redacted]");
    }
}
