//! What a metric says at one moment, apart from how it is written down.

use super::desc::{Desc, Kind};
use super::exemplar::Exemplar;

/// A metric with all its series.
pub(crate) struct Reading {
    pub(crate) desc: Desc,
    pub(crate) kind: Kind,
    pub(crate) series: Vec<Series>,
}

/// One series: labels in the order of their names.
pub(crate) struct Series {
    pub(crate) labels: Vec<(&'static str, String)>,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Count { total: u64, exemplar: Option<Exemplar> },
    Number(f64),
    Histogram(Ranges),
}

/// How often a number fell into which range.
pub(crate) struct Ranges {
    /// The upper ends, without the infinite one.
    pub(crate) ends: std::sync::Arc<[f64]>,
    /// One more than there are ends, each for its own range alone.
    pub(crate) counts: Vec<u64>,
    pub(crate) sum: f64,
    /// As many as there are counts, or none.
    pub(crate) exemplars: Vec<Option<Exemplar>>,
}
