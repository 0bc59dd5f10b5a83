//! All series of one metric, bounded in number.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::desc::{Desc, Kind};
use super::labels::Labels;
use super::reading::{Reading, Series, Value};
use super::text;

/// What a family gives out: a [`Counter`](super::Counter), a [`Gauge`](super::Gauge) or a
/// [`Histogram`](super::Histogram).
#[expect(private_bounds, reason = "nobody else implements it")]
pub trait Instrument: Cell {}

/// How a series is made and shown.
pub(super) trait Cell: Clone + Send + Sync + 'static {
    type Config: Clone + PartialEq + Send + Sync + 'static;
    const KIND: Kind;

    fn create(config: &Self::Config) -> Self;
    fn read(&self) -> Value;
}

/// The series of a metric, each found by its labels. Clones are the same family.
pub struct Family<L, M: Instrument> {
    shared: Arc<Shared<L, M>>,
}

struct Shared<L, M: Instrument> {
    desc: Desc,
    config: M::Config,
    series: RwLock<HashMap<L, M>>,
    overflow: OnceLock<M>,
    overflows: AtomicU64,
}

/// What the registry keeps of a family.
pub(super) trait Collect: Send + Sync {
    fn desc(&self) -> &Desc;
    /// Reads all series, those of the same metric always in the same order.
    fn read(&self) -> Reading;
    /// How often the limit was hit.
    fn overflows(&self) -> u64 {
        0
    }
}

impl<L: Labels, M: Instrument> Family<L, M> {
    pub(super) fn new(desc: Desc, config: M::Config) -> Self {
        let shared = Shared {
            desc,
            config,
            series: RwLock::default(),
            overflow: OnceLock::new(),
            overflows: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the series of these labels; it is made where there is none. Costs a look-up, so keep what is used often.
    /// Where the metric has all the series that it may have, this is the one for the rest.
    pub fn with(&self, labels: &L) -> M {
        let shared = &*self.shared;
        let (found, is_full) = {
            let series = shared.series.read().unwrap_or_else(PoisonError::into_inner);
            (series.get(labels).cloned(), series.len() >= shared.desc.limit)
        };
        if let Some(found) = found {
            return found;
        }
        if !is_full {
            let mut series = shared.series.write().unwrap_or_else(PoisonError::into_inner);
            if series.len() < shared.desc.limit || series.contains_key(labels) {
                return series.entry(labels.clone()).or_insert_with(|| M::create(&shared.config)).clone();
            }
        }
        // No lock is held here: the line below may be counted itself.
        if shared.overflows.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                metric = shared.desc.name,
                limit = shared.desc.limit,
                "metric has too many series; the rest is counted together"
            );
        }
        shared.overflow.get_or_init(|| M::create(&shared.config)).clone()
    }

    pub(super) fn is_like(&self, desc: &Desc, config: &M::Config) -> bool {
        self.shared.desc == *desc && self.shared.config == *config
    }
}

impl<L: Labels, M: Instrument> Collect for Family<L, M> {
    fn desc(&self) -> &Desc {
        &self.shared.desc
    }

    fn read(&self) -> Reading {
        let Shared { desc, series, overflow, .. } = &*self.shared;
        let mut found: Vec<(L, M)> = {
            let series = series.read().unwrap_or_else(PoisonError::into_inner);
            series.iter().map(|(labels, cell)| (labels.clone(), cell.clone())).collect()
        };
        let read = |(labels, cell): (L, M)| Series { labels: text::labels(&labels), value: cell.read() };
        let mut series: Vec<Series> = found.drain(..).map(read).collect();
        series.sort_by(|one, other| one.labels.cmp(&other.labels));
        let rest = overflow.get();
        series.extend(
            rest.map(|cell| Series { labels: vec![(text::OVERFLOW, "true".into())], value: cell.read() }),
        );
        Reading { desc: desc.clone(), kind: M::KIND, series }
    }

    fn overflows(&self) -> u64 {
        self.shared.overflows.load(Ordering::Relaxed)
    }
}

impl<L, M: Instrument> Clone for Family<L, M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<L, M: Instrument> fmt::Debug for Family<L, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("desc", &self.shared.desc).finish_non_exhaustive()
    }
}
