//! `kind = "benchmark"`: shows that a candidate is not slower than its baseline by more than a margin.
//!
//! Baseline and candidate run in turn on this machine, first one and then the other first, so that whatever slows the
//! machine slows both; or their samples come from two files, which must be from the same environment. The verdict is that
//! of [`crate::stat::compare`]: PASS is shown, not merely "no difference was seen". Undecided pairs are doubled up to a cap;
//! then the gate is inconclusive. Run nothing beside it.

use super::argv;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::stat::compare::{Comparison, Margin, Verdict, compare, fewest_pairs, looks};
use crate::stat::rank::mann_whitney;
use crate::value::{Text, Threshold, VariableName};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A candidate that must not be slower than its baseline by more than a margin.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Benchmark {
    /// The program of the baseline, with its arguments. With `candidate`; or else both files.
    #[serde(default)]
    pub baseline: Vec<Text>,
    /// The program of the candidate, with its arguments.
    #[serde(default)]
    pub candidate: Vec<Text>,
    /// A JSON file of samples of the baseline, `{"environment": {"cpu": "…"}, "samples": [1.5, …]}`: the samples in the order
    /// in which they were measured, in turn with those of the candidate.
    pub baseline_file: Option<Text>,
    /// The file of the candidate, with as many samples.
    pub candidate_file: Option<Text>,
    /// Variables that both programs get from our environment.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// The working directory of both programs; the plan's own directory where it is absent.
    pub cwd: Option<Text>,
    /// What is compared: the time that the program takes, or the last number of its standard output.
    #[serde(default)]
    pub measure: Measure,
    /// Whether less is better, as of times, or more, as of requests a second.
    #[serde(default)]
    pub better: Better,
    /// The slowdown that is tolerated, in per cent.
    pub max_slowdown_percent: Threshold,
    /// How many pairs are judged first, and at most.
    #[serde(default)]
    pub pairs: Pairs,
    /// How often a verdict may be wrong when the true slowdown equals the margin, in per cent.
    #[serde(default = "five")]
    pub error_percent: f64,
    /// How many runs of each come before, and do not count.
    #[serde(default = "one")]
    pub warmup: u32,
    /// Where chance begins, so that a verdict can be computed again.
    #[serde(default)]
    pub seed: u64,
}

/// What of a run is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// The time from its start to its end.
    #[default]
    Time,
    /// The last number of its standard output.
    Stdout,
}

/// What is better.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less.
    #[default]
    Less,
    /// More.
    More,
}

/// How many pairs are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pairs {
    /// How many are judged first.
    pub first: usize,
    /// How many there are at most.
    pub most: usize,
}

impl Default for Pairs {
    fn default() -> Self {
        Self { first: 10, most: 40 }
    }
}

fn five() -> f64 {
    5.0
}

fn one() -> u32 {
    1
}

/// The largest file of samples.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Samples {
    environment: BTreeMap<String, String>,
    samples: Vec<f64>,
}

impl Gate for Benchmark {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        match (
            self.baseline.is_empty() && self.candidate.is_empty(),
            &self.baseline_file,
            &self.candidate_file,
        ) {
            (false, None, None) => {
                wrong.extend(argv::wrong("baseline", &self.baseline));
                wrong.extend(argv::wrong("candidate", &self.candidate));
                let same = |a: &Text, b: &Text| a.template() == b.template();
                if self.baseline.len() == self.candidate.len()
                    && self.baseline.iter().zip(&self.candidate).all(|(a, b)| same(a, b))
                {
                    wrong.push(Wrong::gate(
                        "`baseline` and `candidate` are the same, so that nothing is compared",
                    ));
                }
            }
            (true, Some(_), Some(_)) => {}
            _ => wrong.push(Wrong::gate(
                "give `baseline` and `candidate`, or `baseline_file` and `candidate_file`",
            )),
        }
        if !(self.error_percent > 0.0 && self.error_percent <= 20.0) {
            wrong.push(Wrong::gate("`error_percent` is more than 0 and at most 20"));
            return wrong;
        }
        let fewest = fewest_pairs(self.error_percent / 100.0, self.looks());
        if self.pairs.first > self.pairs.most || (self.pairs.most as u64) < fewest {
            wrong.push(Wrong::gate(format!(
                "`pairs.first` is at most `pairs.most`, and that at least {fewest}: with fewer pairs nothing can be shown at {} %",
                self.error_percent
            )));
        }
        wrong
    }

    fn summary(&self) -> String {
        let what =
            self.candidate_file.as_ref().map_or_else(|| argv::shown(&self.candidate), ToString::to_string);
        format!("{what} is at most {} % slower", self.max_slowdown_percent)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async {
            let judged =
                if self.baseline_file.is_some() { self.files(context) } else { self.programs(context).await };
            judged.unwrap_or_else(|finding| finding)
        })
    }
}

