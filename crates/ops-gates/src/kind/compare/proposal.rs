//! The proposal to roll back, for the people who decide. It is written, and never executed.

use super::windows::Windows;
use super::{Judged, Standing};
use crate::gate::{Context, Facts, Wrong};
use crate::outcome::Finding;
use crate::value::{Reference, Text, names_a_secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::PathBuf;

/// What to propose, and to whom.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The file of the rollback plan, from the plan's directory.
    pub plan: Text,
    /// The command that would roll back, as text. Nothing here runs it.
    pub command: Text,
    /// What would be left; the plan's subject where it is absent.
    pub from: Option<Text>,
    /// What would run again.
    pub to: Text,
    /// Who may decide, such as `Tech Lead, or the on-call engineer by delegation`.
    pub decides: String,
    /// Where the proposal goes; beside the gate's log where it is absent.
    pub proposal: Option<Text>,
}

impl Proposal {
    pub(super) fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.decides.trim().is_empty() {
            wrong.push(Wrong::gate("`rollback.decides` is empty; who may decide?"));
        }
        if self.from.is_none() && !facts.has_subject {
            wrong.push(Wrong::gate("without `[subject]` in the plan, `rollback.from` says what runs now"));
        }
        for text in [Some(&self.plan), Some(&self.command), self.from.as_ref(), Some(&self.to)] {
            let secret = |reference: &Reference<'_>| match reference {
                Reference::Secret(_) => true,
                Reference::Env(name) => names_a_secret(name),
                Reference::Gate { .. } => false,
            };
            if let Some(text) = text.filter(|it| it.references().unwrap_or_default().iter().any(secret)) {
                wrong.push(Wrong::text(text, "a proposal is read by many; it holds no secret"));
            }
        }
        wrong
    }

    pub(super) fn text(
        &self,
        context: &Context<'_>,
        windows: &Windows,
        judged: &[Judged<'_>],
        error_percent: f64,
    ) -> Result<String, Finding> {
        let from = match (&self.from, context.subject()) {
            (Some(from), _) => context.resolve(from)?,
            (None, Some(subject)) => {
                let digests: Vec<String> =
                    subject.digest.iter().map(|(name, hex)| format!("{name}:{hex}")).collect();
                format!("{} {}", subject.name, digests.join(" "))
            }
            (None, None) => "unknown".to_owned(),
        };
        let (to, plan) = (context.resolve(&self.to)?, context.path(&self.plan)?);
        let missing = if plan.is_file() { "" } else { " — **this file is missing**" };
        let mut text = format!("# Proposal: roll back {}\n\n", line(&from));
        let _ = writeln!(text, "| | |\n|---|---|");
        for (name, value) in [
            ("from", code(&from)),
            ("to", code(&to)),
            ("rollback plan", format!("{}{missing}", code(&plan.display().to_string()))),
            ("who decides", line(&self.decides)),
            ("good window", format!("{} to {}", windows.good.0, windows.good.1)),
            ("window after", format!("{} to {}", windows.after.0, windows.after.1)),
            ("proposed by", format!("gate `{}` at {}", context.id(), context.now())),
        ] {
            let _ = writeln!(text, "| {name} | {} |", value.replace('|', "\\|"));
        }
        text.push_str("\n## What got worse\n\n| metric | good median | after | worse | at least | at most | tolerated | |\n|---|---|---|---|---|---|---|---|\n");
        for one in judged {
            let (shift, unit) = (&one.shift, one.metric.unit());
            let standing = match one.standing {
                Standing::Worse => "**WORSE**",
                Standing::NotWorse => "not worse",
                Standing::Undecided => "not shown",
            };
            let _ = writeln!(
                text,
                "| {} | {:.4} | {:.4} | {:.2}{unit} | {:.2}{unit} | {:.2}{unit} | {}{unit} | {standing} |",
                one.name,
                shift.medians.0,
                shift.medians.1,
                shift.shift,
                shift.bounds.0,
                shift.bounds.1,
                one.metric.margin().get()
            );
        }
        let _ = writeln!(
            text,
            "\nThe bounds are those of a block bootstrap of both medians, with a nominal rate of false alarms of {error_percent} % among all \
             metrics together when the true worsening equals what is tolerated. The windows lie one after the other: what else \
             changed between them is in these numbers too."
        );
        text.push_str("\n## If it is decided\n\n");
        for command in context.resolve(&self.command)?.lines() {
            let _ = writeln!(text, "    {command}");
        }
        text.push_str("\nNothing was executed.\n");
        Ok(text)
    }

    /// Writes the proposal, and says where it is.
    pub(super) fn write(&self, context: &Context<'_>, text: &str) -> Result<PathBuf, String> {
        let path = self.proposal.as_ref().map(|path| context.path(path)).transpose();
        let path = path.map_err(|finding| finding.reason)?;
        context
            .leave(path, "rollback.md", text)
            .map_err(|error| format!("the proposal to roll back could not be written: {error}"))
    }
}

fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn code(text: &str) -> String {
    format!("`{}`", line(text).replace('`', "'"))
}
