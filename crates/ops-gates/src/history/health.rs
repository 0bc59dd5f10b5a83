//! The health report of a period: one line for each thing that was promised, and how the gates stood.
//!
//! A line takes its value from a measurement of a gate, or from whether a gate passed. A line that no gate is named for,
//! or whose gate was not looked at in the period, says "no data": a report is not green because nobody measured.

use super::statistics::{GateHistory, PlanHistory, median, percent, statistics};
use super::{History, PastRun};
use crate::outcome::Outcome;
use crate::verdict::Verdict;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// From when until when, the end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Period {
    /// The beginning.
    pub from: Timestamp,
    /// The end.
    pub until: Timestamp,
}

/// Where a line of the report takes its value from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LineSource {
    /// What the line is called: `Uptime`, `Error rate` …
    pub title: String,
    /// The gate that knows.
    pub gate: String,
    /// The measurement of the gate; without it the line tells how often the gate passed.
    #[serde(default)]
    pub measurement: Option<String>,
    /// What is written behind the number.
    #[serde(default)]
    pub unit: String,
    /// The value is good from here on.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// The value is good up to here.
    #[serde(default)]
    pub at_most: Option<f64>,
}

/// How a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LineState {
    /// Within what was promised.
    Good,
    /// Not within it.
    Bad,
    /// Measured, and nothing was promised.
    Told,
    /// Nobody measured it.
    NoData,
}

/// A line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HealthLine {
    /// What it is called.
    pub title: String,
    /// How it stands.
    pub state: LineState,
    /// The value in words.
    pub text: String,
    /// Each value of the period, oldest first.
    pub values: Vec<(Timestamp, f64)>,
}

/// The report of a period.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// Of when it tells.
    pub period: Period,
    /// The lines, in the order in which they were asked for.
    pub lines: Vec<HealthLine>,
    /// The numbers of each plan in the period.
    pub plans: Vec<PlanHistory>,
    /// Each run of the period: when it began, whether it passed, how long it took.
    pub runs: Vec<(Timestamp, Verdict, Option<f64>)>,
    /// How many directories hold a run that cannot be read.
    pub unreadable: usize,
}

/// The lines that the sources of this project ask for each week; one that no gate is named for says so.
const WEEKLY: [&str; 6] =
    ["Uptime", "Response time", "Error rate", "Cost", "Critical alerts", "Backups verified"];

/// What stands where runs would.
pub(super) const NO_RUN: &str = "No run in this period.";

/// Makes the report of a period from the history.
pub fn health(history: &History, period: Period, sources: &[LineSource]) -> Health {
    let within: Vec<PastRun> = history
        .runs
        .iter()
        .filter(|run| run.record.started_at >= period.from && run.record.started_at < period.until)
        .cloned()
        .collect();
    let missing = WEEKLY
        .into_iter()
        .filter(|title| !sources.iter().any(|source| source.title.eq_ignore_ascii_case(title)))
        .map(|title| HealthLine {
            title: title.to_owned(),
            state: LineState::NoData,
            text: "no data: no gate is named for it".to_owned(),
            values: Vec::new(),
        });
    Health {
        period,
        lines: sources.iter().map(|source| line(source, &within)).chain(missing).collect(),
        plans: statistics(&within),
        runs: within
            .iter()
            .map(|run| (run.record.started_at, run.record.verdict, run.record.duration_seconds()))
            .collect(),
        unreadable: history.unreadable.len(),
    }
}

fn line(source: &LineSource, runs: &[PastRun]) -> HealthLine {
    let looked_at =
        |outcome: &Outcome| !matches!(outcome, Outcome::Skip | Outcome::Blocked { .. } | Outcome::Cancelled);
    let mut values = Vec::new();
    for run in runs {
        for gate in run.record.gates.iter().filter(|gate| gate.id == source.gate) {
            let Some(outcome) = gate.outcome.as_ref().filter(|outcome| looked_at(outcome)) else { continue };
            let value = match &source.measurement {
                Some(name) => gate.measurements.get(name).copied(),
                None => Some(if outcome.is_pass() { 1.0 } else { 0.0 }),
            };
            values
                .extend(value.filter(|value| value.is_finite()).map(|value| (run.record.started_at, value)));
        }
    }
    let numbers: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
    let (state, text) = match (median(&numbers), &source.measurement) {
        (None, _) => (LineState::NoData, format!("no data: gate `{}` measured nothing", source.gate)),
        (Some(_), None) => {
            let good = numbers.iter().filter(|value| **value > 0.5).count();
            let state = if good == numbers.len() { LineState::Good } else { LineState::Bad };
            (state, format!("{good} of {} passed", numbers.len()))
        }
        (Some(median), Some(_)) => judged(source, median, &numbers),
    };
    HealthLine { title: source.title.clone(), state, text, values }
}

