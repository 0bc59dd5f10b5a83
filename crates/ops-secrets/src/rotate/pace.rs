//! When what is done: pure, so that every decision about time is tested without waiting.

use std::time::Duration;

/// How a group is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often a secret without a lease is fetched to see whether it has changed. File events come on top, so this is what
    /// a change takes at most where they are lost.
    pub poll: Duration,
    /// The wait after a first failure; each further one doubles it.
    pub backoff: Duration,
    /// The longest wait between two tries.
    pub backoff_at_most: Duration,
    /// How long a secret that cannot be confirmed any more is still given out; after that [`Live::current`](super::Live::current) fails.
    /// A secret with a lease is given out until its lease ends, and no longer.
    pub stale_for: Duration,
    /// How long the old secret stays valid after a swap, for those who still use it; then its lease is revoked.
    pub grace: Duration,
    /// How long an old secret stays masked after its last user let it go: retries and reports show it long after.
    pub mask_for: Duration,
    /// How long a fetch, a renewal or the caller's own check may take.
    pub timeout: Duration,
    /// The wait after a file event, so that what is written in several steps is read once.
    pub settle: Duration,
    /// The least time between two refreshes that callers ask for: many refused logins are one reason.
    pub refresh_at_most_every: Duration,
    /// Revokes the leases when the watch is stopped. Off, they end by themselves; on, sessions of others with the same
    /// secret end too.
    pub revoke_at_end: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(60),
            backoff: Duration::from_secs(1),
            backoff_at_most: Duration::from_secs(15 * 60),
            stale_for: Duration::from_secs(60 * 60),
            grace: Duration::from_secs(5 * 60),
            mask_for: Duration::from_secs(60 * 60),
            timeout: Duration::from_secs(30),
            settle: Duration::from_millis(100),
            refresh_at_most_every: Duration::from_secs(1),
            revoke_at_end: false,
        }
    }
}

impl Options {
    /// The next poll: a tenth earlier or later, so that a fleet that was started at once does not ask at once.
    pub(super) fn next_poll(&self, random: f64) -> Duration {
        self.poll.mul_f64(0.9 + 0.2 * unit(random))
    }

    /// The wait after so many failures in a row: between a half and all of the doubled back-off.
    pub(super) fn retry(&self, failures: u32, random: f64) -> Duration {
        let doubled = self.backoff.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(20)));
        doubled.min(self.backoff_at_most).mul_f64(0.5 + 0.5 * unit(random))
    }

    /// The wait after a failure that concerns a lease: never beyond the half of what it has left.
    pub(super) fn retry_within(&self, left: Duration, failures: u32, random: f64) -> Duration {
        let retry = self.retry(failures, random);
        if left.is_zero() { retry } else { retry.min(left / 2) }
    }
}

/// When a lease is renewed: after 60 to 75 % of what it has left.
pub(super) fn renew_after(remaining: Duration, random: f64) -> Duration {
    remaining.mul_f64(0.6 + 0.15 * unit(random))
}

/// Whether a renewal got so little that the end of all renewals is near. A source answers such a renewal with success.
pub(super) fn is_capped(asked: Duration, got: Duration) -> bool {
    got < asked.mul_f64(0.9)
}

/// A random number may be anything that a caller gives.
fn unit(random: f64) -> f64 {
    if random.is_finite() { random.clamp(0.0, 1.0) } else { 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn waits_stay_within_their_bounds() {
        let options = Options::default();
        for random in [0.0, 0.3, 1.0, -5.0, 7.0, f64::NAN] {
            let poll = options.next_poll(random);
            assert!((seconds(54)..=seconds(66)).contains(&poll), "{poll:?}");
            for failures in [0, 1, 2, 5, 10, 40, u32::MAX] {
                let full = seconds(1_u64 << failures.saturating_sub(1).min(20)).min(seconds(900));
                let retry = options.retry(failures, random);
                assert!(retry >= full / 2 && retry <= full, "{failures}: {retry:?}");
            }
            assert!((seconds(60)..=seconds(75)).contains(&renew_after(seconds(100), random)));
        }
        assert_eq!(options.retry_within(seconds(4), 10, 1.0), seconds(2));
        assert_eq!(options.retry_within(Duration::ZERO, 1, 1.0), seconds(1));
    }

    #[test]
    fn success_with_little_left_is_the_end_of_renewals() {
        // Measured against OpenBao with a default of 5 s and a maximum of 12 s: 5, 5, then 1 and a warning.
        for (asked, got, capped) in
            [(5, 5, false), (5, 1, true), (3600, 3599, false), (3600, 3000, true), (5, 0, true)]
        {
            assert_eq!(is_capped(seconds(asked), seconds(got)), capped, "{asked} {got}");
        }
    }
}
