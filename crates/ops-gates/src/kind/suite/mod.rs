//! `kind = "suite"`: runs a suite of tests, and reads its report instead of trusting its exit code.
//!
//! A runner that found no test ends with 0, and so does one whose report is of yesterday. So the report must be newer than
//! the start of the program, whole, and with enough tests; the exit code must say the same as the report; and skipped tests
//! are counted and limited.

mod junit;
mod tap;

use super::argv;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, VariableName};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

/// A suite of tests whose report, JUnit XML or TAP, shows that all of them ran and passed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The program, with its arguments; no shell reads them. Without it, a report of an earlier step is read, of at most
    /// `max_age`.
    #[serde(default)]
    pub run: Vec<Text>,
    /// Variables that the program gets from our environment.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// The working directory of the program; the plan's own directory where it is absent.
    pub cwd: Option<Text>,
    /// The JUnit files, as a path that may have `*` in it.
    pub junit: Option<Text>,
    /// Whether the standard output of the program is TAP.
    #[serde(default)]
    pub tap: bool,
    /// The fewest tests that must have passed.
    #[serde(default = "one")]
    pub min_tests: u64,
    /// The most tests that may have been skipped.
    #[serde(default)]
    pub max_skipped: u64,
    /// The most tests that may have passed only when they were repeated (`flakyFailure` and `flakyError` of nextest and
    /// Surefire). None, unless it is said here.
    #[serde(default)]
    pub max_flaky: u64,
    /// How old the report may be, where there is no `run`.
    pub max_age: Option<Span>,
}

fn one() -> u64 {
    1
}

/// The largest report that is read.
const LIMIT: u64 = 256 * 1024 * 1024;

/// What a report says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    errors: u64,
    skipped: u64,
    flaky: u64,
    /// The names of some that failed.
    names: Vec<String>,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.errors += other.errors;
        self.skipped += other.skipped;
        self.flaky += other.flaky;
        self.names.extend(other.names);
    }

    fn note(&mut self, name: &str) {
        if self.names.len() < 5 {
            self.names.push(name.chars().take(120).collect());
        }
    }
}

