//! `when`: whether a gate applies, decided by something that can be shown.
//!
//! A condition is true, false, or unknown. True and false come with what was seen; unknown is an error of the gate, so
//! that a condition which cannot be judged never lets a release through.

use crate::gate::{Context, Program};
use crate::outcome::{Fault, Finding};
use crate::value::{Text, VariableName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Runs a gate only where this is true. Exactly one of `path_exists`, `paths_changed`, `variable` and `command` is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// A file or folder that exists.
    pub path_exists: Option<Text>,
    /// Patterns of paths of which git knows a change since the revision `since`.
    pub paths_changed: Option<Vec<String>>,
    /// The revision that `paths_changed` compares with.
    pub since: Option<Text>,
    /// A variable of the environment that must be set, and have the value `equals`.
    pub variable: Option<VariableName>,
    /// The value of `variable`.
    pub equals: Option<String>,
    /// A program: exit 0 is true, 1 is false, anything else is unknown.
    pub command: Option<Vec<Text>>,
    /// Turns the answer around.
    #[serde(default)]
    pub not: bool,
}

/// What a condition turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) applies: bool,
    /// What was seen, in one sentence.
    pub(crate) evidence: String,
}

impl When {
    /// What is wrong with its keys.
    pub(crate) fn wrong(&self) -> Option<String> {
        let given = [
            self.path_exists.is_some(),
            self.paths_changed.is_some(),
            self.variable.is_some(),
            self.command.is_some(),
        ];
        let message = if given.iter().filter(|given| **given).count() != 1 {
            "`when` needs exactly one of `path_exists`, `paths_changed`, `variable` and `command`"
        } else if self.paths_changed.is_some() != self.since.is_some() {
            "`paths_changed` and `since` belong together"
        } else if self.variable.is_some() != self.equals.is_some() {
            "`variable` and `equals` belong together"
        } else if self.command.as_ref().is_some_and(Vec::is_empty) {
            "`command` names no program"
        } else {
            return None;
        };
        Some(message.to_owned())
    }

    /// Looks whether the gate applies.
    ///
    /// # Errors
    /// The finding of the gate, where that cannot be told.
    pub(crate) async fn look(&self, context: &Context<'_>) -> Result<Shown, Finding> {
        let (applies, evidence) = if let Some(path) = &self.path_exists {
            exists(path, context)?
        } else if let (Some(patterns), Some(since)) = (&self.paths_changed, &self.since) {
            changed(patterns, since, context).await?
        } else if let (Some(variable), Some(equals)) = (&self.variable, &self.equals) {
            use secrecy::ExposeSecret as _;
            let is = context.variable(variable).is_some_and(|value| value.expose_secret() == equals);
            (is, format!("variable `{variable}` is {}`{equals}`", if is { "" } else { "not " }))
        } else if let Some(command) = &self.command {
            answered(command, context).await?
        } else {
            return Err(unknown("`when` says nothing"));
        };
        Ok(Shown { applies: applies != self.not, evidence })
    }
}

fn unknown(why: impl std::fmt::Display) -> Finding {
    Finding::error(Fault::Unresolved, "when", format!("whether the gate applies cannot be told: {why}"))
}

fn exists(path: &Text, context: &Context<'_>) -> Result<(bool, String), Finding> {
    let exists = context.path(path)?.try_exists().map_err(|error| unknown(format!("{path}: {error}")))?;
    Ok((exists, format!("{path} {}", if exists { "exists" } else { "does not exist" })))
}

async fn changed(
    patterns: &[String],
    since: &Text,
    context: &Context<'_>,
) -> Result<(bool, String), Finding> {
    let revision = context.resolve(since)?;
    if revision.starts_with('-') {
        return Err(unknown(format!("`{since}` is no revision")));
    }
    let patterns: Result<Vec<glob::Pattern>, _> =
        patterns.iter().map(|text| glob::Pattern::new(text)).collect();
    let patterns = patterns.map_err(unknown)?;
    let mut git = Program::new("git").args(["diff", "--name-only", "-z", "--no-renames"]);
    // Three dots: what this side changed since both were one.
    git = git.args([format!("{revision}...HEAD"), "--".to_owned()]);
    git.keep = 16 * 1024 * 1024;
    let keep = git.keep;
    let ran = context.run(git).await?;
    if ran.code() != Some(0) {
        return Err(unknown(format!("git cannot compare with `{since}`")));
    }
    if ran.stdout.len() >= keep {
        return Err(unknown("git names more changes than can be held"));
    }
    let text = String::from_utf8_lossy(&ran.stdout);
    let hit = text.split('\0').find(|path| patterns.iter().any(|pattern| pattern.matches(path)));
    let all: Vec<&str> = patterns.iter().map(glob::Pattern::as_str).collect();
    Ok(match hit.filter(|hit| !hit.is_empty()) {
        Some(hit) => (true, format!("{hit} changed since {since}")),
        None => (false, format!("nothing of {} changed since {since}", all.join(", "))),
    })
}

async fn answered(command: &[Text], context: &Context<'_>) -> Result<(bool, String), Finding> {
    let arguments: Result<Vec<String>, Finding> = command.iter().map(|text| context.resolve(text)).collect();
    let mut arguments = arguments?;
    let program = arguments.remove(0);
    let ran = context.run(Program::new(program).args(arguments)).await?;
    let shown = command.iter().map(Text::template).collect::<Vec<_>>().join(" ");
    match ran.code() {
        Some(0) => Ok((true, format!("`{shown}` says yes"))),
        Some(1) => Ok((false, format!("`{shown}` says no"))),
        Some(code) => Err(unknown(format!("`{shown}` ended with {code}"))),
        None => Err(unknown(format!("`{shown}` was ended by a signal"))),
    }
}
