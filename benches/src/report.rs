//! The table of a comparison: ours, a peer, the ratio, and the bar that ours must keep.

use serde::Serialize;
use std::fmt::Write as _;

/// The whole comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The format of the JSON.
    pub(crate) schema: &'static str,
    /// What was measured on, in words.
    pub(crate) data: String,
    /// One row a measurement and peer.
    pub(crate) rows: Vec<Row>,
}

/// One measurement, beside one peer or none.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) task: String,
    /// The unit of both figures.
    pub(crate) unit: &'static str,
    /// Ours.
    pub(crate) ours: f64,
    /// The peer's name; None where there is nothing to compare with.
    pub(crate) peer: Option<String>,
    /// The peer's figure; None where the peer is absent.
    pub(crate) theirs: Option<f64>,
    /// Ours divided by theirs: paired where both ran in turns.
    pub(crate) ratio: Option<f64>,
    /// What ours must not exceed, where a bar was set.
    pub(crate) bar: Option<Bar>,
    /// What else a reader must know.
    pub(crate) note: Option<String>,
}

/// A bar, and whether it was kept in this run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Bar {
    /// The bar, in words.
    pub(crate) text: String,
    /// Whether it was kept.
    pub(crate) kept: bool,
}

impl Row {
    /// A measurement of ours alone.
    pub(crate) fn new(task: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { task: task.into(), unit, ours, peer: None, theirs: None, ratio: None, bar: None, note: None }
    }

    /// Puts a peer beside it. Without a ratio of its own the row has that of the two figures.
    pub(crate) fn beside(mut self, peer: impl Into<String>, theirs: f64, ratio: Option<f64>) -> Self {
        self.peer = Some(peer.into());
        self.theirs = Some(theirs);
        self.ratio = ratio.or((theirs > 0.0).then(|| self.ours / theirs));
        self
    }

    /// Names a peer that is not installed: nothing is said about a bar then.
    pub(crate) fn beside_absent(mut self, peer: impl Into<String>) -> Self {
        self.peer = Some(peer.into());
        self
    }

    /// Leaves the ratio out, where it would say nothing.
    pub(crate) fn without_ratio(mut self) -> Self {
        self.ratio = None;
        self
    }

    /// Sets the largest figure of ours.
    pub(crate) fn at_most(mut self, most: f64) -> Self {
        self.bar = Some(Bar { text: format!("≤ {most} {}", self.unit), kept: self.ours <= most });
        self
    }

    /// Sets the largest ratio.
    pub(crate) fn ratio_at_most(mut self, most: f64) -> Self {
        self.bar = self.ratio.map(|ratio| Bar { text: format!("≤ {most} ×"), kept: ratio <= most });
        self
    }

    /// Sets how much more than the peer's figure ours may be.
    pub(crate) fn at_most_more(mut self, more: f64) -> Self {
        self.bar = self
            .theirs
            .map(|theirs| Bar { text: format!("≤ peer + {more}"), kept: self.ours <= theirs + more });
        self
    }

    /// Adds what else a reader must know.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl Report {
    /// The table for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}\n{:52} {:>11} {:>11} {:>7}  {:13} {:26} unit; notes\n",
            self.data, "task", "ours", "peer", "ratio", "bar", "peer is"
        );
        for row in &self.rows {
            let bar = row.bar.as_ref().map_or_else(String::new, |bar| {
                format!("{} {}", bar.text, if bar.kept { "kept" } else { "MISSED" })
            });
            let (peer, theirs) = match (&row.peer, row.theirs) {
                (Some(peer), Some(theirs)) => (peer.as_str(), figure(theirs)),
                (Some(peer), None) => (peer.as_str(), "absent".to_owned()),
                (None, _) => ("-", "-".to_owned()),
            };
            let ratio = row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
            let note = row.note.as_ref().map_or_else(String::new, |note| format!("; {note}"));
            let _ = writeln!(
                text,
                "{:52} {:>11} {theirs:>11} {ratio:>7}  {bar:13} {peer:26} {}{note}",
                row.task,
                figure(row.ours),
                row.unit
            );
        }
        text
    }

    /// The same as one JSON document.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Three significant digits, and no digits after the point of a large number.
fn figure(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}