impl Gate for Suite {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.junit.is_some() == self.tap {
            wrong.push(Wrong::gate("give either `junit = \"path\"` or `tap = true`"));
        }
        match (self.run.is_empty(), self.max_age) {
            (false, _) => wrong.extend(argv::wrong("run", &self.run)),
            (true, None) => {
                wrong.push(Wrong::gate("without `run`, `max_age` says how old the report may be"))
            }
            (true, Some(_)) if self.tap => wrong.push(Wrong::gate("`tap` is read from the output of `run`")),
            (true, Some(_)) => {}
        }
        if self.min_tests == 0 {
            wrong.push(Wrong::gate("`min_tests = 0` would pass a suite that tests nothing"));
        }
        wrong
    }

    fn summary(&self) -> String {
        match &self.junit {
            Some(junit) if self.run.is_empty() => junit.to_string(),
            _ => argv::shown(&self.run),
        }
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.test(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Suite {
    async fn test(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let before = self.files(context)?.into_iter().map(|(path, data)| (path, identity(&data))).collect();
        let mut code = None;
        let mut counts = Counts::default();
        if !self.run.is_empty() {
            let mut program = argv::program(context, &self.run, &self.env, self.cwd.as_ref())?;
            program.keep = if self.tap { 64 * 1024 * 1024 } else { 0 };
            let ran = context.run(program).await?;
            code = Some(ran.code());
            if self.tap {
                counts = tap::read(&String::from_utf8_lossy(&ran.stdout))
                    .map_err(|why| unreadable("the output", &why))?;
            }
        }
        if self.junit.is_some() {
            counts = self.reports(context, &before, code.is_some())?;
        }
        Ok(self.judge(&counts, code))
    }

    fn files(&self, context: &Context<'_>) -> Result<Vec<(PathBuf, Metadata)>, Finding> {
        let Some(pattern) = &self.junit else { return Ok(Vec::new()) };
        let path = context.path(pattern)?;
        let wrong = |why: String| Finding::error(Fault::Unresolved, "report", format!("{pattern}: {why}"));
        let paths = glob::glob(&path.to_string_lossy()).map_err(|error| wrong(error.to_string()))?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.map_err(|error| wrong(error.to_string()))?;
            let data = std::fs::metadata(&path).map_err(|error| wrong(error.to_string()))?;
            if data.is_file() {
                files.push((path, data));
            }
        }
        Ok(files)
    }

    fn reports(
        &self,
        context: &Context<'_>,
        before: &HashMap<PathBuf, Identity>,
        ran: bool,
    ) -> Result<Counts, Finding> {
        let pattern = self.junit.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut counts = Counts::default();
        let files = self.files(context)?;
        if files.is_empty() {
            return Err(Finding::error(
                Fault::NoData,
                "no-report",
                format!("there is no report at {pattern}"),
            ));
        }
        for (path, data) in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if ran && before.get(&path) == Some(&identity(&data)) {
                let reason = format!("report `{name}` was there before and was not written again");
                return Err(Finding::error(Fault::NoData, "stale-report", reason));
            }
            let age = data
                .modified()
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok())
                .unwrap_or_default();
            if let Some(max_age) = self.max_age.filter(|max_age| !ran && age > max_age.get()) {
                let reason =
                    format!("report `{name}` is {} old, at most {max_age} is accepted", Span::of(age));
                return Err(Finding::error(Fault::NoData, "stale-report", reason));
            }
            if data.len() > LIMIT {
                return Err(unreadable(&name, "it is larger than 256 MiB"));
            }
            let file = std::fs::File::open(&path).map_err(|error| unreadable(&name, &error.to_string()))?;
            counts.add(junit::read(std::io::BufReader::new(file)).map_err(|why| unreadable(&name, &why))?);
        }
        Ok(counts)
    }

    /// `code` is that of the program: none where nothing ran, and an inner none where a signal ended it.
    #[expect(clippy::option_option, reason = "whether it ran, and whether it exited, are two questions")]
    fn judge(&self, counts: &Counts, code: Option<Option<i32>>) -> Finding {
        let Counts { passed, failed, errors, skipped, flaky, names } = counts;
        let bad = failed + errors;
        let ended = match code {
            Some(Some(code)) => format!("exit code {code}"),
            Some(None) => "ended by a signal".to_owned(),
            None => String::new(),
        };
        let finding = if bad > 0 {
            let total = passed + bad;
            Finding::fail("tests-failed", format!("{bad} of {total} tests failed: {}", names.join(", ")))
        } else if passed + skipped == 0 {
            let tail = if ended.is_empty() { ended } else { format!(" ({ended})") };
            Finding::error(Fault::NoData, "no-tests", format!("no test ran{tail}"))
        } else if code.is_some_and(|code| code != Some(0)) {
            Finding::fail("exit-code", format!("{ended}, though the report shows no failed test"))
        } else if passed < &self.min_tests {
            let reason = format!("{passed} tests passed, {} are needed", self.min_tests);
            Finding::error(Fault::InsufficientSamples, "few-tests", reason)
        } else if skipped > &self.max_skipped {
            Finding::fail(
                "skipped",
                format!("{skipped} tests were skipped, at most {} may be", self.max_skipped),
            )
        } else if flaky > &self.max_flaky {
            let most = self.max_flaky;
            Finding::fail(
                "flaky",
                format!("{flaky} tests passed only when they were repeated, at most {most} may"),
            )
        } else {
            let flaky =
                if *flaky > 0 { format!(", {flaky} of them only when repeated") } else { String::new() };
            Finding::pass(format!("{passed} tests passed{flaky}, {skipped} were skipped"))
        };
        finding
            .measured("passed_tests", float(*passed))
            .measured("failed_tests", float(bad))
            .measured("skipped_tests", float(*skipped))
            .measured("flaky_tests", float(*flaky))
            .judged_by(format!("passed_tests >= {}", self.min_tests))
            .judged_by(format!("skipped_tests <= {}", self.max_skipped))
            .judged_by(format!("flaky_tests <= {}", self.max_flaky))
    }
}

/// What changes when a file is written again, even with the same bytes.
type Identity = (u64, u64, i64, i64, u64);

fn identity(data: &Metadata) -> Identity {
    (data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.len())
}

fn unreadable(name: &str, why: &str) -> Finding {
    Finding::error(Fault::Parse, "report", format!("{name} cannot be read: {why}"))
}

#[expect(clippy::cast_precision_loss, reason = "a number of tests is far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}
