//! `kind = "migration-lint"`: migrations only go forward, and none destroys what the running version still needs.
//!
//! Git says which migrations are new; one that was already released may not change, go away, or be overtaken by a new one
//! that sorts before it. `ops-guard check` says what the statements of the new ones do. A release that only expands can
//! be taken back at any time; one that contracts must say so.

use super::super::git::{Change, Git, fits, wrong_patterns};
use super::super::read;
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The exit codes of `ops-guard check` that come with verdicts; 22 is that there was no statement.
const ANSWERS: [i32; 3] = [0, 20, 22];

/// What the version that still runs would miss.
const CONTRACTS: [&str; 3] = ["schema_drop", "truncate", "privilege"];

/// What nobody can foresee from the text.
const UNKNOWN: [&str; 3] = ["opaque", "dynamic_code", "external"];

/// SQL migrations between a released commit and this one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MigrationLint {
    /// The commit that runs now.
    pub base: Text,
    /// Which files are migrations, as patterns from the root of the repository, such as `migrations/*.sql`.
    pub paths: Vec<String>,
    /// The program that judges the statements; the files are added to it.
    #[serde(default = "guard")]
    pub run: Vec<Text>,
    /// Where the root of the repository is; the plan's directory where it is absent.
    pub repository: Option<Text>,
    /// Whether this release may drop things. The version that runs now must not need them any more.
    #[serde(default)]
    pub contract: bool,
}

fn guard() -> Vec<Text> {
    ["ops-guard", "check", "--policy", "migration", "--format", "json"].into_iter().map(Text::from).collect()
}

#[derive(Deserialize)]
struct Verdict {
    schema: String,
    file: String,
    line: u64,
    verdict: String,
    effects: Vec<String>,
    rule: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    shadow: bool,
}

impl Gate for MigrationLint {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = wrong_patterns("paths", &self.paths);
        if self.paths.is_empty() {
            wrong.push(Wrong::gate("`paths` names no migration"));
        }
        if self.run.is_empty() {
            wrong.push(Wrong::gate("`run` names no program"));
        }
        if !facts.has_subject {
            wrong.push(Wrong::gate(
                "the new migrations are those of a commit: give the plan a `[subject]` with `commit`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        let what = if self.contract { "forward only" } else { "forward only, and only expand" };
        format!("migrations {} since {} go {what}", self.paths.join(", "), self.base)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl MigrationLint {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let git = Git::new(context, self.repository.as_ref())?;
        let range = git.range(&context.resolve(&self.base)?).await?;
        if !git.is_exactly(&range.commit).await? {
            let reason =
                "the work tree is not exactly the released commit, so that other files would be judged";
            return Err(Finding::error(Fault::Unresolved, "other-commit", reason));
        }
        let all = |path: &String| fits(&self.paths, path);
        let before: Vec<String> = git.paths(&range.base).await?.into_iter().filter(all).collect();
        let after: Vec<String> = git.paths(&range.commit).await?.into_iter().filter(all).collect();
        if after.is_empty() {
            let reason =
                format!("no file in the released commit is a migration by {}", self.paths.join(", "));
            return Err(Finding::error(Fault::NoData, "no-migrations", reason));
        }
        let changes = git.changes(&range).await?;
        let changes: Vec<Change> = changes.into_iter().filter(|change| all(&change.path)).collect();
        let new = forward(&before, &changes)?;
        if new.is_empty() {
            return Ok(Finding::pass(format!(
                "no new migration; {} released ones are unchanged",
                after.len()
            )));
        }
        let mut run: Vec<String> =
            self.run.iter().map(|text| context.resolve(text)).collect::<Result<_, _>>()?;
        let place = |path: &&str| match &self.repository {
            Some(repository) => Ok(context.path(repository)?.join(path).display().to_string()),
            None => Ok((*path).to_owned()),
        };
        let files: Vec<String> = new.iter().map(place).collect::<Result<_, Finding>>()?;
        run.extend(files.iter().cloned());
        let text = read::program(context, run, &ANSWERS).await?;
        let statements = self.judge(&text, &files)?;
        Ok(Finding::pass(format!("{} new migrations with {statements} statements, each allowed", new.len())))
    }

    /// Judges what the guard says, and counts the statements.
    fn judge(&self, text: &str, files: &[String]) -> Result<usize, Finding> {
        let mut verdicts: Vec<Verdict> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let verdict: Verdict = read::json(line, "a verdict")?;
            if verdict.schema != "ops-guard/check/v1" {
                let reason =
                    format!("a verdict has the schema `{}`, known is `ops-guard/check/v1`", verdict.schema);
                return Err(Finding::error(Fault::Parse, "not-understood", reason));
            }
            verdicts.push(verdict);
        }
        if let Some(file) = files.iter().find(|file| !verdicts.iter().any(|verdict| verdict.file == **file)) {
            return Err(Finding::error(
                Fault::NoData,
                "no-statement",
                format!("{file} has no statement that was judged"),
            ));
        }
        for verdict in &verdicts {
            let place = format!("{}:{}", verdict.file, verdict.line);
            let has = |names: &[&'static str]| {
                names.iter().copied().find(|name| verdict.effects.iter().any(|it| it == name))
            };
            if let Some(effect) = has(&CONTRACTS).filter(|_| !self.contract) {
                let reason = format!(
                    "{place} would {effect}, which the version that runs now may need; only a contracting release may"
                );
                return Err(Finding::fail("contracts", reason));
            }
            if let Some(effect) = has(&UNKNOWN) {
                return Err(Finding::inconclusive(
                    "unknown-effect",
                    format!("{place} has the effect {effect}, which nobody can foresee"),
                ));
            }
            if verdict.shadow {
                return Err(Finding::error(
                    Fault::Tool,
                    "shadow",
                    "the guard's policy only reports, so that it refuses nothing",
                ));
            }
            // What the policy refuses as a drop is what a contracting release is for.
            let allowed = matches!(verdict.verdict.as_str(), "allow" | "limit")
                || (self.contract && has(&CONTRACTS).is_some());
            if !allowed {
                let rule = verdict.rule.as_deref().unwrap_or("?");
                let reason = verdict.reason.as_deref().unwrap_or("no reason was given");
                return Err(Finding::fail("refused", format!("{place} is refused by rule {rule}: {reason}")));
            }
        }
        Ok(verdicts.len())
    }
}

/// The new migrations, where every change is a new one that sorts after all that were released.
fn forward<'c>(before: &[String], changes: &'c [Change]) -> Result<Vec<&'c str>, Finding> {
    if let Some(change) = changes.iter().find(|change| change.status != 'A') {
        let what = if change.status == 'D' { "was removed" } else { "was changed" };
        let reason = format!("{} {what}, and was already released; write a new migration", change.path);
        return Err(Finding::fail("not-forward", reason));
    }
    let down = |change: &&Change| {
        let name = change.path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        name.ends_with(".down.sql") || name == "down.sql"
    };
    if let Some(change) = changes.iter().find(down) {
        let reason = format!("{} goes backward; a schema is repaired by a new migration", change.path);
        return Err(Finding::fail("not-forward", reason));
    }
    for change in changes {
        let folder =
            |path: &str| path.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned());
        let own = folder(&change.path);
        if let Some(last) =
            before.iter().filter(|path| folder(path) == own).max().filter(|last| **last > change.path)
        {
            let reason = format!(
                "{} sorts before {last}, which was already released, and might never run",
                change.path
            );
            return Err(Finding::fail("out-of-order", reason));
        }
    }
    let mut new: Vec<&str> = changes.iter().map(|change| change.path.as_str()).collect();
    new.sort_unstable();
    Ok(new)
}
