//! All metrics of a process, or of a test.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use super::cell::{Counter, Gauge};
use super::desc::{Desc, Kind};
use super::family::{Collect, Family, Instrument};
use super::histogram::{Buckets, Histogram};
use super::labels::Labels;
use super::reading::{Reading, Series, Value};
use super::text::{Exposition, Page};
use crate::error::{Error, ErrorKind};

/// Knows all metrics and shows them. Clones are the same registry.
///
/// To register the same metric again (same name, help, unit, limit, labels and buckets) gives the same handle, so that
/// two routers may each ask for theirs. To give a name two meanings is an error.
#[derive(Clone, Default)]
pub struct Registry {
    metrics: Arc<RwLock<Vec<Entry>>>,
}

struct Entry {
    metric: Arc<dyn Collect>,
    family: Arc<dyn Any + Send + Sync>,
}

impl Registry {
    /// Makes an empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a counter without labels; it is on the page from now on.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidMetric`] where the description breaks a rule of [`Desc`] or the name means something else
    /// already.
    pub fn counter(&self, desc: Desc) -> Result<Counter, Error> {
        Ok(self.counter_family::<()>(desc)?.with(&()))
    }

    /// Registers a counter with labels; a series is on the page once it was asked for.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn counter_family<L: Labels>(&self, desc: Desc) -> Result<Family<L, Counter>, Error> {
        self.family(desc, ())
    }

    /// Registers a gauge without labels.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge(&self, desc: Desc) -> Result<Gauge, Error> {
        Ok(self.gauge_family::<()>(desc)?.with(&()))
    }

    /// Registers a gauge with labels.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn gauge_family<L: Labels>(&self, desc: Desc) -> Result<Family<L, Gauge>, Error> {
        self.family(desc, ())
    }

    /// Registers a histogram without labels.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn histogram(&self, desc: Desc, buckets: Buckets) -> Result<Histogram, Error> {
        Ok(self.histogram_family::<()>(desc, buckets)?.with(&()))
    }

    /// Registers a histogram with labels.
    ///
    /// # Errors
    /// As [`Registry::counter`].
    pub fn histogram_family<L: Labels>(
        &self,
        desc: Desc,
        buckets: Buckets,
    ) -> Result<Family<L, Histogram>, Error> {
        self.family(desc, buckets)
    }

    /// Registers a counter whose values are known elsewhere: `read` is called for each page.
    ///
    /// # Errors
    /// As [`Registry::counter`]; here a name can be registered once only.
    pub fn observe_counter(
        &self,
        desc: Desc,
        labels: &'static [&'static str],
        read: impl Fn(&mut Samples<'_>) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.observe(desc, Kind::Counter, labels, Box::new(read))
    }

    /// Registers a gauge whose values are known elsewhere: `read` is called for each page.
    ///
    /// # Errors
    /// As [`Registry::observe_counter`].
    pub fn observe_gauge(
        &self,
        desc: Desc,
        labels: &'static [&'static str],
        read: impl Fn(&mut Samples<'_>) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.observe(desc, Kind::Gauge, labels, Box::new(read))
    }

    /// Registers facts that do not change, as labels of a series that is always one; its name ends with `_info`.
    ///
    /// # Errors
    /// As [`Registry::observe_counter`].
    pub fn info(&self, desc: Desc, facts: &[(&'static str, String)]) -> Result<(), Error> {
        let names: Vec<&'static str> = facts.iter().map(|(name, _)| *name).collect();
        let values: Vec<String> = facts.iter().map(|(_, value)| value.clone()).collect();
        let read = move |samples: &mut Samples<'_>| {
            samples.add(&values.iter().map(String::as_str).collect::<Vec<_>>(), 1.0);
        };
        self.observe(desc, Kind::Info, &names, Box::new(read))
    }

    /// Writes the page, metrics by name.
    pub fn render(&self, exposition: Exposition) -> String {
        let mut page = Page::new(exposition);
        for metric in self.read() {
            page.metric(&metric);
        }
        page.finish()
    }

    /// Reads all metrics, by name.
    pub(crate) fn read(&self) -> Vec<Reading> {
        let mut metrics: Vec<Arc<dyn Collect>> = {
            let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
            metrics.iter().map(|entry| Arc::clone(&entry.metric)).collect()
        };
        metrics.sort_by_key(|metric| metric.desc().name);
        let mut readings: Vec<Reading> = metrics.iter().map(|metric| metric.read()).collect();
        let overflows = metrics.iter().map(|metric| (metric.desc().name, metric.overflows()));
        let series = overflows.filter(|(_, overflows)| *overflows > 0).map(|(name, overflows)| Series {
            labels: vec![("metric", name.to_owned())],
            value: Value::Count { total: overflows, exemplar: None },
        });
        readings.push(Reading { desc: overflow_desc(), kind: Kind::Counter, series: series.collect() });
        readings
    }

    fn family<L: Labels, M: Instrument>(&self, desc: Desc, config: M::Config) -> Result<Family<L, M>, Error> {
        desc.check(M::KIND, L::NAMES)?;
        if is_same_name(overflow_desc().name, desc.name) {
            return Err(taken(&desc));
        }
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = metrics.iter().find(|entry| is_same_name(entry.metric.desc().name, desc.name)) {
            let known = known.family.downcast_ref::<Family<L, M>>();
            return known.filter(|known| known.is_like(&desc, &config)).cloned().ok_or_else(|| taken(&desc));
        }
        let family = Family::new(desc, config);
        metrics.push(Entry { metric: Arc::new(family.clone()), family: Arc::new(family.clone()) });
        Ok(family)
    }

    fn observe(&self, desc: Desc, kind: Kind, labels: &[&'static str], read: Read) -> Result<(), Error> {
        desc.check(kind, labels)?;
        let mut metrics = self.metrics.write().unwrap_or_else(PoisonError::into_inner);
        if is_same_name(overflow_desc().name, desc.name)
            || metrics.iter().any(|entry| is_same_name(entry.metric.desc().name, desc.name))
        {
            return Err(taken(&desc));
        }
        let metric = Arc::new(Observed { desc, kind, labels: labels.into(), read });
        metrics.push(Entry { metric, family: Arc::new(()) });
        Ok(())
    }
}

/// Takes the values of a metric that is known elsewhere.
pub struct Samples<'a> {
    observed: &'a Observed,
    series: Vec<Series>,
}

