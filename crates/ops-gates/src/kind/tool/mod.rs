//! `kind = "tool"`: runs a known tool, and knows what its exit codes mean and what proves that it did any work.
//!
//! Exit code 0 is no proof. gitleaks ends with 0 where there is no repository, k6 where no request was sent; trivy ends with
//! 1 without a database, and with 0 with findings; squawk has one code for a finding and for a file that it cannot read. So
//! each tool is a row of a [`table`]: its exit codes, the arguments that keep them apart, and a reader of what it did. A code
//! that is not in the table is an error, as is a clean end without proof of work.

mod proof;
mod table;

pub use table::ToolName;

use super::argv;
use crate::gate::{Context, Facts, Gate, Program, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text, VariableName};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use proof::{Given, Work};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::time::Duration;
use table::{Meaning, Row};

/// A known tool that must find nothing, and must have looked.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Which tool.
    pub tool: ToolName,
    /// Its arguments, after those that the gate gives it: what to look at.
    #[serde(default)]
    pub args: Vec<Text>,
    /// The program, where it is not on the path by its own name.
    pub program: Option<Text>,
    /// Variables that it gets from our environment.
    #[serde(default)]
    pub env: Vec<VariableName>,
    /// The working directory; the plan's own directory where it is absent.
    pub cwd: Option<Text>,
    /// The least work that it must have done, in the unit of the tool: tests, statements, bytes, requests.
    #[serde(default = "one")]
    pub min_work: u64,
    /// For trivy: how old its database of vulnerabilities may be.
    #[serde(default = "week")]
    pub max_database_age: Span,
}

fn one() -> u64 {
    1
}

fn week() -> Span {
    Span::from_secs(7 * 86_400)
}

/// How much of the output is read. A tool that writes more has no end that could be seen.
const KEEP: usize = 64 * 1024 * 1024;

impl Gate for Tool {
    fn wrong(&self, _: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> = self.args.iter().flat_map(argv::secrets_in).collect();
        if self.min_work == 0 {
            wrong.push(Wrong::gate("`min_work = 0` would pass a tool that looked at nothing"));
        }
        wrong
    }

    fn summary(&self) -> String {
        format!("{} {}", self.tool.row().name, argv::shown(&self.args)).trim_end().to_owned()
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.run(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Tool {
    async fn run(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let row = self.tool.row();
        let arguments: Vec<String> =
            self.args.iter().map(|text| context.resolve(text)).collect::<Result<_, _>>()?;
        if self.tool == ToolName::Trivy && proof::looks_for_vulnerabilities(&arguments) {
            self.database(context).await?;
        }
        let words = row.arguments.iter().map(|word| (*word).to_owned()).chain(arguments.iter().cloned());
        let ran = context.run(self.program(context, &row, words)?).await?;
        let output = String::from_utf8_lossy(&ran.stdout).into_owned();
        if ran.stdout.len() >= KEEP {
            return Err(Finding::error(
                Fault::Parse,
                "too-long",
                format!("{} wrote more than 64 MiB", row.name),
            ));
        }
        let Some(code) = ran.code() else {
            return Err(Finding::error(Fault::Tool, "signal", format!("{} was ended by a signal", row.name)));
        };
        let directory = self
            .cwd
            .as_ref()
            .map_or_else(|| Ok(context.directory().to_path_buf()), |cwd| context.path(cwd))?;
        let given = Given { output: &output, arguments: &arguments, directory: &directory };
        Ok(ran.tidied(self.judge(&row, code, (row.proof)(&given))))
    }

    fn program(
        &self,
        context: &Context<'_>,
        row: &Row,
        words: impl Iterator<Item = String>,
    ) -> Result<Program, Finding> {
        let name =
            self.program.as_ref().map_or_else(|| Ok(row.program.to_owned()), |text| context.resolve(text))?;
        let mut program = if row.reads_stderr {
            // Both streams as one: some tools say on the second what they did. The words are no code: the shell does not read them.
            Program::new("sh").args(["-c", "exec \"$0\" \"$@\" 2>&1"]).args([name])
        } else {
            Program::new(name)
        };
        program = program.args(words);
        program.environment = argv::environment(context, &self.env);
        let fixed = row.environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        program.environment.extend(fixed);
        program.directory = self.cwd.as_ref().map(|cwd| context.path(cwd)).transpose()?;
        program.keep = KEEP;
        Ok(program)
    }

    fn judge(&self, row: &Row, code: i32, work: Result<Work, String>) -> Finding {
        let meaning = row.exits.iter().find(|(known, _)| *known == code).map(|(_, meaning)| *meaning);
        let name = row.name;
        let finding = match (meaning, &work) {
            (None, _) => {
                let reason = format!("{name} ended with exit code {code}, which says neither yes nor no");
                Finding::error(Fault::Tool, "exit-code", reason)
            }
            (Some(Meaning::Failed(why)), _) => Finding::error(
                Fault::Tool,
                "tool-failed",
                format!("{name} ended with exit code {code}: {why}"),
            ),
            (Some(Meaning::Nothing), _) => Finding::error(
                Fault::NoData,
                "no-work",
                format!("{name} says that there was nothing to do (exit code {code})"),
            ),
            (Some(Meaning::Clean | Meaning::Found), Err(why)) => Finding::error(
                Fault::Parse,
                "no-proof",
                format!("{name} ended with exit code {code}, but {why}"),
            ),
            (Some(Meaning::Found), Ok(work)) => {
                Finding::fail("found", format!("{name} {} (exit code {code})", work.shown_bad()))
            }
            // The output knows better than the code.
            (Some(Meaning::Clean), Ok(work)) if work.bad > 0 => {
                Finding::fail("found", format!("{name} {}, though its exit code is {code}", work.shown_bad()))
            }
            (Some(Meaning::Clean), Ok(work)) if work.done < self.min_work => {
                let reason =
                    format!("{name} looked at {} {}, {} are needed", work.done, work.unit, self.min_work);
                Finding::error(Fault::NoData, "no-work", reason)
            }
            (Some(Meaning::Clean), Ok(work)) => {
                Finding::pass(format!("{name} looked at {} {}, and found nothing", work.done, work.unit))
            }
        };
        match work {
            #[expect(clippy::cast_precision_loss, reason = "counts of a tool are far below 2^53")]
            Ok(work) => finding
                .measured(format!("work_{}", work.unit), work.done as f64)
                .measured("found", work.bad as f64)
                .judged_by(format!("work_{} >= {}", work.unit, self.min_work)),
            Err(_) => finding,
        }
    }

    /// Whether trivy's database is there and young enough: without one it finds nothing.
    async fn database(&self, context: &Context<'_>) -> Result<(), Finding> {
        let row = self.tool.row();
        let words = ["version", "--format", "json"].map(str::to_owned);
        let ran = context.run(self.program(context, &row, words.into_iter())?).await?;
        let updated = proof::database_time(&String::from_utf8_lossy(&ran.stdout));
        let Some(updated) = updated.filter(|_| ran.code() == Some(0)) else {
            return Err(Finding::error(
                Fault::NoData,
                "no-database",
                "trivy has no database of vulnerabilities",
            ));
        };
        let age = Timestamp::now().duration_since(updated);
        if age
            > jiff::SignedDuration::try_from(self.max_database_age.get()).unwrap_or(jiff::SignedDuration::MAX)
        {
            let age = Span::of(Duration::try_from(age).unwrap_or_default());
            let reason = format!(
                "the database of vulnerabilities is {age} old, at most {} is accepted",
                self.max_database_age
            );
            return Err(Finding::error(Fault::NoData, "old-database", reason));
        }
        Ok(())
    }
}
