//! The statistics that gates judge by. Pure: numbers in, numbers out, and a seed where chance is needed.
//!
//! A sample says little about what it was drawn from if it is small, so every function here that bounds something takes a
//! confidence, and every gate built on them has three answers: shown to be good, shown to be bad, and neither.
//!
//! - [`percentile`]: the nearest-rank percentile, its bounds by order statistics, and how many samples it takes.
//! - [`binomial`]: bounds of a rate from counts (Clopper and Pearson), and how many trials it takes.
//! - [`bootstrap`]: intervals by resampling (percentile and BCa, Efron 1987).
//! - [`rank`]: the Mann–Whitney test, exact also with ties; Cliff's delta; Holm's correction.
//! - [`compare`]: whether a candidate is not slower than its baseline by more than a margin.
//! - [`shift`]: how far the median of a series moved between two windows of time (circular blocks, 1992).
//!
//! The tests compare with values of SciPy, and the rates of [`compare`] are measured on seeded data.

pub mod binomial;
pub mod bootstrap;
pub mod compare;
mod normal;
pub mod percentile;
pub mod rank;
pub mod shift;
