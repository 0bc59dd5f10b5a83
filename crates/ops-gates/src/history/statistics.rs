//! Numbers about the runs of a plan: pure functions of their records.

use super::PastRun;
use crate::outcome::Outcome;
use crate::record::RunRecord;
use crate::stat::binomial;
use crate::verdict::Verdict;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// The runs of one plan together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlanHistory {
    /// The name of the plan.
    pub plan: String,
    /// How many runs came to an end.
    pub runs: usize,
    /// Runs that never ended: killed, or still running. They count in no rate.
    pub unfinished: usize,
    /// The share of ended runs that passed; none where none ended.
    pub pass_rate: Option<f64>,
    /// What the true share is at least, at 95 % confidence: an objective that lies above it is not shown to be met.
    pub pass_rate_at_least: Option<f64>,
    /// The newest run that passed.
    pub last_green: Option<RunRef>,
    /// The newest run that ended.
    pub last: Option<RunRef>,
    /// How many of the newest runs in a row were blocked.
    pub blocked_in_a_row: usize,
    /// Each gate, in the order of its id.
    pub gates: Vec<GateHistory>,
}

/// Which run, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRef {
    /// Its id.
    pub run_id: String,
    /// When it began.
    pub started_at: Timestamp,
    /// Its verdict.
    pub verdict: Verdict,
    /// The digests of what it was about, where it says so.
    pub subject: BTreeMap<String, String>,
}

/// One gate over the runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateHistory {
    /// The gate's id.
    pub id: String,
    /// How often it was looked at: it passed, failed, or could not be judged.
    pub runs: usize,
    /// How often it passed.
    pub passed: usize,
    /// The share that passed; none where it was never looked at.
    pub pass_rate: Option<f64>,
    /// Of the subjects that were judged more than once by the same plan, the share on which it did not always end the
    /// same way; none where no subject was judged twice.
    pub flaky_rate: Option<f64>,
    /// How many subjects that share rests on.
    pub judged_twice: usize,
    /// How often it passed only after an attempt that did not.
    pub passed_late: usize,
    /// How often it ended otherwise than in the run before.
    pub flips: usize,
    /// The median of its durations when it passed.
    pub median_seconds: Option<f64>,
    /// The median of the newer half over that of the older half; none with fewer than 5 runs in each.
    pub duration_trend: Option<f64>,
    /// The code of its newest outcome that was no pass.
    pub last_code: Option<String>,
}

impl GateHistory {
    /// What each column of a table of gates is called.
    pub(super) const COLUMNS: [&str; 6] = ["gate", "passed", "flaky", "flips", "median", "trend"];

    /// Its row in a table of gates, in words.
    pub(super) fn cells(&self) -> [String; 6] {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            self.id.clone(),
            format!("{} of {}", self.passed, self.runs),
            percent(self.flaky_rate),
            self.flips.to_string(),
            or_none(self.median_seconds.map(|seconds| format!("{seconds:.2} s"))),
            or_none(self.duration_trend.map(|ratio| format!("×{ratio:.2}"))),
        ]
    }
}

/// A share for people; `-` where there is none.
pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// The numbers of every plan, sorted by name. The runs must stand oldest first, as
/// [`History`](super::History) has them.
pub fn statistics(runs: &[PastRun]) -> Vec<PlanHistory> {
    let mut plans: BTreeMap<&str, Vec<&PastRun>> = BTreeMap::new();
    for run in runs {
        plans.entry(&run.record.plan.name).or_default().push(run);
    }
    plans.into_iter().map(|(name, runs)| plan(name, &runs)).collect()
}

fn plan(name: &str, runs: &[&PastRun]) -> PlanHistory {
    let ended: Vec<&RunRecord> = runs.iter().filter(|run| run.has_ended()).map(|run| &run.record).collect();
    let passed = ended.iter().filter(|run| run.verdict == Verdict::Passed).count();
    let green = ended.iter().rev().find(|run| run.verdict == Verdict::Passed);
    let mut gates: BTreeMap<&str, Vec<Seen<'_>>> = BTreeMap::new();
    for run in &ended {
        for gate in &run.gates {
            let Some(outcome) = gate.outcome.as_ref().filter(|outcome| was_looked_at(outcome)) else {
                continue;
            };
            let seen = Seen {
                subject: run.subject.as_ref().map(|it| (run.plan.sha256.as_str(), &it.digest)),
                outcome,
                code: gate.code.as_deref(),
                seconds: gate.duration_seconds,
                late: gate.is_flaky(),
            };
            gates.entry(&gate.id).or_default().push(seen);
        }
    }
    PlanHistory {
        plan: name.to_owned(),
        runs: ended.len(),
        unfinished: runs.len() - ended.len(),
        pass_rate: share(passed, ended.len()),
        pass_rate_at_least: lower_bound(passed, ended.len()),
        last_green: green.map(|run| reference(run)),
        last: ended.last().map(|run| reference(run)),
        blocked_in_a_row: ended.iter().rev().take_while(|run| run.verdict == Verdict::Blocked).count(),
        gates: gates.into_iter().map(|(id, seen)| gate(id, &seen)).collect(),
    }
}

