//! Programs measured in turns: A B C, B C A, …, so that a machine that gets slower or faster does so for all of them.

use crate::measure::{self, Cost, median};
use anyhow::{Context as _, Result};
use serde::Serialize;

/// A program at a task.
pub(crate) struct Contestant<'a> {
    /// Its name in tables.
    pub(crate) name: String,
    /// Makes ready for one run, off the clock, and names the command. None: the program is not installed.
    pub(crate) prepare: Option<Prepare<'a>>,
    /// Looks at what a run has left, off the clock, and tidies up: the bytes that it stored, where it stores any.
    pub(crate) finish: Finish<'a>,
}

/// See [`Contestant::prepare`]; takes the number of the round.
pub(crate) type Prepare<'a> = Box<dyn FnMut(usize) -> Result<Vec<String>> + 'a>;

/// See [`Contestant::finish`]; takes the number of the round.
pub(crate) type Finish<'a> = Box<dyn FnMut(usize) -> Result<Option<u64>> + 'a>;

/// All runs of one program at one task.
#[derive(Debug, Serialize)]
pub(crate) struct Series {
    /// The task.
    pub(crate) task: &'static str,
    /// The program and how it was set.
    pub(crate) program: String,
    /// The runs in order; none where the program is absent.
    pub(crate) runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Run {
    /// What it cost.
    pub(crate) cost: Cost,
    /// What it stored, in bytes.
    pub(crate) stored: Option<u64>,
}

/// Runs each program once a round; `before` comes before the first of each.
pub(crate) fn contest(
    task: &'static str,
    rounds: usize,
    mut before: impl FnMut(usize) -> Result<()>,
    mut contestants: Vec<Contestant<'_>>,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> =
        contestants.iter().map(|one| Series { task, program: one.name.clone(), runs: Vec::new() }).collect();
    for round in 0..rounds {
        before(round).with_context(|| format!("before round {round} of {task}"))?;
        for turn in 0..contestants.len() {
            let at = (round + turn) % contestants.len();
            let (one, series) = (&mut contestants[at], &mut all[at]);
            let Some(prepare) = &mut one.prepare else { continue };
            let command = prepare(round).with_context(|| format!("preparing {task} by {}", one.name))?;
            let cost = measure::run(&command).with_context(|| format!("{task} by {}", one.name))?;
            let stored = (one.finish)(round).with_context(|| format!("after {task} by {}", one.name))?;
            eprintln!("{task}: {} in {:.2} s, {:.2} s of CPU", one.name, cost.wall, cost.cpu);
            series.runs.push(Run { cost, stored });
        }
    }
    Ok(all)
}

impl Series {
    /// The median of a figure over the runs; None where the program is absent.
    pub(crate) fn median(&self, figure: fn(&Run) -> f64) -> Option<f64> {
        (!self.runs.is_empty()).then(|| median(self.runs.iter().map(figure)))
    }

    /// The smallest and the largest.
    pub(crate) fn spread(&self, figure: fn(&Run) -> f64) -> (f64, f64) {
        let figures = || self.runs.iter().map(figure);
        (figures().fold(f64::INFINITY, f64::min), figures().fold(f64::NEG_INFINITY, f64::max))
    }

    /// The median of the ratios of runs of the same round; None where one of the two is absent.
    pub(crate) fn ratio(&self, peer: &Self, figure: fn(&Run) -> f64) -> Option<f64> {
        let pairs = || self.runs.iter().zip(&peer.runs);
        (pairs().count() > 0).then(|| median(pairs().map(|(ours, theirs)| figure(ours) / figure(theirs))))
    }
}

/// Seconds from start to end.
pub(crate) fn wall(run: &Run) -> f64 {
    run.cost.wall
}

/// Seconds of processor time.
pub(crate) fn cpu(run: &Run) -> f64 {
    run.cost.cpu
}

/// Peak memory in MB.
pub(crate) fn memory(run: &Run) -> f64 {
    run.cost.memory as f64 / 1e6
}

/// Stored bytes in MB; not a number where the task stores nothing.
pub(crate) fn stored(run: &Run) -> f64 {
    run.stored.map_or(f64::NAN, |bytes| bytes as f64 / 1e6)
}
