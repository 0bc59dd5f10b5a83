//! The page of all metrics: Prometheus text format 0.0.4 and OpenMetrics 1.0. Pure.

use std::fmt::Write as _;
use std::time::SystemTime;

use super::desc::{Desc, Kind};
use super::exemplar::Exemplar;
use super::labels::Labels;
use super::reading::{Reading, Value};

/// The label of the series that counts what a metric had no room for, as OpenTelemetry names it.
pub(super) const OVERFLOW: &str = "otel_metric_overflow";

/// How a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus text format 0.0.4, which every tool reads. It has no exemplars.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0, with units and exemplars.
    OpenMetrics,
}

impl Exposition {
    /// Chooses by an HTTP `Accept` header (RFC 9110, section 12.5.1): OpenMetrics where it is asked for by name and not
    /// less wanted than plain text, else the text format, which is right for a browser too.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let quality = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_wanted = parts.next()?.eq_ignore_ascii_case(wanted);
                let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
                let find =
                    |name: &str| parameters.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
                let version = find("version").map_or("1.0.0", |(_, value)| value.trim());
                let is_known = wanted == "text/plain" || version.starts_with("1.");
                let quality = find("q").map_or(Some(1.0), |(_, value)| value.trim().parse::<f64>().ok());
                (is_wanted && is_known).then_some(quality.unwrap_or(0.0))
            });
            ranges.fold(0.0, f64::max)
        };
        let open_metrics = quality("application/openmetrics-text");
        if open_metrics > 0.0 && open_metrics >= quality("text/plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Returns the value of the `Content-Type` header.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page that is being written.
pub(super) struct Page {
    out: String,
    exposition: Exposition,
}

impl Page {
    pub(super) fn new(exposition: Exposition) -> Self {
        Self { out: String::new(), exposition }
    }

    /// Writes a metric; one without a series is not there.
    pub(super) fn metric(&mut self, Reading { desc, kind, series }: &Reading) {
        if series.is_empty() {
            return;
        }
        self.head(desc, *kind);
        for one in series {
            let labels = pairs(one.labels.iter().map(|(name, value)| (*name, value.as_str())));
            match &one.value {
                Value::Count { total, exemplar } => self.counter(desc.name, &labels, *total, *exemplar),
                Value::Number(value) => self.sample(desc.name, &labels, *value),
                Value::Histogram(ranges) => {
                    let ends = ranges.ends.iter().copied().chain([f64::INFINITY]);
                    // The total is the sum of the ranges, so that a page is consistent in itself.
                    let mut total = 0;
                    for (at, (end, count)) in ends.zip(&ranges.counts).enumerate() {
                        total += count;
                        let exemplar = ranges.exemplars.get(at).copied().flatten();
                        self.bucket(desc.name, &labels, end, total, exemplar);
                    }
                    self.sample(&format!("{}_sum", desc.name), &labels, ranges.sum);
                    self.counter(&format!("{}_count", desc.name), &labels, total, None);
                }
            }
        }
    }

    fn head(&mut self, desc: &Desc, kind: Kind) {
        let is_open = self.exposition == Exposition::OpenMetrics;
        let name = match kind {
            Kind::Counter if is_open => desc.name.strip_suffix("_total").unwrap_or(desc.name),
            Kind::Info if is_open => desc.name.strip_suffix("_info").unwrap_or(desc.name),
            _ => desc.name,
        };
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Info if is_open => "info",
            Kind::Gauge | Kind::Info => "gauge",
        };
        let help = escape(desc.help, is_open);
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        if let Some(unit) = desc.unit.word().filter(|_| is_open) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let value = number(value);
        self.line(format_args!("{}{} {value}", name, braced(labels)));
    }

    fn counter(&mut self, name: &str, labels: &str, value: u64, exemplar: Option<Exemplar>) {
        let exemplar = self.exemplar(exemplar);
        self.line(format_args!("{}{} {value}{exemplar}", name, braced(labels)));
    }

    fn bucket(&mut self, name: &str, labels: &str, end: f64, count: u64, exemplar: Option<Exemplar>) {
        let exemplar = self.exemplar(exemplar);
        let comma = if labels.is_empty() { "" } else { "," };
        let end = number(end);
        self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{end}\"}} {count}{exemplar}"));
    }

    pub(super) fn finish(mut self) -> String {
        if self.exposition == Exposition::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn exemplar(&self, exemplar: Option<Exemplar>) -> String {
        let Some(Exemplar { context, value, time }) =
            exemplar.filter(|_| self.exposition == Exposition::OpenMetrics)
        else {
            return String::new();
        };
        let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        format!(
            " # {{trace_id=\"{}\",span_id=\"{}\"}} {} {}.{:03}",
            context.trace_id,
            context.span_id,
            number(value),
            time.as_secs(),
            time.subsec_millis()
        )
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{text}").expect("writing to memory cannot fail");
    }
}

/// The labels of a series with their names.
pub(super) fn labels<L: Labels>(labels: &L) -> Vec<(&'static str, String)> {
    let mut names = L::NAMES.iter();
    let mut found = Vec::new();
    labels.values(&mut |value| found.extend(names.next().map(|name| (*name, value.to_string()))));
    found
}

/// The labels of a series as they stand between braces.
fn pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        let comma = if out.is_empty() { "" } else { "," };
        write!(out, "{comma}{name}=\"{}\"", escape(value, true)).expect("writing to memory cannot fail");
    }
    out
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

/// The same text in both formats, so that a series does not change its name with the format.
fn number(value: f64) -> String {
    match value {
        f64::INFINITY => "+Inf".into(),
        f64::NEG_INFINITY => "-Inf".into(),
        value => format!("{value:?}"),
    }
}

fn escape(text: &str, quote: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quote => out.push_str("\\\""),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_was_asked_for() {
        use Exposition::{OpenMetrics, Prometheus};
        let check = |accept: Option<&str>, expected: Exposition| {
            assert_eq!(Exposition::negotiate(accept), expected, "{accept:?}");
        };
        check(None, Prometheus);
        check(Some("*/*"), Prometheus);
        check(Some("text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"), Prometheus);
        check(Some("application/openmetrics-text"), OpenMetrics);
        check(Some("Application/OpenMetrics-Text; version=1.0.0; charset=utf-8"), OpenMetrics);
        // What Prometheus 2.42 sends.
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(Some(prometheus), OpenMetrics);
        check(Some("application/openmetrics-text;version=0.0.1"), Prometheus);
        check(Some("application/openmetrics-text;q=0.1,text/plain"), Prometheus);
        check(Some("application/openmetrics-text;q=0"), Prometheus);
        check(Some("application/openmetrics-text;q=x"), Prometheus);
    }

    #[test]
    fn text_is_escaped_and_numbers_are_what_parsers_read() {
        assert_eq!(pairs([("a", "x\\y\"z\n"), ("b", "é")].into_iter()), r#"a="x\\y\"z\n",b="é""#);
        let check = |value: f64, expected: &str| assert_eq!(number(value), expected);
        check(0.005, "0.005");
        check(1.0, "1.0");
        check(1e21, "1e21");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }
}