/// One outcome of a gate that was looked at.
struct Seen<'a> {
    /// The plan and what it judged: two outcomes with the same ought to be the same.
    subject: Option<(&'a str, &'a BTreeMap<String, String>)>,
    outcome: &'a Outcome,
    code: Option<&'a str>,
    seconds: Option<f64>,
    late: bool,
}

fn gate(id: &str, seen: &[Seen<'_>]) -> GateHistory {
    let passed = seen.iter().filter(|it| it.outcome.is_pass()).count();
    let mut subjects: BTreeMap<_, Vec<bool>> = BTreeMap::new();
    for it in seen {
        if let Some(subject) = it.subject {
            subjects.entry(subject).or_default().push(it.outcome.is_pass());
        }
    }
    let twice: Vec<&Vec<bool>> = subjects.values().filter(|outcomes| outcomes.len() > 1).collect();
    let mixed = twice.iter().filter(|outcomes| outcomes.iter().any(|it| *it != outcomes[0])).count();
    let flips = seen.windows(2).filter(|pair| pair[0].outcome.is_pass() != pair[1].outcome.is_pass()).count();
    // What was cut off by its time says nothing about how long the work takes.
    let seconds: Vec<f64> =
        seen.iter().filter(|it| it.outcome.is_pass()).filter_map(|it| it.seconds).collect();
    let last = seen.iter().rev().find(|it| !it.outcome.is_pass());
    GateHistory {
        id: id.to_owned(),
        runs: seen.len(),
        passed,
        pass_rate: share(passed, seen.len()),
        flaky_rate: share(mixed, twice.len()),
        judged_twice: twice.len(),
        passed_late: seen.iter().filter(|it| it.late).count(),
        flips,
        median_seconds: median(&seconds),
        duration_trend: trend(&seconds),
        last_code: last.and_then(|it| it.code).map(str::to_owned),
    }
}

fn was_looked_at(outcome: &Outcome) -> bool {
    !matches!(outcome, Outcome::Skip | Outcome::Blocked { .. } | Outcome::Cancelled)
}

pub(super) fn reference(record: &RunRecord) -> RunRef {
    RunRef {
        run_id: record.run_id.clone(),
        started_at: record.started_at,
        verdict: record.verdict,
        subject: record.subject.as_ref().map(|it| it.digest.clone()).unwrap_or_default(),
    }
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What the share is at least, as the runs show it at 95 % (Clopper and Pearson).
fn lower_bound(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| binomial::lower_bound(part as u64, whole as u64, 0.95))
}

/// The middle value; none of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

fn trend(values: &[f64]) -> Option<f64> {
    const LEAST: usize = 5;
    if values.len() < 2 * LEAST {
        return None;
    }
    let (older, newer) = values.split_at(values.len() / 2);
    median(older).filter(|older| *older > 0.0).zip(median(newer)).map(|(older, newer)| newer / older)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_what_the_runs_show_and_no_more() {
        // Of 149 runs without a fault more than 98 % is shown, and of 148 it is not: the count in the field's tables.
        for (part, whole, shown) in [(149, 149, true), (148, 148, false), (300, 301, true), (10, 10, false)] {
            let bound = lower_bound(part, whole).expect("a bound");
            assert_eq!(bound > 0.98, shown, "{part}/{whole}: {bound}");
        }
        assert_eq!(lower_bound(0, 0), None);
    }

    #[test]
    fn a_trend_takes_enough_runs() {
        assert_eq!(trend(&[1.0; 9]), None);
        let doubled: Vec<f64> = [1.0; 5].into_iter().chain([2.0; 5]).collect();
        assert_eq!(trend(&doubled), Some(2.0));
        assert_eq!(trend(&[0.0; 10]), None);
        assert_eq!(
            (median(&[3.0, 1.0]), median(&[3.0, 1.0, 2.0]), median(&[])),
            (Some(2.0), Some(2.0), None)
        );
    }
}
