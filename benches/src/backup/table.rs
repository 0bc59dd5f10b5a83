//! What was measured against what was promised: the bars of the issue first, then the figures of every program.

use super::again::Updates;
use super::contest::{Run, Series, cpu, memory, stored, wall};
use super::full::LIMIT;
use super::growth::Size;
use super::{OURS, PEER, of};
use crate::measure::{Cost, median};
use crate::report::{Report, Row};
use serde::Serialize;
use std::fmt::Write as _;

/// No more memory than this, in MB, whatever the data.
const MEMORY: f64 = 200.0;

/// A figure of every program: name, unit, where it stands, and the largest ratio that was promised (not a number: none was).
type Figure = (&'static str, &'static str, fn(&Run) -> f64, f64);

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// The data, in words.
    pub(crate) data: String,
    rows: Vec<Row>,
    series: Vec<Series>,
}

impl Table {
    /// Full backups.
    pub(crate) fn full(&mut self, series: Vec<Series>) {
        self.against(
            &series,
            PEER,
            &[("wall", "s", wall, 0.6), ("CPU", "s", cpu, 0.7), ("stored", "MB", stored, 1.0)],
        );
        self.against(&series, LIMIT, &[("wall", "s", wall, 1.2), ("CPU", "s", cpu, f64::NAN)]);
        self.against(
            &series,
            "pg_basebackup",
            &[("wall", "s", wall, f64::NAN), ("stored", "MB", stored, f64::NAN)],
        );
        self.memory(&series);
        self.series.extend(series);
    }

    /// Second backups after updates.
    pub(crate) fn updated(&mut self, series: Vec<Series>, updates: &Updates) {
        self.against(
            &series,
            PEER,
            &[("wall", "s", wall, 0.5), ("CPU", "s", cpu, f64::NAN), ("stored", "MB", stored, f64::NAN)],
        );
        if let Some(added) = of(&series, OURS).and_then(|ours| ours.median(stored)) {
            let middle = |figures: &[f64]| median(figures.iter().copied());
            let (share, compressed) = (middle(&updates.share), middle(&updates.compressed));
            let most = 1.3 * compressed + 0.01 * updates.data;
            self.rows.push(
                Row::new("backup, 1 % updated: added", "MB", added)
                    .beside("the changed pages, zstd 3", compressed, None)
                    .at_most((most * 10.0).round() / 10.0)
                    .note(format!(
                        "{:.2} % of the pages changed; data {:.0} MB",
                        share * 100.0,
                        updates.data
                    )),
            );
        }
        self.memory(&series);
        self.series.extend(series);
    }

    /// Second backups of the same data.
    pub(crate) fn unchanged(&mut self, series: Vec<Series>) {
        self.against(&series, PEER, &[("wall", "s", wall, 0.3), ("CPU", "s", cpu, f64::NAN)]);
        if let Some(added) = of(&series, OURS).and_then(|ours| ours.median(stored)) {
            self.rows.push(Row::new("backup, unchanged: added", "MB", added).at_most(1.0));
        }
        self.memory(&series);
        self.series.extend(series);
    }

    /// Restores into an empty directory.
    pub(crate) fn restored(&mut self, series: Vec<Series>) {
        self.against(&series, PEER, &[("wall", "s", wall, 0.6), ("CPU", "s", cpu, f64::NAN)]);
        self.memory(&series);
        self.series.extend(series);
    }

    /// Restores onto damage.
    pub(crate) fn delta(&mut self, series: Vec<Series>) {
        self.against(&series, PEER, &[("wall", "s", wall, 0.4), ("CPU", "s", cpu, f64::NAN)]);
        self.memory(&series);
        self.series.extend(series);
    }

    /// Backups of many files.
    pub(crate) fn many_files(&mut self, series: Vec<Series>) {
        self.against(&series, PEER, &[("wall", "s", wall, f64::NAN), ("CPU", "s", cpu, f64::NAN)]);
        self.memory(&series);
        self.series.extend(series);
    }

    /// Backups over the network: at least nine tenths of the throughput of one that goes nowhere.
    pub(crate) fn remote(&mut self, series: Vec<Series>) {
        let nowhere = of(&series, super::remote::NOWHERE);
        for ours in series.iter().filter(|series| series.program.starts_with(OURS)) {
            let Some((nowhere, mine)) = nowhere.zip(ours.median(wall)) else { continue };
            let row = Row::new(format!("{}: wall", ours.program), "s", mine);
            let other = nowhere.median(wall).zip(ours.ratio(nowhere, wall));
            self.rows.push(match other {
                Some((other, ratio)) => {
                    row.beside(&nowhere.program, other, Some(ratio)).ratio_at_most(1.0 / 0.9)
                }
                None => row.beside_absent(&nowhere.program),
            });
            let memory = ours.median(memory).unwrap_or(f64::NAN);
            self.rows.push(Row::new(format!("{}: peak memory", ours.program), "MB", memory).at_most(MEMORY));
        }
        self.series.extend(series);
    }

