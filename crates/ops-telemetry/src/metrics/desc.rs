//! What a metric is called and what its number means; names are checked here. Pure.

use crate::error::{Error, ErrorKind};

/// The most series of a metric that does not say otherwise, as in OpenTelemetry's SDKs.
const DEFAULT_LIMIT: usize = 2000;

/// The base units of Prometheus that have a place of their own here.
const BASE_UNITS: [&str; 3] = ["seconds", "bytes", "ratio"];

/// What stands at the end of a name where someone chose no base unit.
const OTHER_UNITS: [&str; 22] = [
    "ms",
    "us",
    "ns",
    "s",
    "sec",
    "msec",
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "kb",
    "mb",
    "gb",
    "kib",
    "mib",
    "gib",
    "kilobytes",
    "megabytes",
    "gigabytes",
    "percent",
];

/// The unit of a metric, which is the end of its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// A number of things; the name says which.
    #[default]
    Count,
    /// `_seconds`, also for short times: they may be fractions.
    Seconds,
    /// `_bytes`.
    Bytes,
    /// `_ratio`, from 0 to 1 and not to 100.
    Ratio,
    /// Another word, like `volts`.
    Other(&'static str),
}

/// Describes a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desc {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) unit: Unit,
    pub(super) limit: usize,
}

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
}

impl Desc {
    /// Names a metric. A counter's name ends with `_total`, all are snake case, and the unit stands before that end.
    pub fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, unit: Unit::Count, limit: DEFAULT_LIMIT }
    }

    /// Sets the unit.
    #[must_use]
    pub fn unit(self, unit: Unit) -> Self {
        Self { unit, ..self }
    }

    /// Sets how many series the metric may have; what comes after them is counted in one more.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    pub(super) fn check(&self, kind: Kind, labels: &[&str]) -> Result<(), Error> {
        let refuse =
            |why: &str| Err(Error::new(ErrorKind::InvalidMetric, format!("metric {:?} {why}", self.name)));
        if !is_snake_case(self.name) {
            return refuse("has a name that is not snake case: a-z, 0-9 and single underscores");
        }
        let base = match (kind, self.name.strip_suffix("_total"), self.name.strip_suffix("_info")) {
            (Kind::Counter, Some(base), _) | (Kind::Info, _, Some(base)) => base,
            (Kind::Counter, None, _) => return refuse("is a counter, so its name must end with _total"),
            (Kind::Info, _, None) => return refuse("is an information, so its name must end with _info"),
            _ => self.name,
        };
        let last = base.rsplit('_').next().unwrap_or(base);
        if ["total", "info", "count", "sum", "bucket", "created"].contains(&last) {
            return refuse("has a name with an end that belongs to another kind of metric");
        }
        if OTHER_UNITS.contains(&last) {
            return refuse("has a unit that is no base unit: use seconds, bytes or ratio");
        }
        match self.unit.word() {
            Some(unit) if unit != last || base == unit => {
                return refuse(&format!("has the unit {unit}, so its name must end with _{unit}"));
            }
            None if BASE_UNITS.contains(&last) => {
                return refuse(&format!("has a name with the unit {last} that its description lacks"));
            }
            _ => {}
        }
        if self.help.trim().is_empty() {
            return refuse("lacks a help text");
        }
        for (at, label) in labels.iter().enumerate() {
            let reserved =
                ["le", "quantile", "job", "instance", "trace_id", "span_id", super::text::OVERFLOW];
            if !is_snake_case(label) || reserved.contains(label) || labels[..at].contains(label) {
                return refuse(&format!(
                    "has a label {label:?} that is not snake case, reserved, or there twice"
                ));
            }
        }
        Ok(())
    }
}

impl Unit {
    pub(super) fn word(self) -> Option<&'static str> {
        match self {
            Self::Count => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Ratio => Some("ratio"),
            Self::Other(word) => Some(word),
        }
    }
}

fn is_snake_case(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('_')
        && !name.contains("__")
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_are() {
        use Kind::{Counter, Gauge, Histogram, Info};
        let check = |name: &'static str, kind: Kind, unit: Unit, is_valid: bool| {
            let found = Desc::new(name, "Help.").unit(unit).check(kind, &[]);
            assert_eq!(found.is_ok(), is_valid, "{name}: {found:?}");
        };
        check("orders_total", Counter, Unit::Count, true);
        check("cpu_seconds_total", Counter, Unit::Seconds, true);
        check("queue_depth", Gauge, Unit::Count, true);
        check("memory_bytes", Gauge, Unit::Bytes, true);
        check("cache_hit_ratio", Gauge, Unit::Ratio, true);
        check("mains_volts", Gauge, Unit::Other("volts"), true);
        check("build_info", Info, Unit::Count, true);
        check("http2_streams", Gauge, Unit::Count, true);

        check("orders", Counter, Unit::Count, false);
        check("orders_total", Gauge, Unit::Count, false);
        check("request_count", Gauge, Unit::Count, false);
        check("request_bucket", Histogram, Unit::Count, false);
        check("request_sum_total", Counter, Unit::Count, false);
        check("build", Info, Unit::Count, false);
        check("ordersTotal", Counter, Unit::Count, false);
        check("Orders_total", Counter, Unit::Count, false);
        check("2xx_total", Counter, Unit::Count, false);
        check("orders__new_total", Counter, Unit::Count, false);
        check("orders-new_total", Counter, Unit::Count, false);
        check("depth_", Gauge, Unit::Count, false);
        check("", Gauge, Unit::Count, false);
        check("request_ms", Histogram, Unit::Count, false);
        check("request_milliseconds", Histogram, Unit::Other("milliseconds"), false);
        check("used_percent", Gauge, Unit::Count, false);
        check("request_seconds", Histogram, Unit::Count, false);
        check("request_duration", Histogram, Unit::Seconds, false);
        check("seconds_total", Counter, Unit::Seconds, false);
    }

    #[test]
    fn labels_are_names_too_and_no_ids() {
        let check = |labels: &[&str], is_valid: bool| {
            let found = Desc::new("depth", "Help.").check(Kind::Gauge, labels);
            assert_eq!(found.is_ok(), is_valid, "{labels:?}");
        };
        check(&["queue", "http_route"], true);
        check(&["Queue"], false);
        check(&["__name"], false);
        check(&["le"], false);
        check(&["trace_id"], false);
        check(&["a", "a"], false);
        check(&["otel_metric_overflow"], false);
        assert!(Desc::new("depth", " ").check(Kind::Gauge, &[]).is_err(), "without a help text");
    }
}
