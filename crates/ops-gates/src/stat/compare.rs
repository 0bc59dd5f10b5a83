//! Whether a candidate is not slower than its baseline by more than a margin.
//!
//! "No significant difference" is what a small sample always finds; here a pass has to be shown. Baseline and candidate
//! are measured in turn, so that what slows the machine slows both, and each pair gives one ratio. The median of the
//! ratios is bounded twice: by order statistics, which hold for any distribution and any number of pairs, and by a BCa
//! bootstrap of the ratio of both medians. The verdict stands only where both agree, so that it is wrong at most as often
//! as the first one. Whoever looks several times while pairs come in divides the allowed rate of errors by the number of looks.

use super::bootstrap::{Method, Resampling, interval};
use super::percentile::{self, nearest_rank};

/// What the pairs show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The slowdown is below the margin.
    NotSlower,
    /// The slowdown is above the margin.
    Slower,
    /// Neither is shown.
    Undecided,
}

/// A comparison of pairs.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    /// What the pairs show.
    pub verdict: Verdict,
    /// The median of the ratios of candidate to baseline, less one: 0.1 is a tenth slower.
    pub slowdown: f64,
    /// What the slowdown is at least and at most, each with the allowed rate of errors; absent with too few pairs.
    pub bounds: (Option<f64>, Option<f64>),
}

/// What to judge by.
#[derive(Debug, Clone, Copy)]
pub struct Margin {
    /// The slowdown that is tolerated: 0.1 for a tenth.
    pub slowdown: f64,
    /// How often a verdict may be wrong when the true slowdown equals the margin, in all looks together.
    pub error_rate: f64,
    /// How many times the growing pairs are judged.
    pub looks: u32,
}

/// Judges pairs of baseline and candidate, each a positive time. None without pairs, or where a value is none.
pub fn compare(pairs: &[(f64, f64)], margin: Margin, seed: u64) -> Option<Comparison> {
    let sound = |value: f64| value.is_finite() && value > 0.0;
    if pairs.is_empty() || !pairs.iter().all(|(baseline, candidate)| sound(*baseline) && sound(*candidate)) {
        return None;
    }
    let ratios: Vec<f64> = pairs.iter().map(|(baseline, candidate)| candidate / baseline).collect();
    let tail = margin.error_rate / f64::from(margin.looks.max(1));
    let (lower, upper) = percentile::bounds(&ratios, 0.5, 1.0 - tail);
    let resampling = Resampling { seed, ..Resampling::default() };
    let resampled = interval(pairs, ratio_of_medians, Method::Bca, 1.0 - 2.0 * tail, resampling)?;
    let lower = lower.map(|bound| bound.min(resampled.0) - 1.0);
    let upper = upper.map(|bound| bound.max(resampled.1) - 1.0);
    let verdict = if upper.is_some_and(|upper| upper < margin.slowdown) {
        Verdict::NotSlower
    } else if lower.is_some_and(|lower| lower > margin.slowdown) {
        Verdict::Slower
    } else {
        Verdict::Undecided
    };
    Some(Comparison { verdict, slowdown: nearest_rank(&ratios, 0.5)? - 1.0, bounds: (lower, upper) })
}

/// The numbers of pairs at which to judge: the first, and twice as many each time, up to the last.
pub fn looks(first: usize, last: usize) -> Vec<usize> {
    let doubled = std::iter::successors(Some(first.max(1)), |size| size.checked_mul(2));
    let mut sizes: Vec<usize> = doubled.take_while(|size| *size < last).collect();
    sizes.push(last);
    sizes
}

/// The fewest pairs with which anything can be shown.
pub fn fewest_pairs(error_rate: f64, looks: u32) -> u64 {
    percentile::sufficient_samples(0.5, 1.0 - error_rate / f64::from(looks.max(1)), 0)
}

fn ratio_of_medians(pairs: &[(f64, f64)]) -> f64 {
    let mut baseline: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    let mut candidate: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    median(&mut candidate) / median(&mut baseline)
}

/// The median, between the two middle ones where there are two.
pub(super) fn median(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    let odd = values.len() % 2 == 1;
    let (below, upper, _) = values.select_nth_unstable_by(middle, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp);
    if odd { *upper } else { f64::midpoint(lower.unwrap_or(*upper), *upper) }
}

