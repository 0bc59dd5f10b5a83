//! Tests by ranks, for times that are not normally distributed, as times never are.

use super::{binomial, normal};

/// Above so many values in all, the normal approximation is used instead of counting.
const EXACT: usize = 120;

/// What the test of Mann and Whitney says of two samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannWhitney {
    /// How many pairs have the larger value in the second sample; ties count half.
    pub u: f64,
    /// How likely such a `u` or a larger one is if both samples were drawn from the same.
    pub p_greater: f64,
    /// How likely such a `u`, or one as far off to the other side, is.
    pub p_two_sided: f64,
    /// Cliff's delta, the size of the effect: 1 where every value of the second sample is larger, -1 where every one
    /// is smaller, 0 where there is no difference.
    pub delta: f64,
}

/// Compares two samples. All ways to deal the ranks to both are counted, also where values are equal, up to 120 values in
/// all; above that, the normal approximation with its correction for ties. None where a sample is empty or has a NaN.
pub fn mann_whitney(first: &[f64], second: &[f64]) -> Option<MannWhitney> {
    let all: Vec<f64> = first.iter().chain(second).copied().collect();
    if first.is_empty() || second.is_empty() || all.iter().any(|value| value.is_nan()) {
        return None;
    }
    let (n, m) = (float(first.len()), float(second.len()));
    let ranks = doubled_ranks(&all);
    let sum: usize = ranks[first.len()..].iter().sum();
    let u = float(sum) / 2.0 - m * (m + 1.0) / 2.0;
    let (p_greater, p_less) =
        if all.len() <= EXACT { counted(&ranks, second.len(), sum) } else { approximated(&all, n, m, u) };
    let p_two_sided = (2.0 * p_greater.min(p_less)).min(1.0);
    Some(MannWhitney { u, p_greater, p_two_sided, delta: 2.0 * u / (n * m) - 1.0 })
}

/// Holm's correction: the probabilities that stand for themselves though several were tested at once, in the given order.
pub fn holm(probabilities: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..probabilities.len()).collect();
    order.sort_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]));
    let mut adjusted = vec![1.0; probabilities.len()];
    let mut largest: f64 = 0.0;
    for (position, index) in order.into_iter().enumerate() {
        let weight = float(probabilities.len() - position);
        largest = largest.max((probabilities[index] * weight).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

/// Twice the rank of each value, so that the middle rank of equal ones is whole.
fn doubled_ranks(values: &[f64]) -> Vec<usize> {
    let below = |value: f64| values.iter().filter(|other| **other < value).count();
    let upto = |value: f64| values.iter().filter(|other| **other <= value).count();
    values.iter().map(|value| below(*value) + upto(*value) + 1).collect()
}

/// The shares of all choices of `size` ranks whose sum is at least, and at most, the given one.
fn counted(ranks: &[usize], size: usize, sum: usize) -> (f64, f64) {
    let most: usize = ranks.iter().sum();
    // ways[k][s]: the weight of choosing k ranks with the sum s. Each rank is dealt with the odds that keep the whole at 1.
    let mut ways = vec![vec![0.0_f64; most + 1]; size + 1];
    ways[0][0] = 1.0;
    for (dealt, rank) in ranks.iter().enumerate() {
        for k in (0..size.min(dealt + 1)).rev() {
            let (lower, upper) = ways.split_at_mut(k + 1);
            for s in 0..=most - rank {
                upper[0][s + rank] += lower[k][s];
            }
        }
    }
    let total: f64 = ways[size].iter().sum();
    let at_least: f64 = ways[size][sum..].iter().sum();
    let at_most: f64 = ways[size][..=sum].iter().sum();
    (at_least / total, at_most / total)
}

fn approximated(all: &[f64], n: f64, m: f64, u: f64) -> (f64, f64) {
    let total = n + m;
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 =
        sorted.chunk_by(|a, b| a == b).map(|tie| float(tie.len()).powi(3) - float(tie.len())).sum();
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    if variance <= 0.0 {
        return (1.0, 1.0);
    }
    let mean = n * m / 2.0;
    let tail = |distance: f64| normal::cdf(-(distance - 0.5) / variance.sqrt());
    (tail(u - mean), tail(mean - u))
}

fn float(count: usize) -> f64 {
    binomial::float(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_agrees_with_scipy() {
        // scipy.stats.mannwhitneyu(second, first): exact, by all permutations where values are equal, asymptotic.
        for (first, second, u, greater, two_sided) in &REFERENCE {
            let got = mann_whitney(first, second).expect("two samples");
            assert_eq!(got.u.to_bits(), f64::to_bits(*u), "{first:?} {second:?}");
            assert!((got.p_greater - greater).abs() < 1e-9, "{got:?}, not {greater}");
            assert!((got.p_two_sided - two_sided).abs() < 1e-9, "{got:?}, not {two_sided}");
        }
        let many = |step: u32| -> Vec<f64> { (0..80).map(|i| f64::from((i * step) % 17)).collect() };
        let got = mann_whitney(&many(3), &many(5)).expect("two samples");
        let (u, greater, two_sided) = LARGE;
        assert_eq!(got.u.to_bits(), f64::to_bits(u));
        assert!(
            (got.p_greater - greater).abs() < 1e-9 && (got.p_two_sided - two_sided).abs() < 1e-9,
            "{got:?}"
        );
    }

    type Row = (&'static [f64], &'static [f64], f64, f64, f64);
    const REFERENCE: [Row; 5] = include!("reference/mann_whitney.in");
    const LARGE: (f64, f64, f64) = include!("reference/mann_whitney_large.in");

    #[test]
    fn three_against_three_cannot_show_anything_at_five_per_cent() {
        for (n, smallest) in [(3, 0.1), (4, 0.028_571_428_571_428_57), (5, 0.007_936_507_936_507_936)] {
            let first: Vec<f64> = (0..n).map(f64::from).collect();
            let second: Vec<f64> = first.iter().map(|value| value + 100.0).collect();
            let got = mann_whitney(&first, &second).expect("two samples");
            assert!((got.p_two_sided - smallest).abs() < 1e-12 && (got.delta - 1.0).abs() < 1e-12, "{got:?}");
        }
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[1.0; 3], &[1.0; 3]).map(|it| (it.p_greater, it.delta)), Some((1.0, 0.0)));
    }

    #[test]
    fn holm_corrects_in_order() {
        // The example of statsmodels.stats.multitest.multipletests(…, method = "holm").
        for (given, expected) in [
            (&[0.01, 0.04, 0.03, 0.005][..], &[0.03, 0.06, 0.06, 0.02][..]),
            (&[0.9, 0.8], &[1.0, 1.0]),
            (&[0.2], &[0.2]),
            (&[], &[]),
        ] {
            let got = holm(given);
            assert_eq!(got.len(), expected.len());
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?}");
        }
    }
}
