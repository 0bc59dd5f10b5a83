//! `kind = "approval"`: people who may, and who did not make the change themselves, said yes to exactly this commit.
//!
//! Git says who made the change, from its base to the released commit, and which paths it touches; the list of approvers
//! is read as it stood at the base, so that a change cannot add its own approver. What git says about authors is not
//! signed: whoever commits under a wrong address is not found by this gate, but by a rule on the repository.

use super::super::git::{Git, Range, fits, wrong_patterns};
use super::super::read;
use super::approvers::{Approvers, Decisions, Granted};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// Signed approvals of the released commit, as `ops-gate approve` makes them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The approvals, a file or a pattern.
    pub path: Text,
    /// The list of those who may approve. A relative path is read from the commit `base`; an absolute one from the disk,
    /// where the change must not be able to write.
    pub approvers: Text,
    /// The commit that was released before; all since then is the change.
    pub base: Text,
    /// Where the root of the repository is; the plan's directory where it is absent.
    pub repository: Option<Text>,
    /// The environment that each approval must be for.
    pub environment: Option<Text>,
    /// How many people must have approved.
    #[serde(default = "one")]
    pub minimum: usize,
    /// Roles of which each must have approved.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Roles that must have approved where certain paths are changed.
    #[serde(default)]
    pub rules: Vec<PathRule>,
    /// How long ago an approval may have been signed, however long it says that it holds.
    pub max_age: Option<Span>,
}

/// Who must approve what.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathRule {
    /// Patterns from the root of the repository, such as `api/**`.
    pub paths: Vec<String>,
    /// Roles of which each must have approved where one of the paths is changed.
    pub roles: Vec<String>,
}

fn one() -> usize {
    1
}

impl Gate for Approval {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong: Vec<Wrong> =
            self.rules.iter().flat_map(|rule| wrong_patterns("rules.paths", &rule.paths)).collect();
        if !facts.has_subject {
            wrong.push(Wrong::gate("an approval is of a commit: give the plan a `[subject]` with `commit`"));
        }
        if self.minimum == 0 {
            wrong.push(Wrong::gate("`minimum` is zero, so that nobody would have to approve"));
        }
        if self.rules.iter().any(|rule| rule.paths.is_empty() || rule.roles.is_empty()) {
            wrong.push(Wrong::gate("each of `rules` needs `paths` and `roles`"));
        }
        wrong
    }

    fn summary(&self) -> String {
        let roles = if self.roles.is_empty() {
            String::new()
        } else {
            format!(", among them {}", self.roles.join(", "))
        };
        format!("at least {} other than the authors approved{roles}", self.minimum)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Approval {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let git = Git::new(context, self.repository.as_ref())?;
        let range = git.range(&context.resolve(&self.base)?).await?;
        let approvers = Approvers::parse(&self.list(context, &git, &range).await?)?;
        let changed: Vec<String> = git.changes(&range).await?.into_iter().map(|change| change.path).collect();
        let authors = git.authors(&range).await?;
        if authors.is_empty() {
            return Err(Finding::error(Fault::NoData, "no-author", "git names no author of the change"));
        }
        let environment = self.environment.as_ref().map(|text| context.resolve(text)).transpose()?;
        let mut decisions = approvers.decisions(context, &self.path, environment.as_deref()).await?;
        if let Some(max_age) = self.max_age {
            let oldest = |it: &Granted| context.now().duration_since(it.record.finished_at);
            let (young, old) = decisions
                .granted
                .into_iter()
                .partition(|it| oldest(it).is_negative() || oldest(it).unsigned_abs() <= max_age.get());
            decisions.granted = young;
            let old: Vec<Granted> = old;
            decisions
                .ignored
                .extend(old.iter().map(|it| format!("the approval of {} is older than {max_age}", it.name)));
        }
        self.judge(decisions, &authors, &changed)
    }

    /// The list of approvers, from where the change could not write it.
    async fn list(&self, context: &Context<'_>, git: &Git<'_, '_>, range: &Range) -> Result<String, Finding> {
        let path = context.resolve(&self.approvers)?;
        if Path::new(&path).is_absolute() {
            return read::text(context, &self.approvers).await;
        }
        git.file(&range.base, &path).await?.ok_or_else(|| {
            let reason =
                format!("{} does not exist in the commit {} before the change", self.approvers, range.base);
            Finding::error(Fault::Unresolved, "approvers", reason)
        })
    }

    fn judge(
        &self,
        decisions: Decisions,
        authors: &BTreeSet<String>,
        changed: &[String],
    ) -> Result<Finding, Finding> {
        let Decisions { granted, rejected, ignored } = decisions;
        if let Some(name) = rejected.first() {
            return Err(Finding::fail("rejected", format!("{name} said no")));
        }
        let because = |reason: String| match ignored.first() {
            Some(why) => format!("{reason}; what does not count: {why}"),
            None => reason,
        };
        if granted.is_empty() {
            let reason = because(format!("nobody approved this commit by {}", self.path));
            return Err(Finding::fail("approval-missing", reason));
        }
        let (own, others): (Vec<Granted>, Vec<Granted>) =
            granted.into_iter().partition(|it| !it.emails.is_disjoint(authors));
        if others.is_empty() {
            let names: Vec<&str> = own.iter().map(|it| it.name.as_str()).collect();
            let reason = format!("only {} approved, who made the change", names.join(" and "));
            return Err(Finding::fail("self-approval", reason));
        }
        let applies = |rule: &&PathRule| changed.iter().any(|path| fits(&rule.paths, path));
        let needed = self.rules.iter().filter(applies).flat_map(|rule| &rule.roles).chain(&self.roles);
        let needed: BTreeSet<&String> = needed.collect();
        if let Some(role) =
            needed.iter().find(|role| !others.iter().any(|it| it.roles.contains(role.as_str())))
        {
            let reason =
                because(format!("nobody else with the role {role} approved, which this change needs"));
            return Err(Finding::fail("role-missing", reason));
        }
        if others.len() < self.minimum {
            let reason = because(format!("{} approved, and {} must", others.len(), self.minimum));
            return Err(Finding::fail("too-few", reason));
        }
        let names: Vec<&str> = others.iter().map(|it| it.name.as_str()).collect();
        let roles: Vec<&str> = needed.iter().map(|role| role.as_str()).collect();
        let roles = if roles.is_empty() { String::new() } else { format!(", for {}", roles.join(", ")) };
        #[expect(clippy::cast_precision_loss, reason = "people are few")]
        let count = others.len() as f64;
        let finding =
            Finding::pass(format!("approved by {}{roles}; none of them made the change", names.join(", ")));
        Ok(finding.measured("approvals_count", count).output("approvers", names.join(", ")))
    }
}
