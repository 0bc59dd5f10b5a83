//! Medians, and two contestants in turns: what disturbs the machine then disturbs both.

use std::time::Instant;

/// What a comparison in turns gives: seconds an operation, and the ratio.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    pub(crate) ours: f64,
    pub(crate) theirs: f64,
    /// The median of the ratios of neighbours, which is steadier than the ratio of the medians.
    pub(crate) ratio: f64,
}

/// The figure that stands at this share of a list, sorted; 0.5 is the median.
pub(crate) fn percentile(figures: &mut [f64], share: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().saturating_sub(1);
    figures.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

/// Seconds an operation, over a batch.
pub(crate) fn timed(operations: usize, work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64() / operations as f64
}

/// The pairs of one comparison as they come in.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    ours: Vec<f64>,
    theirs: Vec<f64>,
}

impl Pairs {
    /// Adds two neighbours.
    pub(crate) fn push(&mut self, ours: f64, theirs: f64) {
        self.ours.push(ours);
        self.theirs.push(theirs);
    }

    /// Sums them up.
    pub(crate) fn sum_up(mut self) -> Pair {
        let mut ratios: Vec<f64> =
            self.ours.iter().zip(&self.theirs).map(|(ours, theirs)| ours / theirs).collect();
        Pair {
            ours: percentile(&mut self.ours, 0.5),
            theirs: percentile(&mut self.theirs, 0.5),
            ratio: percentile(&mut ratios, 0.5),
        }
    }
}