fn judged(source: &LineSource, median: f64, numbers: &[f64]) -> (LineState, String) {
    let good = |value: &f64| {
        source.at_least.is_none_or(|limit| *value >= limit)
            && source.at_most.is_none_or(|limit| *value <= limit)
    };
    let unit = if source.unit.is_empty() { String::new() } else { format!(" {}", source.unit) };
    let limits = [("at least", source.at_least), ("at most", source.at_most)];
    let promised: Vec<String> = limits
        .iter()
        .filter_map(|(word, limit)| limit.map(|limit| format!("{word} {limit}{unit}")))
        .collect();
    let lowest = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut text = format!("{}{unit}", short(median));
    if numbers.len() > 1 {
        text.push_str(&format!(
            " (median of {}, from {} to {})",
            numbers.len(),
            short(lowest),
            short(highest)
        ));
    }
    if promised.is_empty() {
        return (LineState::Told, text);
    }
    let outside = numbers.iter().filter(|value| !good(value)).count();
    text.push_str(&format!("; promised {}", promised.join(" and ")));
    if outside == 0 {
        return (LineState::Good, text);
    }
    text.push_str(&format!(", {outside} of {} outside", numbers.len()));
    (LineState::Bad, text)
}

/// A number for people: at most four digits behind the point, and none that say nothing.
pub(super) fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl LineState {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            LineState::Good => "good",
            LineState::Bad => "NOT GOOD",
            LineState::Told => "told",
            LineState::NoData => "NO DATA",
        }
    }
}

impl Health {
    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("writing to a string cannot fail");
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# {}\n", self.title())?;
        writeln!(out, "| | state | value |\n|---|---|---|")?;
        for line in &self.lines {
            writeln!(out, "| {} | {} | {} |", cell(&line.title), line.state.word(), cell(&line.text))?;
        }
        for plan in &self.plans {
            writeln!(out, "\n## {}\n", cell(&plan.plan))?;
            writeln!(out, "{}", plan.sentence())?;
            let columns = GateHistory::COLUMNS;
            writeln!(out, "\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))?;
            for gate in &plan.gates {
                writeln!(out, "| {} |", gate.cells().map(|text| cell(&text)).join(" | "))?;
            }
        }
        if self.plans.is_empty() {
            writeln!(out, "\n{NO_RUN}")?;
        }
        if let Some(sentence) = self.not_counted() {
            writeln!(out, "\n{sentence}")?;
        }
        Ok(())
    }

    pub(super) fn title(&self) -> String {
        let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
        format!("Health, {} to {}", day(self.period.from), day(self.period.until))
    }

    /// What the numbers leave out, where they do.
    pub(super) fn not_counted(&self) -> Option<String> {
        let count = self.unreadable;
        (count > 0).then(|| format!("{count} runs cannot be read, and are not counted."))
    }

    /// How many of the lines stand how, for a message.
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts = BTreeMap::new();
        for line in &self.lines {
            *counts.entry(line.state.word()).or_default() += 1;
        }
        counts
    }
}

impl PlanHistory {
    /// The runs in one sentence.
    pub fn sentence(&self) -> String {
        let rate = percent(self.pass_rate);
        let shown = percent(self.pass_rate_at_least);
        let green = match &self.last_green {
            Some(run) => format!("last green {}", run.started_at.strftime("%Y-%m-%d %H:%M UTC")),
            None => "never green".to_owned(),
        };
        let open = match self.unfinished {
            0 => String::new(),
            count => format!(", {count} never ended"),
        };
        format!("{} runs{open}; {rate} passed (shown: at least {shown}); {green}.", self.runs)
    }
}

/// Text that stays in its table cell.
fn cell(text: &str) -> String {
    let safe: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    safe.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;")
}
