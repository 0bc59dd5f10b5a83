//! Intervals by resampling: how much a figure would vary if the sample had been drawn again.

use super::{binomial, normal};

/// How an interval is read from the resampled figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Their percentiles.
    Percentile,
    /// Their percentiles, corrected for bias and skewness (Efron, *Better Bootstrap Confidence Intervals*, 1987).
    Bca,
}

/// How often to resample, and where chance begins.
#[derive(Debug, Clone, Copy)]
pub struct Resampling {
    /// How many samples are drawn.
    pub times: u32,
    /// The same seed gives the same interval, so that a verdict can be checked.
    pub seed: u64,
}

impl Default for Resampling {
    fn default() -> Self {
        Self { times: 2000, seed: 0x6f70_732d_6761_7465 }
    }
}

/// The interval that holds the figure with the confidence, half of the rest on each side. None where the sample is empty or
/// a figure is no number.
pub fn interval<T: Copy>(
    sample: &[T],
    figure: impl Fn(&[T]) -> f64,
    method: Method,
    confidence: f64,
    resampling: Resampling,
) -> Option<(f64, f64)> {
    if sample.is_empty() {
        return None;
    }
    let mut random = Random::new(resampling.seed);
    let mut drawn = sample.to_vec();
    let mut figures: Vec<f64> = (0..resampling.times.max(1))
        .map(|_| {
            drawn.fill_with(|| sample[random.below(sample.len())]);
            figure(&drawn)
        })
        .collect();
    if figures.iter().any(|figure| figure.is_nan()) {
        return None;
    }
    figures.sort_by(f64::total_cmp);
    let tail = (1.0 - confidence) / 2.0;
    let (low, high) = match method {
        Method::Percentile => (tail, 1.0 - tail),
        Method::Bca => corrected(sample, &figure, &figures, tail)?,
    };
    Some((at(&figures, low), at(&figures, high)))
}

/// The percentiles that BCa reads instead of the given ones.
fn corrected<T: Copy>(
    sample: &[T],
    figure: &impl Fn(&[T]) -> f64,
    figures: &[f64],
    tail: f64,
) -> Option<(f64, f64)> {
    let seen = figure(sample);
    let count = |holds: &dyn Fn(f64) -> bool| float(figures.iter().filter(|figure| holds(**figure)).count());
    // Figures that equal the one that was seen count half, as in SciPy.
    let below = count(&|figure| figure < seen) + 0.5 * count(&|figure| (figure - seen).abs() == 0.0);
    let share = below / float(figures.len());
    if share <= 0.0 || share >= 1.0 {
        // All lie on one side: there is nothing to correct by, and the whole range is the honest answer.
        return Some((0.0, 1.0));
    }
    let bias = normal::quantile(share);
    let without = |skipped: usize| -> Vec<T> {
        sample.iter().enumerate().filter(|(index, _)| *index != skipped).map(|(_, value)| *value).collect()
    };
    let left_out: Vec<f64> = (0..sample.len()).map(|index| figure(&without(index))).collect();
    if left_out.iter().any(|figure| figure.is_nan()) {
        return None;
    }
    let mean = left_out.iter().sum::<f64>() / float(left_out.len());
    let cubes: f64 = left_out.iter().map(|figure| (mean - figure).powi(3)).sum();
    let squares: f64 = left_out.iter().map(|figure| (mean - figure).powi(2)).sum();
    let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
    let place = |p: f64| {
        let z = bias + normal::quantile(p);
        normal::cdf(bias + z / (1.0 - acceleration * z))
    };
    Some((place(tail), place(1.0 - tail)))
}

/// The value at a place of a sorted list, between two neighbours in proportion.
pub(super) fn at(sorted: &[f64], place: f64) -> f64 {
    let position = place.clamp(0.0, 1.0) * float(sorted.len() - 1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a position within the list")]
    let index = position as usize;
    let next = sorted[(index + 1).min(sorted.len() - 1)];
    let part = position - float(index);
    if part > 0.0 { sorted[index] + part * (next - sorted[index]) } else { sorted[index] }
}

fn float(count: usize) -> f64 {
    binomial::float(count as u64)
}

/// A small generator (SplitMix64, Steele and others 2014): the same numbers for the same seed, on every machine.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to, and without, 1.
    pub fn uniform(&mut self) -> f64 {
        binomial::float(self.bits() >> 11) / binomial::float(1 << 53)
    }

    /// An index below `size`, each as likely as the other to within 2^-32 for all sizes of samples there are.
    pub fn below(&mut self, size: usize) -> usize {
        let product = u128::from(self.bits()) * (size as u128);
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// A number of the standard normal distribution (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: [f64; 12] = [1.2, 0.9, 1.1, 1.5, 4.2, 0.8, 1.0, 1.3, 2.1, 0.95, 1.05, 1.6];

    fn mean(sample: &[f64]) -> f64 {
        sample.iter().sum::<f64>() / float(sample.len())
    }

    #[test]
    fn the_intervals_agree_with_scipy() {
        // scipy.stats.bootstrap of the mean, 200,000 resamples; 0.01 is more than what chance leaves to both.
        for (method, low, high) in REFERENCE {
            let resampling = Resampling { times: 100_000, seed: 1 };
            let got = interval(&SAMPLE, mean, method, 0.95, resampling).expect("an interval");
            assert!((got.0 - low).abs() < 0.01 && (got.1 - high).abs() < 0.02, "{method:?}: {got:?}");
        }
    }

    const REFERENCE: [(Method, f64, f64); 2] = include!("reference/bootstrap.in");

    #[test]
    fn the_same_seed_gives_the_same_and_nothing_gives_nothing() {
        let of = |seed| interval(&SAMPLE, mean, Method::Bca, 0.9, Resampling { times: 500, seed });
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        let none: [f64; 0] = [];
        assert_eq!(interval(&none, mean, Method::Bca, 0.9, Resampling::default()), None);
        assert_eq!(interval(&[f64::NAN], mean, Method::Percentile, 0.9, Resampling::default()), None);
        assert_eq!(interval(&[2.0; 5], mean, Method::Bca, 0.9, Resampling::default()), Some((2.0, 2.0)));
    }
}