#[cfg(test)]
mod tests {
    use super::super::binomial;
    use super::super::bootstrap::Random;
    use super::*;

    const MARGIN: Margin = Margin { slowdown: 0.1, error_rate: 0.05, looks: 3 };

    /// A pair: noise that both share, noise of each, and now and then a disturbance as machines have them.
    fn pair(random: &mut Random, slowdown: f64, noise: f64) -> (f64, f64) {
        let shared = (0.2 * random.normal()).exp();
        let one = |random: &mut Random| {
            let disturbed = if random.uniform() < 0.05 { 1.5 } else { 1.0 };
            shared * disturbed * (noise * random.normal()).exp()
        };
        (one(random), one(random) * (1.0 + slowdown))
    }

    /// A gate from its first look to its last.
    fn gate(random: &mut Random, slowdown: f64, noise: f64) -> Verdict {
        let mut pairs = Vec::new();
        for size in looks(10, 40) {
            pairs.resize_with(size, || pair(random, slowdown, noise));
            let verdict = compare(&pairs, MARGIN, random.bits()).expect("sound pairs").verdict;
            if verdict != Verdict::Undecided {
                return verdict;
            }
        }
        Verdict::Undecided
    }

    #[test]
    fn false_alarms_and_misses_stay_within_the_stated_rate() {
        const GATES: u64 = 300;
        let mut random = Random::new(2026);
        let mut measured = Vec::new();
        for (slowdown, noise) in [(0.1, 0.05), (0.1, 0.2), (0.0, 0.05), (0.3, 0.05)] {
            let mut counts = [0_u64; 3];
            for _ in 0..GATES {
                counts[gate(&mut random, slowdown, noise) as usize] += 1;
            }
            measured.push((slowdown, noise, counts));
        }
        println!("true slowdown, noise, [not slower, slower, undecided] of {GATES}: {measured:?}");
        for (slowdown, noise, [not_slower, slower, undecided]) in measured {
            // What is wrong: a pass at or above the margin, a fail at or below it.
            let misses = if slowdown >= MARGIN.slowdown { not_slower } else { 0 };
            let alarms = if slowdown <= MARGIN.slowdown { slower } else { 0 };
            for (name, wrong) in [("misses", misses), ("false alarms", alarms)] {
                let rate = binomial::lower_bound(wrong, GATES, 0.999);
                assert!(rate <= MARGIN.error_rate, "{name} at {slowdown}, {noise}: {wrong} of {GATES}");
            }
            // And it says something: far from the margin, nearly always the right thing.
            if (slowdown - MARGIN.slowdown).abs() > 0.05 {
                assert!(undecided <= GATES / 4, "{slowdown}, {noise}: {undecided} undecided");
            }
        }
    }

    #[test]
    fn too_few_pairs_show_nothing_and_rubbish_is_refused() {
        let fewest = usize::try_from(fewest_pairs(0.05, 3)).expect("small");
        assert_eq!(fewest, 6);
        let pairs = vec![(1.0, 1.0); fewest];
        assert_eq!(compare(&pairs, MARGIN, 1).map(|it| it.verdict), Some(Verdict::NotSlower));
        assert_eq!(compare(&pairs[1..], MARGIN, 1).map(|it| it.verdict), Some(Verdict::Undecided));
        let slower = vec![(1.0, 2.0); fewest];
        assert_eq!(compare(&slower, MARGIN, 1).map(|it| it.verdict), Some(Verdict::Slower));
        for bad in [vec![], vec![(0.0, 1.0)], vec![(1.0, f64::NAN)], vec![(f64::INFINITY, 1.0)]] {
            assert!(compare(&bad, MARGIN, 1).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn the_looks_double_up_to_the_last() {
        assert_eq!(looks(10, 40), [10, 20, 40]);
        assert_eq!(looks(10, 25), [10, 20, 25]);
        assert_eq!(looks(10, 10), [10]);
        assert_eq!(looks(20, 10), [10]);
    }

    #[test]
    fn the_median_lies_between_the_middle_ones() {
        for (mut values, expected) in [
            (vec![3.0, 1.0, 2.0], 2.0),
            (vec![4.0, 1.0, 2.0, 3.0], 2.5),
            (vec![7.0], 7.0),
            (vec![2.0, 1.0], 1.5),
        ] {
            assert!((median(&mut values) - expected).abs() < 1e-12);
        }
    }
}