impl Benchmark {
    fn looks(&self) -> u32 {
        u32::try_from(looks(self.pairs.first, self.pairs.most).len()).unwrap_or(u32::MAX)
    }

    fn margin(&self, looks: u32) -> Margin {
        Margin {
            slowdown: self.max_slowdown_percent.get() / 100.0,
            error_rate: self.error_percent / 100.0,
            looks,
        }
    }

    async fn programs(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        for _ in 0..self.warmup {
            self.sample(context, &self.baseline).await?;
            self.sample(context, &self.candidate).await?;
        }
        let mut pairs: Vec<(f64, f64)> = Vec::new();
        let mut last = None;
        for size in looks(self.pairs.first, self.pairs.most) {
            while pairs.len() < size {
                let pair = if pairs.len().is_multiple_of(2) {
                    let baseline = self.sample(context, &self.baseline).await?;
                    (baseline, self.sample(context, &self.candidate).await?)
                } else {
                    let candidate = self.sample(context, &self.candidate).await?;
                    (self.sample(context, &self.baseline).await?, candidate)
                };
                pairs.push(pair);
            }
            let comparison = self.compare(&pairs, self.looks())?;
            let is_decided = comparison.verdict != Verdict::Undecided;
            last = Some(comparison);
            if is_decided {
                break;
            }
        }
        context.log(&format!("pairs of baseline and candidate: {pairs:?}"));
        let comparison =
            last.ok_or_else(|| Finding::error(Fault::NoData, "no-samples", "there are no pairs"))?;
        let mut finding = self.judge(&pairs, comparison);
        for (name, value) in environment() {
            finding = finding.output(name, value);
        }
        Ok(finding)
    }

    async fn sample(&self, context: &Context<'_>, words: &[Text]) -> Result<f64, Finding> {
        let mut program = argv::program(context, words, &self.env, self.cwd.as_ref())?;
        program.keep = if self.measure == Measure::Stdout { 1024 * 1024 } else { 0 };
        let ran = context.run(program).await?;
        if ran.code() != Some(0) {
            let reason = format!("`{}` ended with {:?}", argv::shown(words), ran.status);
            return Err(Finding::error(Fault::Tool, "program", reason));
        }
        match self.measure {
            Measure::Time => Ok(ran.elapsed.as_secs_f64()),
            Measure::Stdout => {
                let text = String::from_utf8_lossy(&ran.stdout).into_owned();
                let number = text.split_whitespace().rev().find_map(|word| word.parse::<f64>().ok());
                number.ok_or_else(|| {
                    Finding::error(
                        Fault::Parse,
                        "no-number",
                        format!("`{}` wrote no number", argv::shown(words)),
                    )
                })
            }
        }
    }

    fn files(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let (Some(baseline), Some(candidate)) = (&self.baseline_file, &self.candidate_file) else {
            return Err(Finding::error(Fault::Internal, "files", "there are no files"));
        };
        let (baseline, candidate) = (read(context, baseline)?, read(context, candidate)?);
        let names = baseline.environment.keys().chain(candidate.environment.keys());
        let differs = names
            .into_iter()
            .find(|name| baseline.environment.get(*name) != candidate.environment.get(*name));
        if let Some(name) = differs {
            let reason = format!(
                "the samples are from different environments: {name} differs, so they compare nothing"
            );
            return Err(Finding::error(Fault::Tool, "environment-differs", reason));
        }
        if baseline.environment.is_empty() {
            let reason = "the files do not say in which environment they were measured";
            return Err(Finding::error(Fault::NoData, "no-environment", reason));
        }
        if baseline.samples.len() != candidate.samples.len() {
            let reason =
                format!("{} samples and {} are no pairs", baseline.samples.len(), candidate.samples.len());
            return Err(Finding::error(Fault::Parse, "no-pairs", reason));
        }
        let pairs: Vec<(f64, f64)> = baseline.samples.into_iter().zip(candidate.samples).collect();
        if pairs.is_empty() {
            return Err(Finding::error(Fault::NoData, "no-samples", "the files hold no samples"));
        }
        // A file is looked at once.
        let comparison = self.compare(&pairs, 1)?;
        Ok(self.judge(&pairs, comparison))
    }

