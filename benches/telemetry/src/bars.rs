//! The bars that the crate has set itself, each told as kept or missed.

use serde::Serialize;

use crate::Row;

/// One bar with what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    what: &'static str,
    at_most: f64,
    measured: f64,
    is_kept: bool,
}

impl Bar {
    fn new(what: &'static str, at_most: f64, measured: f64) -> Self {
        Self { what, at_most, measured, is_kept: measured <= at_most }
    }

    pub(crate) fn text(&self) -> String {
        let verdict = if self.is_kept { "kept  " } else { "MISSED" };
        format!("{verdict} {:60} at most {:6.1}, measured {:8.2}", self.what, self.at_most, self.measured)
    }
}

pub(crate) fn judge(rows: &[Row]) -> Vec<Bar> {
    let find = |task: &str, contender: &str| {
        rows.iter().find(|row| row.task == task && row.contender == contender).map(|row| row.cost)
    };
    let time = |task: &str, contender: &str| find(task, contender).map_or(f64::NAN, |cost| cost.time);
    let allocations =
        |task: &str, contender: &str| find(task, contender).map_or(f64::NAN, |cost| cost.allocations);
    let ours = "ops-telemetry";
    let event = time("event", ours);
    let lost = find("throughput", ours).and_then(|cost| cost.lost).map_or(f64::NAN, |lost| lost as f64);
    vec![
        Bar::new("event with 4 fields in a span, ns", 300.0, event),
        Bar::new("the same, allocations", 0.0, allocations("event", ours)),
        Bar::new("the same, part of fmt().json()'s time", 0.2, event / time("event", "fmt().json()")),
        Bar::new(
            "the same with 20 secrets to mask, times as long",
            2.0,
            time("event", "ops-telemetry, 20 secrets") / event,
        ),
        Bar::new("span, sampled out, ns", 250.0, time("span", "ops-telemetry, sampled out")),
        Bar::new("span, recorded, ns", 400.0, time("span", ours)),
        Bar::new("disabled callsite, ns", 1.0, time("disabled", ours)),
        Bar::new("enter and exit, ns", 40.0, time("enter", ours)),
        Bar::new("counter, ns", 10.0, time("counter", ours)),
        Bar::new("8 threads, lines lost", 0.0, lost),
    ]
}