    /// Backups of a table that grows.
    pub(crate) fn growth(&mut self, sizes: Vec<Size>) {
        let first = sizes.first().map(|size| (size.times, size.per_gigabyte(cpu), size.per_gigabyte(wall)));
        for size in sizes {
            let task = size.series.task;
            let note = format!("{:.2} GB", size.gigabytes);
            for (figure, now, before) in [
                ("CPU", size.per_gigabyte(cpu), first.and_then(|(_, cpu, _)| cpu)),
                ("wall", size.per_gigabyte(wall), first.and_then(|(_, _, wall)| wall)),
            ] {
                let (Some(now), Some(before)) = (now, before) else { continue };
                let row = Row::new(format!("{task}: {figure} for a GB"), "s", now).note(note.clone());
                let is_first = first.is_some_and(|(times, ..)| times == size.times);
                // Fixed costs weigh most on the small one, so that linear is at most its figure; a tenth is noise.
                self.rows.push(if is_first {
                    row
                } else {
                    row.beside("itself × 1", before, None).ratio_at_most(1.1)
                });
            }
            self.memory(std::slice::from_ref(&size.series));
            self.series.push(size.series);
        }
    }

    /// Jobs on a tree of a million files: their memory is what counts.
    pub(crate) fn tree(&mut self, costs: Vec<(&'static str, Cost)>) {
        for (job, cost) in costs {
            let row =
                Row::new(format!("a million files, {job}: peak memory"), "MB", cost.memory as f64 / 1e6);
            let note = format!("{:.1} s, {:.1} s of CPU", cost.wall, cost.cpu);
            self.rows.push(row.at_most(MEMORY).note(note));
        }
    }

    /// Ours beside one peer: one row a figure.
    fn against(&mut self, series: &[Series], peer: &str, figures: &[Figure]) {
        let (Some(ours), Some(theirs)) = (of(series, OURS), of(series, peer)) else { return };
        for (name, unit, figure, most) in figures {
            let Some(mine) = ours.median(*figure) else { continue };
            let row = Row::new(format!("{}: {name}", ours.task), unit, mine);
            self.rows.push(match (theirs.median(*figure), ours.ratio(theirs, *figure)) {
                (Some(other), Some(ratio)) => {
                    let row = row.beside(&theirs.program, other, Some(ratio));
                    if most.is_nan() { row } else { row.ratio_at_most(*most) }
                }
                _ => row.beside_absent(&theirs.program),
            });
        }
    }

    /// Our peak memory beside the peer's.
    fn memory(&mut self, series: &[Series]) {
        let Some(ours) = of(series, OURS) else { return };
        let Some(mine) = ours.median(memory) else { return };
        let row = Row::new(format!("{}: peak memory", ours.task), "MB", mine);
        let row = match of(series, PEER).map(|peer| (peer, peer.median(memory))) {
            Some((peer, Some(theirs))) => row.beside(&peer.program, theirs, None),
            Some((peer, None)) => row.beside_absent(&peer.program),
            None => row,
        };
        self.rows.push(row.at_most(MEMORY));
    }

    /// Both tables for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.report_text();
        let _ = writeln!(
            text,
            "\n{:30} {:34} {:>24} {:>24} {:>9} {:>11}",
            "task", "program", "wall (min to max), s", "CPU (min to max), s", "memory", "stored"
        );
        for series in &self.series {
            let figure = |figure: fn(&Run) -> f64| {
                let (least, most) = series.spread(figure);
                let middle = series.median(figure).unwrap_or(f64::NAN);
                format!("{middle:.2} ({least:.2} to {most:.2})")
            };
            if series.runs.is_empty() {
                let _ = writeln!(text, "{:30} {:34} absent", series.task, series.program);
                continue;
            }
            let bytes = |figure: fn(&Run) -> f64| match series.median(figure) {
                Some(megabytes) if !megabytes.is_nan() => format!("{megabytes:.1} MB"),
                _ => "-".to_owned(),
            };
            let _ = writeln!(
                text,
                "{:30} {:34} {:>24} {:>24} {:>9} {:>11}",
                series.task,
                series.program,
                figure(wall),
                figure(cpu),
                bytes(memory),
                bytes(stored)
            );
        }
        text
    }

    fn report_text(&self) -> String {
        let rows = self.rows.clone();
        Report { schema: "", data: self.data.clone(), rows }.text()
    }

    /// The same as one JSON document, with every single run.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            schema: &'static str,
            data: &'a str,
            rows: &'a [Row],
            series: &'a [Series],
        }
        let document = Document {
            schema: "ops-benches/backup/v2",
            data: &self.data,
            rows: &self.rows,
            series: &self.series,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

impl Size {
    fn per_gigabyte(&self, figure: fn(&Run) -> f64) -> Option<f64> {
        self.series.median(figure).map(|seconds| seconds / self.gigabytes)
    }
}