impl Samples<'_> {
    /// Adds a series: one value for each label, in their order. A series that was added already, one whose values are
    /// not as many as the labels, and one above the limit of its description are left out.
    pub fn add(&mut self, values: &[&str], value: f64) {
        let Observed { desc, labels, .. } = self.observed;
        if values.len() != labels.len() || self.series.len() >= desc.limit {
            return;
        }
        let labels: Vec<_> =
            labels.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect();
        if self.series.iter().all(|known| known.labels != labels) {
            self.series.push(Series { labels, value: Value::Number(value) });
        }
    }
}

impl fmt::Debug for Samples<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Samples").field("desc", &self.observed.desc).finish_non_exhaustive()
    }
}

type Read = Box<dyn Fn(&mut Samples<'_>) + Send + Sync>;

struct Observed {
    desc: Desc,
    kind: Kind,
    labels: Box<[&'static str]>,
    read: Read,
}

impl Collect for Observed {
    fn desc(&self) -> &Desc {
        &self.desc
    }

    fn read(&self) -> Reading {
        let mut samples = Samples { observed: self, series: Vec::new() };
        (self.read)(&mut samples);
        Reading { desc: self.desc.clone(), kind: self.kind, series: samples.series }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metrics = self.metrics.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(metrics.iter().map(|entry| entry.metric.desc().name)).finish()
    }
}

/// OpenMetrics names a counter without its end, so `x` and `x_total` would be one.
fn is_same_name(one: &str, other: &str) -> bool {
    let base =
        |name: &'_ str| name.strip_suffix("_total").or(name.strip_suffix("_info")).unwrap_or(name).len();
    one[..base(one)] == other[..base(other)]
}

fn overflow_desc() -> Desc {
    Desc::new("telemetry_metric_overflows_total", "Look-ups of a series that its metric had no room for.")
}

fn taken(desc: &Desc) -> Error {
    Error::new(
        ErrorKind::InvalidMetric,
        format!(
            "metric {:?} is registered already, with another meaning or under a name too close",
            desc.name
        ),
    )
}
