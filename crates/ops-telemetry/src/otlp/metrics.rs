//! Metrics as the messages of OTLP 1.x (`metrics/v1`): the names of the page, cumulative, exemplars included. Pure.

use std::time::SystemTime;

use super::encode::{Resource, attribute, ids, nanoseconds};
use super::protobuf::Message;
use crate::metrics::{Exemplar, Kind, Reading, Series, Unit, Value};
use crate::record::FieldValue;

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

/// What was read at one moment.
pub(super) struct Snapshot {
    pub(super) since: SystemTime,
    pub(super) time: SystemTime,
    pub(super) metrics: Vec<Reading>,
}

/// Writes an `ExportMetricsServiceRequest`.
pub(super) fn metrics(resource: &Resource, snapshots: &[Snapshot]) -> Vec<u8> {
    let all: Vec<_> = snapshots
        .iter()
        .flat_map(|snapshot| snapshot.metrics.iter().map(move |metric| (snapshot, metric)))
        .filter(|(_, metric)| !metric.series.is_empty())
        .collect();
    resource.request(&all, |_| "ops_telemetry", |out, (snapshot, metric)| one(out, snapshot, metric))
}

/// Returns the number of data points.
pub(super) fn points(snapshots: &[Snapshot]) -> u64 {
    snapshots.iter().flat_map(|snapshot| &snapshot.metrics).map(|metric| metric.series.len() as u64).sum()
}

fn one(out: &mut Message, snapshot: &Snapshot, metric: &Reading) {
    out.text(1, metric.desc.name);
    out.text(2, metric.desc.help);
    // The Unified Code for Units of Measure, where it has the unit.
    out.text(
        3,
        match metric.desc.unit {
            Unit::Count => "",
            Unit::Seconds => "s",
            Unit::Bytes => "By",
            Unit::Ratio => "1",
            Unit::Other(unit) => unit,
        },
    );
    let points = |out: &mut Message| {
        metric.series.iter().for_each(|series| out.message(1, |out| point(out, snapshot, series)));
    };
    match metric.kind {
        Kind::Gauge | Kind::Info => out.message(5, points),
        Kind::Counter => out.message(7, |out| {
            points(out);
            out.varint(2, CUMULATIVE);
            out.varint(3, 1);
        }),
        Kind::Histogram => out.message(9, |out| {
            points(out);
            out.varint(2, CUMULATIVE);
        }),
    }
}

fn point(out: &mut Message, snapshot: &Snapshot, series: &Series) {
    out.fixed64(2, nanoseconds(snapshot.since));
    out.fixed64(3, nanoseconds(snapshot.time));
    let labels = |out: &mut Message, field: u8| {
        for (name, value) in &series.labels {
            attribute(out, field, name, &FieldValue::Text(value.as_str().into()));
        }
    };
    match &series.value {
        Value::Count { total, exemplar: found } => {
            out.fixed64_even_zero(6, *total);
            found.iter().for_each(|found| exemplar(out, 5, found));
            labels(out, 7);
        }
        Value::Number(value) => {
            out.double(4, *value);
            labels(out, 7);
        }
        Value::Histogram(ranges) => {
            out.fixed64_even_zero(4, ranges.counts.iter().sum());
            out.double(5, ranges.sum);
            out.packed64(6, ranges.counts.iter().copied());
            out.packed64(7, ranges.ends.iter().map(|end| end.to_bits()));
            ranges.exemplars.iter().flatten().for_each(|found| exemplar(out, 8, found));
            labels(out, 9);
        }
    }
}

fn exemplar(out: &mut Message, field: u8, found: &Exemplar) {
    out.message(field, |out| {
        out.fixed64(2, nanoseconds(found.time));
        out.double(3, found.value);
        ids(out, (5, 4), found.context);
    });
}
