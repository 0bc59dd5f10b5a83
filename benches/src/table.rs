//! The table of a comparison, for people and as JSON.

use crate::measure::Cost;
use serde::Serialize;
use std::fmt::Write as _;

/// One comparison: what, on which data, with which results.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    /// The format of the JSON.
    pub(crate) schema: &'static str,
    /// The data, in words.
    pub(crate) data: String,
    /// One row a program and task.
    pub(crate) rows: Vec<Row>,
}

/// What one program cost at one task.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// The task, for example `backup`.
    pub(crate) task: &'static str,
    /// The program and how it was set.
    pub(crate) program: String,
    /// The median of each figure; None where the program is absent.
    pub(crate) cost: Option<Cost>,
    /// What was stored, in bytes, where the task stores something.
    pub(crate) stored: Option<u64>,
}

/// The name that our own rows begin with.
pub(crate) const OURS: &str = "ops-backup";

impl Table {
    /// The table for people; ratios are ours divided by theirs, so that less than 1 is less of ours.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{}\n{:8} {:34} {:>8} {:>8} {:>9} {:>10}   ours/theirs: wall, cpu, stored\n",
            self.data, "task", "program", "wall", "cpu", "memory", "stored"
        );
        for row in &self.rows {
            let Some(cost) = row.cost else {
                let _ = writeln!(text, "{:8} {:34} absent", row.task, row.program);
                continue;
            };
            let stored =
                row.stored.map_or_else(|| "-".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
            let _ = writeln!(
                text,
                "{:8} {:34} {:>6.2} s {:>6.2} s {:>6.0} MB {stored:>10}   {}",
                row.task,
                row.program,
                cost.wall,
                cost.cpu,
                cost.memory as f64 / 1e6,
                self.ratios(row, cost)
            );
        }
        text
    }

    fn ratios(&self, row: &Row, theirs: Cost) -> String {
        let ours = self.rows.iter().find(|other| other.task == row.task && other.program.starts_with(OURS));
        let Some((ours, cost)) = ours.and_then(|ours| Some((ours, ours.cost?))) else { return "-".into() };
        if ours.program == row.program {
            return "1".into();
        }
        let stored = match (ours.stored, row.stored) {
            (Some(a), Some(b)) if b > 0 => format!("{:.2}", a as f64 / b as f64),
            _ => "-".into(),
        };
        format!("{:.2}, {:.2}, {stored}", cost.wall / theirs.wall, cost.cpu / theirs.cpu)
    }

    /// The same as one JSON document.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
