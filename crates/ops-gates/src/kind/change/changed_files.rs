//! `kind = "changed-files"`: what may only be changed together with something else, or not at all.
//!
//! Configuration of production without a change of its definition as code is a change that nobody can repeat.

use super::super::git::{Git, fits, wrong_patterns};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::Finding;
use crate::value::Text;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Paths that were changed since the last release.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangedFiles {
    /// The commit that was released before.
    pub base: Text,
    /// Where the repository is; the plan's directory where it is absent.
    pub repository: Option<Text>,
    /// Patterns from the root of the repository, such as `config/production/**`.
    pub paths: Vec<String>,
    /// Where one of `paths` is changed, one of these must be changed too; with `[]`, none of `paths` may be changed.
    pub together_with: Vec<String>,
}

impl Gate for ChangedFiles {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = wrong_patterns("paths", &self.paths);
        wrong.extend(wrong_patterns("together_with", &self.together_with));
        if self.paths.is_empty() {
            wrong.push(Wrong::gate("`paths` is empty, so that nothing could be wrong"));
        }
        if !facts.has_subject {
            wrong.push(Wrong::gate(
                "what was changed is known of a commit: give the plan a `[subject]` with `commit`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        match self.together_with.as_slice() {
            [] => format!("{} unchanged since {}", self.paths.join(", "), self.base),
            with => format!("{} changed only with {}", self.paths.join(", "), with.join(", ")),
        }
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl ChangedFiles {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let git = Git::new(context, self.repository.as_ref())?;
        let range = git.range(&context.resolve(&self.base)?).await?;
        let changes = git.changes(&range).await?;
        let first = |patterns: &[String]| changes.iter().find(|change| fits(patterns, &change.path));
        match (first(&self.paths), first(&self.together_with)) {
            (None, _) => {
                Ok(Finding::pass(format!("none of {} changed files is one of these", changes.len())))
            }
            (Some(change), Some(with)) => {
                Ok(Finding::pass(format!("{} was changed with {}", change.path, with.path)))
            }
            (Some(change), None) if self.together_with.is_empty() => {
                Err(Finding::fail("changed", format!("{} was changed, and may not be", change.path)))
            }
            (Some(change), None) => {
                let with = self.together_with.join(", ");
                Err(Finding::fail(
                    "changed-alone",
                    format!("{} was changed, and nothing of {with}", change.path),
                ))
            }
        }
    }
}
