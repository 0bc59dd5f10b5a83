//! Percentiles by nearest rank, and what a sample says about the percentile of everything it was drawn from.

use super::binomial::{cdf, least};

/// The percentile of a sample by the nearest-rank method: the smallest value that at least the share `p` of all do not
/// exceed. No value is invented between two that were seen. None for an empty sample, or one with a NaN.
pub fn nearest_rank(sample: &[f64], p: f64) -> Option<f64> {
    let sorted = sorted(sample)?;
    let rank = least(p * float(sorted.len()));
    sorted.get(index(rank)).copied()
}

/// What the percentile `p` of everything is at least and at most, each with the confidence; by order statistics, for
/// any distribution. A bound is absent where the sample is too small for it. (David and Nagaraja, *Order Statistics*, 7.1.)
pub fn bounds(sample: &[f64], p: f64, confidence: f64) -> (Option<f64>, Option<f64>) {
    let Some(sorted) = sorted(sample) else { return (None, None) };
    let (lower, upper) = bound_ranks(sorted.len(), p, confidence);
    let at = |rank: Option<u64>| rank.and_then(|rank| sorted.get(index(rank)).copied());
    (at(lower), at(upper))
}

/// How many samples it takes until the largest of them bounds the percentile `p` from above: 59 for the 95th at a
/// confidence of 95 %, 299 for the 99th. With `exceeding` values allowed above the bound, more.
pub fn sufficient_samples(p: f64, confidence: f64, exceeding: u64) -> u64 {
    let enough = |n: u64| n > exceeding && cdf(n - 1 - exceeding, n, p) >= confidence;
    let mut high = least((1.0 - confidence).ln() / p.ln());
    while !enough(high) {
        high *= 2;
    }
    let mut low = 0;
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if enough(middle) { high = middle } else { low = middle }
    }
    high
}

/// The ranks, from 1, of the values that bound the percentile from below and from above.
fn bound_ranks(size: usize, p: f64, confidence: f64) -> (Option<u64>, Option<u64>) {
    let n = size as u64;
    // The value of rank r is at least the percentile with the probability that at most r - 1 values lie below it.
    let upper = first(n, |rank| cdf(rank - 1, n, p) >= confidence);
    // It is at most the percentile with the probability that at least r values lie at or below it.
    let lower = first(n, |rank| 1.0 - cdf(rank - 1, n, p) < confidence);
    let lower = lower.unwrap_or(n + 1) - 1;
    ((lower > 0).then_some(lower), upper)
}

/// The first rank from which the condition holds.
fn first(n: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (0, n + 1);
    while high - low > 1 {
        let middle = u64::midpoint(low, high);
        if holds(middle) { high = middle } else { low = middle }
    }
    (high <= n).then_some(high)
}

pub(super) fn sorted(sample: &[f64]) -> Option<Vec<f64>> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    (!sorted.is_empty() && !sorted.iter().any(|value| value.is_nan())).then_some(sorted)
}

fn float(count: usize) -> f64 {
    super::binomial::float(count as u64)
}

fn index(rank: u64) -> usize {
    usize::try_from(rank - 1).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(n: u32) -> Vec<f64> {
        (1..=n).rev().map(f64::from).collect()
    }

    #[test]
    fn the_nearest_rank_is_a_value_of_the_sample() {
        for (n, p, expected) in [
            (1, 0.95, 1.0),
            (10, 0.95, 10.0),
            (10, 0.5, 5.0),
            (100, 0.95, 95.0),
            (20, 0.95, 19.0),
            (3, 0.01, 1.0),
        ] {
            assert_eq!(nearest_rank(&up_to(n), p), Some(expected), "{p} of {n}");
        }
        assert_eq!(nearest_rank(&[], 0.5), None);
        assert_eq!(nearest_rank(&[1.0, f64::NAN], 0.5), None);
        assert_eq!(nearest_rank(&[1.0, f64::INFINITY], 0.95), Some(f64::INFINITY));
    }

    #[test]
    fn a_bound_exists_only_from_the_sufficient_size_on() {
        for (p, confidence, exceeding, expected) in [
            (0.95, 0.95, 0, 59),
            (0.99, 0.95, 0, 299),
            (0.95, 0.95, 1, 93),
            (0.5, 0.95, 0, 5),
            (0.95, 0.99, 0, 90),
        ] {
            let size = sufficient_samples(p, confidence, exceeding);
            assert_eq!(size, expected, "{p} {confidence} {exceeding}");
            if exceeding == 0 {
                let size = u32::try_from(size).expect("small");
                assert_eq!(bounds(&up_to(size), p, confidence).1, Some(f64::from(size)));
                assert_eq!(bounds(&up_to(size - 1), p, confidence).1, None);
            }
        }
    }

    #[test]
    fn the_bounds_of_the_median_are_those_of_the_sign_test() {
        // R's `binom.test`: at n = 10 the second and the ninth value bound the median with 98.9 % each.
        assert_eq!(bounds(&up_to(10), 0.5, 0.98), (Some(2.0), Some(9.0)));
        assert_eq!(bounds(&up_to(10), 0.5, 0.995), (Some(1.0), Some(10.0)));
        assert_eq!(bounds(&up_to(4), 0.5, 0.95), (None, None));
    }

    #[test]
    fn the_bounds_hold_as_often_as_they_say() {
        // The true 95th percentile of the uniform distribution is 0.95; 2,000 samples of 100, with a fixed seed.
        let mut random = super::super::bootstrap::Random::new(7);
        let mut missed = [0_u32; 2];
        for _ in 0..2000 {
            let sample: Vec<f64> = (0..100).map(|_| random.uniform()).collect();
            let (lower, upper) = bounds(&sample, 0.95, 0.95);
            missed[0] += u32::from(lower.expect("enough") > 0.95);
            missed[1] += u32::from(upper.expect("enough") < 0.95);
        }
        // At most 5 %, of which chance may make 127 of 2,000 with a probability below 1 in 200.
        assert!(missed.iter().all(|missed| *missed <= 127), "{missed:?}");
        assert!(missed.iter().all(|missed| *missed >= 10), "so wide that they say nothing: {missed:?}");
    }
}
