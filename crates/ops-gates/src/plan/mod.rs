//! The plan: which gates there are, what they need, and when they pass. Nothing here runs anything.

mod graph;
mod read;

use crate::error::{Error, ErrorKind};
use crate::gate::{Gate, Objectives, Subject};
use crate::kind::Kinds;
use crate::value::{Span, Variables, names_a_secret};
use secrecy::SecretString;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a gate may take where its plan says nothing.
pub const DEFAULT_TIMEOUT: Span = Span::from_secs(60);

/// A plan that was read and found sound: it has a required gate, every `needs` exists, no gate waits for itself, and
/// every environment variable that it names is set.
///
/// ```
/// let plan = ops_gates::Plan::parse(
///     r#"
///     name = "release"
///     [[gate]]
///     id = "smoke"
///     kind = "command"
///     run = ["true"]
///     "#,
///     "release.toml",
/// )?;
/// assert_eq!(plan.gates()[0].timeout.to_string(), "1m");
/// # Ok::<(), ops_gates::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    name: String,
    origin: String,
    directory: PathBuf,
    sha256: String,
    subject: Option<Subject>,
    objectives: Objectives,
    gates: Vec<PlannedGate>,
    variables: Variables,
}

/// One check of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedGate {
    /// Unique in the plan; letters, digits, `-`, `_` and `.`, because it names the gate's log file.
    pub id: String,
    /// The name of its kind.
    pub kind: String,
    /// Whether the release is blocked unless this gate passes. A gate that is not required only warns.
    pub required: bool,
    /// The gates that must have passed before this one starts.
    pub needs: Vec<String>,
    /// How long the gate may take from its start.
    pub timeout: Span,
    /// What the gate checks.
    #[serde(skip)]
    pub gate: Arc<dyn Gate>,
    /// The keys of its kind, as the plan has them.
    #[serde(flatten)]
    pub keys: serde_json::Value,
}

/// How a plan is read.
#[derive(Debug, Clone, Default)]
pub struct ReadOptions {
    /// The kinds of gates that the plan may use.
    pub kinds: Kinds,
}

impl Plan {
    /// Reads a plan; `origin` names it in messages and records. Relative paths in it start at the current directory.
    ///
    /// # Errors
    /// [`ErrorKind::PlanInvalid`], with every problem that was found and its line and column.
    pub fn parse(toml: &str, origin: &str) -> Result<Plan, Error> {
        Self::parse_with(toml, origin, &|name| std::env::var(name).ok())
    }

    /// As [`Plan::parse`], with the variables of the environment given by the caller.
    ///
    /// # Errors
    /// As [`Plan::parse`].
    pub fn parse_with(
        toml: &str,
        origin: &str,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Plan, Error> {
        Self::parse_as(toml, origin, variable, &ReadOptions::default())
    }

    /// As [`Plan::parse_with`], with options.
    ///
    /// # Errors
    /// As [`Plan::parse`].
    pub fn parse_as(
        toml: &str,
        origin: &str,
        variable: &dyn Fn(&str) -> Option<String>,
        options: &ReadOptions,
    ) -> Result<Plan, Error> {
        read::plan(toml, origin, variable, options)
    }

    /// Reads a plan from a file. Relative paths in it start at the file's directory, wherever it is called from.
    ///
    /// # Errors
    /// [`ErrorKind::PlanUnreadable`] where the file cannot be read, and as [`Plan::parse`].
    pub fn load(path: &Path) -> Result<Plan, Error> {
        let toml = std::fs::read_to_string(path)
            .map_err(|error| Error::io(ErrorKind::PlanUnreadable, "read plan", path, error))?;
        let absolute = std::path::absolute(path)
            .map_err(|error| Error::io(ErrorKind::PlanUnreadable, "find plan", path, error))?;
        let mut plan = Self::parse(&toml, &path.display().to_string())?;
        plan.directory = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(plan)
    }

    /// The name of the plan.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the plan came from, as the caller called it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The digest of the plan's text, which binds a verdict to exactly this plan.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What is released, where the plan says so.
    pub fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// The gates in the order of the plan.
    pub fn gates(&self) -> &[PlannedGate] {
        &self.gates
    }

    /// The gates in an order in which each comes after all that it needs, and how many steps stand before it.
    pub fn order(&self) -> Vec<(usize, &PlannedGate)> {
        let needs = graph::edges(&self.gates);
        let depths = graph::depths(&needs);
        let mut order: Vec<_> = depths.into_iter().zip(&self.gates).collect();
        order.sort_by_key(|(depth, _)| *depth);
        order
    }

    /// For each gate, the positions of the gates that it needs.
    pub(crate) fn edges(&self) -> Vec<Vec<usize>> {
        graph::edges(&self.gates)
    }

    /// The names of the environment variables that the plan reads.
    pub fn variable_names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name)
    }

    /// What must never be shown, with its values: the plan's secrets, and the variables of the environment whose name says
    /// that they are secret. Give them to the masker before the run starts.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        let named = self.variables.iter().filter(|(name, _)| names_a_secret(name));
        self.variables.secrets().chain(named)
    }

    /// The promises that the plan states.
    pub fn objectives(&self) -> &Objectives {
        &self.objectives
    }

    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}
