//! What the runs of the past say together: pass rates, flaky gates, durations, the last green run, and a report a week.
//!
//! Run directories are the truth and the only store. There is no index that could be stale: a thousand runs are read
//! faster than an index would have to be checked. A directory that looks like a run and cannot be read is counted and
//! named, because a gap in the history is not a good run.

mod chart;
mod health;
mod html;
mod statistics;

pub use health::{Health, HealthLine, LineSource, LineState, Period, health};
pub use html::html;
pub use statistics::{GateHistory, PlanHistory, RunRef, statistics};

use crate::error::{Error, ErrorKind};
use crate::record::{RunRecord, SCHEMA, State};
use crate::run::VERDICT;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The runs that were found, oldest first.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Every run that could be read, by the time of its start.
    pub runs: Vec<PastRun>,
    /// Directories that hold a verdict which cannot be read, each with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// A run of the past.
#[derive(Debug, Clone)]
pub struct PastRun {
    /// Where it lies.
    pub directory: PathBuf,
    /// What it says.
    pub record: RunRecord,
}

impl PastRun {
    /// Whether it came to its end, instead of being killed or still running.
    pub fn has_ended(&self) -> bool {
        self.record.state != State::InProgress
    }
}

impl History {
    /// Reads every run below the given directories. Each may be a run itself, or hold runs at any depth.
    ///
    /// # Errors
    /// [`ErrorKind::RunUnreadable`] where a given directory cannot be listed. A single run that cannot be read is no
    /// error: it stands in [`History::unreadable`].
    pub fn read(roots: &[PathBuf]) -> Result<Self, Error> {
        let mut history = Self::default();
        let mut seen = BTreeSet::new();
        for root in roots {
            history.visit(root, 0, &mut seen)?;
        }
        history.runs.sort_by(|a, b| {
            let key = |run: &PastRun| (run.record.started_at, run.record.run_id.clone());
            key(a).cmp(&key(b))
        });
        Ok(history)
    }

    /// The runs of one plan, by its name.
    pub fn of_plan<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a PastRun> {
        self.runs.iter().filter(move |run| run.record.plan.name == name)
    }

    /// The last run of the plan that ended before this one began: what a change of state is a change from.
    pub fn before<'a>(&'a self, record: &RunRecord) -> Option<&'a PastRun> {
        self.runs.iter().rev().find(|run| {
            run.record.plan.name == record.plan.name
                && run.record.run_id != record.run_id
                && run.record.started_at <= record.started_at
                && run.has_ended()
        })
    }

    fn visit(&mut self, directory: &Path, depth: usize, seen: &mut BTreeSet<String>) -> Result<(), Error> {
        /// Deeper than anybody keeps runs; a loop of links ends here.
        const DEEPEST: usize = 6;
        let verdict = directory.join(VERDICT);
        if verdict.is_file() {
            match read(&verdict) {
                // The same run may be reached by two roots.
                Ok(record) if !seen.insert(record.run_id.clone()) => {}
                Ok(record) => self.runs.push(PastRun { directory: directory.to_path_buf(), record }),
                Err(reason) => self.unreadable.push((directory.to_path_buf(), reason)),
            }
            return Ok(());
        }
        let unreadable = |error| Error::io(ErrorKind::RunUnreadable, "list", directory, error);
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if depth < DEEPEST && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.visit(&entry.path(), depth + 1, seen)?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<RunRecord, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let record: RunRecord = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    if record.schema != SCHEMA {
        return Err(format!("its schema is `{}`, this version reads `{SCHEMA}`", record.schema));
    }
    Ok(record)
}
