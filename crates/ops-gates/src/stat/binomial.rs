//! Rates from counts: what so many bad events among so many say about the share of bad ones.

/// The largest share of events that is compatible with `events` among `trials`: the upper bound of Clopper and Pearson.
/// It is exact: the true share lies above it at most with probability `1 - confidence`.
///
/// Without any trial it is 1.
pub fn upper_bound(events: u64, trials: u64, confidence: f64) -> f64 {
    if events >= trials {
        return 1.0;
    }
    // The share at which so few events have just the probability that is left.
    bisect(|share| cdf(events, trials, share) > 1.0 - confidence)
}

/// The smallest share of events that is compatible with `events` among `trials`.
pub fn lower_bound(events: u64, trials: u64, confidence: f64) -> f64 {
    if events == 0 {
        return 0.0;
    }
    bisect(|share| 1.0 - cdf(events - 1, trials, share) < 1.0 - confidence)
}

/// How many trials without any event show that events are rarer than `share`: 2,995 for 0.1 %, at a confidence of 95 %.
pub fn sufficient_trials(share: f64, confidence: f64) -> u64 {
    least((1.0 - confidence).ln() / (1.0 - share).ln())
}

/// The probability of at most `events` among `trials`, each with probability `share`.
pub fn cdf(events: u64, trials: u64, share: f64) -> f64 {
    if events >= trials {
        return 1.0;
    }
    let (events, trials) = (float(events), float(trials));
    incomplete_beta(1.0 - share, trials - events, events + 1.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of events are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The next whole number, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size of a sample; too large ones saturate, and nobody will draw them"
)]
pub(super) fn least(size: f64) -> u64 {
    (size - 1e-9).ceil().max(1.0) as u64
}

/// The place in 0..1 up to which the condition holds.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The regularised incomplete beta function, by its continued fraction (DLMF 8.17.22) with the algorithm of Lentz.
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    // The fraction converges quickly only on this side of the mean.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    let nonzero = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..100_000_u32 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for numerator in [even, odd] {
            d = 1.0 / nonzero(1.0 + numerator * d);
            c = nonzero(1.0 + numerator / c);
            fraction *= c * d;
        }
        if (fraction / before - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front.exp() * fraction / a
}

/// The logarithm of the gamma function, by Stirling's series (DLMF 5.11.1) after raising a small argument.
fn ln_gamma(x: f64) -> f64 {
    let mut x = x;
    let mut raised = 0.0;
    while x < 15.0 {
        raised += x.ln();
        x += 1.0;
    }
    let square = x * x;
    let series =
        (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square) / square) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - raised
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, expected: f64, what: &str) {
        assert!((got - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {got}, not {expected}");
    }

    #[test]
    fn bounds_and_probabilities_agree_with_scipy() {
        // scipy.stats: beta.ppf(c, k + 1, n - k), beta.ppf(1 - c, k, n - k + 1), binom.cdf(k, n, 0.3).
        for (k, n, confidence, upper, lower, probability) in REFERENCE {
            close(upper_bound(k, n, confidence), upper, "upper");
            close(lower_bound(k, n, confidence), lower, "lower");
            close(cdf(k, n, 0.3), probability, "cdf");
        }
        assert_eq!((upper_bound(0, 0, 0.95), upper_bound(5, 5, 0.95)), (1.0, 1.0));
    }

    #[test]
    fn the_numbers_of_trials_are_those_of_the_literature() {
        for (share, confidence, expected) in [(0.001, 0.95, 2995), (0.02, 0.95, 149), (0.5, 0.5, 1)] {
            let trials = sufficient_trials(share, confidence);
            assert_eq!(trials, expected);
            assert!(upper_bound(0, trials, confidence) <= share + 1e-12);
            assert!(trials == 1 || upper_bound(0, trials - 1, confidence) > share);
        }
    }

    const REFERENCE: [(u64, u64, f64, f64, f64, f64); 5] = include!("reference/binomial.in");
}