    fn compare(&self, pairs: &[(f64, f64)], looks: u32) -> Result<Comparison, Finding> {
        let oriented: Vec<(f64, f64)> = match self.better {
            Better::Less => pairs.to_vec(),
            // The time that one takes is one over the rate.
            Better::More => {
                pairs.iter().map(|(baseline, candidate)| (1.0 / baseline, 1.0 / candidate)).collect()
            }
        };
        compare(&oriented, self.margin(looks), self.seed).ok_or_else(|| {
            Finding::error(
                Fault::Parse,
                "not-positive",
                "a sample is not a positive number, so that it has no ratio",
            )
        })
    }

    fn judge(&self, pairs: &[(f64, f64)], comparison: Comparison) -> Finding {
        let percent = |share: f64| 100.0 * share;
        let shown = |bound: Option<f64>| {
            bound.map_or_else(|| "unknown".to_owned(), |bound| format!("{:+.2} %", percent(bound)))
        };
        let (lower, upper) = comparison.bounds;
        let known = format!(
            "the slowdown in {} pairs is {:+.2} %, between {} and {}",
            pairs.len(),
            percent(comparison.slowdown),
            shown(lower),
            shown(upper)
        );
        let limit = self.max_slowdown_percent.get();
        let mut finding = match comparison.verdict {
            Verdict::NotSlower => Finding::pass(known),
            Verdict::Slower => Finding::fail("slower", format!("{known}, above {limit} %")),
            Verdict::Undecided => Finding::inconclusive(
                "not-shown",
                format!("{known}, which does not show whether it is within {limit} %"),
            ),
        };
        let (baseline, candidate): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        if let Some(ranks) = mann_whitney(&baseline, &candidate) {
            finding =
                finding.measured("cliffs_delta", ranks.delta).measured("mann_whitney_p", ranks.p_two_sided);
        }
        for (name, value) in [("slowdown_lower_percent", lower), ("slowdown_upper_percent", upper)] {
            if let Some(value) = value {
                finding = finding.measured(name, percent(value));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of pairs is far below 2^53")]
        let count = pairs.len() as f64;
        finding.measured("slowdown_percent", percent(comparison.slowdown)).measured("pairs", count).judged_by(
            format!(
                "slowdown_percent < {limit} ({}) at {} % errors",
                self.max_slowdown_percent.origin(),
                self.error_percent
            ),
        )
    }
}

fn read(context: &Context<'_>, file: &Text) -> Result<Samples, Finding> {
    let path = context.path(file)?;
    let unreadable =
        |why: String| Finding::error(Fault::Unresolved, "file", format!("{file} cannot be read: {why}"));
    let length = std::fs::metadata(&path).map_err(|error| unreadable(error.to_string()))?.len();
    if length > FILE_LIMIT {
        return Err(unreadable("it is larger than 16 MiB".to_owned()));
    }
    let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Finding::error(Fault::Parse, "samples", format!("{file} holds no samples: {error}")))
}

/// What the measurements depend on beside the programs.
fn environment() -> Vec<(&'static str, String)> {
    let line = |path: &str, start: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(start))?;
        Some(line.rsplit(':').next().unwrap_or(line).trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let unknown = || "unknown".to_owned();
    vec![
        ("cpu", line("/proc/cpuinfo", "model name").unwrap_or_else(unknown)),
        ("cores", cores.to_string()),
        ("kernel", line("/proc/sys/kernel/osrelease", "").unwrap_or_else(unknown)),
        ("architecture", std::env::consts::ARCH.to_owned()),
    ]
}
