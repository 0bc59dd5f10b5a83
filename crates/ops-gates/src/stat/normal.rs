//! The standard normal distribution.

use std::f64::consts::PI;

/// The probability of a value up to `z`.
pub(super) fn cdf(z: f64) -> f64 {
    if z.abs() > 5.0 {
        let tail = upper_tail(z.abs());
        return if z > 0.0 { 1.0 - tail } else { tail };
    }
    // The series of Marsaglia, "Evaluating the Normal Distribution" (2004).
    let (mut term, mut sum, mut odd) = (z, z, 1.0);
    while (term / sum).abs() > 1e-17 {
        odd += 2.0;
        term *= z * z / odd;
        sum += term;
    }
    0.5 + sum * density(z)
}

/// The value up to which the probability is `p`.
pub(super) fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if cdf(middle) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

fn density(z: f64) -> f64 {
    (-z * z / 2.0).exp() / (2.0 * PI).sqrt()
}

/// Laplace's continued fraction, from the far end.
fn upper_tail(z: f64) -> f64 {
    let fraction = (1..60).rev().fold(z, |below, k| z + f64::from(k) / below);
    density(z) / fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_agrees_with_scipy() {
        // scipy.stats.norm.cdf, SciPy 1.17.
        for (z, expected) in [
            (0.0, 0.5),
            (1.0, 0.841_344_746_068_542_9),
            (-1.959_963_984_540_054, 0.025),
            (3.5, 0.999_767_370_920_964_5),
            (-6.0, 9.865_876_450_376_946e-10),
            (-10.0, 7.619_853_024_160_527e-24),
        ] {
            let got = cdf(z);
            assert!((got / expected - 1.0).abs() < 1e-9, "{z}: {got}");
            if z > -6.0 {
                assert!((quantile(expected) - z).abs() < 1e-9, "{z}");
            }
        }
    }
}
