//! The plan: which gates there are, what they need, and when they pass. Nothing here runs anything.

mod gates;
mod graph;
mod read;
mod retry;
mod schema;
mod source;
mod variables;
mod yaml;

pub use retry::{Backoff, Class, Retry};
pub use schema::schema;

use crate::condition::When;
use crate::error::{Error, ErrorKind};
use crate::gate::{Gate, Objectives};
use crate::kind::Kinds;
use crate::policy::Policy;
use crate::subject::{Resolved, SubjectKeys};
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
    environment: Option<&'static str>,
    timeout: Option<Span>,
    jobs: Option<usize>,
    subject: Option<SubjectKeys>,
    objectives: Objectives,
    policies: Vec<Policy>,
    waivers: Vec<String>,
    groups: Groups,
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
    /// What the gate is for, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether the release is blocked unless this gate passes. A gate that is not required only warns.
    pub required: bool,
    /// The gates that must have passed before this one starts.
    pub needs: Vec<String>,
    /// How long one attempt may take.
    pub timeout: Span,
    /// How long all attempts together may take, with the pauses between them.
    pub total: Span,
    /// When it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The group of gates that share a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether nothing else may run beside it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    /// Where the gate applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
    /// Whether the release is open where `when` is shown not to be so; a policy may forbid it.
    #[serde(skip)]
    pub(crate) may_be_skipped: bool,
    /// Whether it may be waived; a policy may forbid it.
    #[serde(skip)]
    pub(crate) may_be_waived: bool,
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
    /// Policies that count, whatever the plan names.
    pub policies: Vec<Policy>,
}

/// The named semaphores of a plan, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Groups(Vec<(String, usize)>);

impl Groups {
    fn new(groups: impl Iterator<Item = (String, usize)>) -> Self {
        Self(groups.collect())
    }

    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known == name)
    }

    /// How many gates of each group run at once.
    pub(crate) fn limits(&self) -> Vec<usize> {
        self.0.iter().map(|(_, max)| *max).collect()
    }
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
        read::plan(toml, origin, Path::new("."), variable, options)
    }

    /// Reads a plan from a file, YAML where its name ends so. Relative paths in it start at the file's directory, wherever
    /// it is called from.
    ///
    /// # Errors
    /// [`ErrorKind::PlanUnreadable`] where the file cannot be read, and as [`Plan::parse`].
    pub fn load(path: &Path, options: &ReadOptions) -> Result<Plan, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io(ErrorKind::PlanUnreadable, "read plan", path, error))?;
        let absolute = std::path::absolute(path)
            .map_err(|error| Error::io(ErrorKind::PlanUnreadable, "find plan", path, error))?;
        let directory = absolute.parent().map(Path::to_path_buf).unwrap_or_default();
        let variable = |name: &str| std::env::var(name).ok();
        read::plan(&text, &path.display().to_string(), &directory, &variable, options)
    }

    /// The name of the plan.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the plan came from, as the caller called it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The digest of the plan's text, which binds a verdict to exactly this plan; of the digests of all its files where it
    /// includes others.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where the release goes: `dev`, `stage` or `prod`.
    pub fn environment(&self) -> Option<&'static str> {
        self.environment
    }

    /// How long the whole run may take.
    pub fn timeout(&self) -> Option<Span> {
        self.timeout
    }

    /// How many gates the plan wants to run at once.
    pub fn jobs(&self) -> Option<usize> {
        self.jobs
    }

    /// What is released, as the plan names it.
    pub fn subject(&self) -> Option<&SubjectKeys> {
        self.subject.as_ref()
    }

    /// The policies that count.
    pub fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The gates in the order of the plan.
    pub fn gates(&self) -> &[PlannedGate] {
        &self.gates
    }

    /// The gates in an order in which each comes after all that it needs, and how many steps stand before it.
    pub fn order(&self) -> Vec<(usize, &PlannedGate)> {
        let depths = graph::depths(&self.edges());
        let mut order: Vec<_> = depths.into_iter().zip(&self.gates).collect();
        order.sort_by_key(|(depth, _)| *depth);
        order
    }

    /// For each gate, the positions of the gates that it needs.
    pub(crate) fn edges(&self) -> Vec<Vec<usize>> {
        graph::edges(&self.gates.iter().collect::<Vec<_>>())
    }

    /// For each gate, how long the longest chain of gates takes that begins with it, by their timeouts.
    pub(crate) fn urgencies(&self) -> Vec<std::time::Duration> {
        graph::urgencies(&self.edges(), |gate| self.gates[gate].total.get())
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(crate) fn waivers(&self) -> &[String] {
        &self.waivers
    }

    /// A look at what is released, for another thread: it blocks on files and on git. None where the plan names nothing.
    pub(crate) fn look_at_subject(
        &self,
    ) -> Option<impl FnOnce() -> Result<Resolved, Error> + Send + 'static> {
        let subject = self.subject.clone()?;
        let (directory, variables) = (self.directory.clone(), self.variables.clone());
        Some(move || subject.resolve(&directory, &variables))
    }

    /// The names of the environment variables that the plan reads.
    pub fn variable_names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name)
    }

    /// What must never be shown, with its values: the plan's secrets, and the variables of the environment whose name says
    /// that they are secret. Give them to the masker before the run starts.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &SecretString)> {
        let passwords: Vec<&str> =
            self.gates.iter().flat_map(|gate| gate.gate.secrets()).map(|name| name.as_str()).collect();
        let secret = move |name: &str| names_a_secret(name) || passwords.contains(&name);
        self.variables.secrets().chain(self.variables.iter().filter(move |(name, _)| secret(name)))
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
