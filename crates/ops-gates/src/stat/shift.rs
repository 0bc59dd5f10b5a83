//! How far the median of a series moved between two windows of time.
//!
//! The values of a series are not drawn independently: a busy minute follows a busy minute. So whole blocks of neighbours
//! are resampled, circularly (Politis and Romano, *A circular block-resampling procedure for stationary data*, 1992), in
//! either window by itself. The windows lie one after the other: what else differs between them is in the result.

use super::binomial;
use super::bootstrap::{Random, at};
use super::compare::median;

/// What is resampled, and how often a bound may be wrong.
#[derive(Debug, Clone, Copy)]
pub struct Bounding {
    /// How often the shift may be below its lower bound.
    pub lower_tail: f64,
    /// How often the shift may be above its upper bound.
    pub upper_tail: f64,
    /// How many samples are drawn.
    pub times: u32,
    /// The same seed gives the same bounds, so that a verdict can be checked.
    pub seed: u64,
}

/// The figure of two medians, and its bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Both medians: of the window before, and of the one after.
    pub medians: (f64, f64),
    /// The figure.
    pub shift: f64,
    /// What it is at least and at most.
    pub bounds: (f64, f64),
}

/// Bounds a figure of the medians of two windows, each in the order of time. None where a window is empty, or where the
/// figure is no number, as a ratio to a median of zero.
pub fn bound(
    before: &[f64],
    after: &[f64],
    figure: impl Fn(f64, f64) -> f64,
    bounding: Bounding,
) -> Option<Shift> {
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let medians = (median(&mut before.to_vec()), median(&mut after.to_vec()));
    let shift = figure(medians.0, medians.1);
    let mut random = Random::new(bounding.seed);
    let mut drawn = Vec::new();
    let mut figures: Vec<f64> = (0..bounding.times.max(1))
        .map(|_| {
            draw(before, &mut random, &mut drawn);
            let first = median(&mut drawn);
            draw(after, &mut random, &mut drawn);
            figure(first, median(&mut drawn))
        })
        .collect();
    if !shift.is_finite() || figures.iter().any(|figure| !figure.is_finite()) {
        return None;
    }
    figures.sort_by(f64::total_cmp);
    let bounds = (at(&figures, bounding.lower_tail), at(&figures, 1.0 - bounding.upper_tail));
    Some(Shift { medians, shift, bounds })
}

/// How many neighbours are drawn together: the square root of all, rounded up.
fn block(size: usize) -> usize {
    let mut block = 1;
    while block * block < size {
        block += 1;
    }
    block
}

fn draw(series: &[f64], random: &mut Random, drawn: &mut Vec<f64>) {
    drawn.clear();
    let block = block(series.len());
    while drawn.len() < series.len() {
        let start = random.below(series.len());
        let wanted = block.min(series.len() - drawn.len());
        drawn.extend((0..wanted).map(|offset| series[(start + offset) % series.len()]));
    }
}

/// The fewest values of a window with which blocks can vary.
pub const FEWEST: u64 = 20;

/// A share as it is written: 0.05 for 5 %.
pub fn share(percent: f64, among: usize) -> f64 {
    percent / 100.0 / binomial::float(among.max(1) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDING: Bounding = Bounding { lower_tail: 0.05, upper_tail: 0.05, times: 400, seed: 1 };

    fn worse(before: f64, after: f64) -> f64 {
        after / before - 1.0
    }

    /// A series in which every value remembers the one before.
    fn series(random: &mut Random, size: usize, memory: f64, level: f64) -> Vec<f64> {
        let mut state = random.normal();
        (0..size)
            .map(|_| {
                state = memory * state + (1.0 - memory * memory).sqrt() * random.normal();
                level * (0.1 * state).exp()
            })
            .collect()
    }

    #[test]
    fn the_bounds_are_wrong_about_as_often_as_stated_also_with_memory() {
        const WINDOWS: u64 = 400;
        for (memory, most) in [(0.0, 0.1), (0.5, 0.12)] {
            let mut random = Random::new(7);
            let (mut below, mut above) = (0, 0);
            for _ in 0..WINDOWS {
                let before = series(&mut random, 60, memory, 1.0);
                let after = series(&mut random, 60, memory, 1.2);
                let bounding = Bounding { seed: random.bits(), ..BOUNDING };
                let shift = bound(&before, &after, worse, bounding).expect("sound series");
                below += u64::from(shift.bounds.1 < 0.2);
                above += u64::from(shift.bounds.0 > 0.2);
            }
            println!("memory {memory}: upper bound too low {below}, lower too high {above} of {WINDOWS}");
            for wrong in [below, above] {
                let rate = binomial::lower_bound(wrong, WINDOWS, 0.999);
                assert!(rate <= most, "memory {memory}: {wrong} of {WINDOWS}");
            }
        }
    }

    #[test]
    fn a_figure_that_is_no_number_shows_nothing() {
        assert_eq!(bound(&[], &[1.0], worse, BOUNDING), None);
        assert_eq!(bound(&[1.0], &[], worse, BOUNDING), None);
        assert_eq!(bound(&[0.0; 30], &[1.0; 30], worse, BOUNDING), None);
        let same = bound(&[2.0; 30], &[3.0; 30], worse, BOUNDING).expect("sound series");
        assert_eq!((same.medians, same.shift, same.bounds), ((2.0, 3.0), 0.5, (0.5, 0.5)));
    }

    #[test]
    fn a_block_is_the_root_rounded_up() {
        for (size, expected) in [(1, 1), (20, 5), (25, 5), (60, 8), (61, 8), (64, 8), (65, 9)] {
            assert_eq!(block(size), expected, "{size}");
        }
    }
}
